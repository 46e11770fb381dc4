"""From pixels to feature maps: a residual trunk read at res4 (C4), at res5 (C5) or as an FPN."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from mrcnn.structures import Pyramid

RES4, RES5 = 3, 4
"""Where the stages the paper names stand in a trunk; 0 is the stem, 1 is res2."""


class Trunk(nn.Module):
    """A stem and four residual stages. Its output is that of every stage still in it.

    strides    image pixels per feature pixel after each stage
    channels   of each stage's output
    """

    def __init__(self, stages: list[nn.Module], strides: list[int], channels: list[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.strides, self.channels = strides, channels

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        outputs = [pixels]
        for stage in self.stages:
            outputs.append(stage(outputs[-1]))
        return outputs[1:]

    def end_at(self, stage: int) -> None:
        """Drop the stages beyond `stage`: what nobody reads is neither run nor trained."""
        del self.stages[stage + 1 :]


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """torchvision's ResNet body; strides 4, 4, 8, 16, 32, in a stage's first 3x3 convolution.

    norm              "frozen": statistics and affine are constants (how the paper fine-tunes);
                      "batch": trained
    trainable_stages  how many, from res5 down, receive gradients; 5 trains the stem as well
    norm_eps          1e-5 everywhere but in torchvision's COCO_V1 weights, which are made with 0

    Source: He et al. 2016, "Deep Residual Learning", Table 1.
    """

    depth: Literal[18, 34, 50, 101, 152] = 50
    norm: Literal["frozen", "batch"] = "frozen"
    trainable_stages: int = 3
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 <= self.trainable_stages <= 5:
            raise ValueError(f"trainable_stages must be 0 to 5, got {self.trainable_stages}")

    def build(self) -> Trunk:
        norm = FrozenBatchNorm2d if self.norm == "frozen" else nn.BatchNorm2d
        body = getattr(torchvision.models, f"resnet{self.depth}")(norm_layer=norm)
        for module in body.modules():
            if isinstance(module, norm):
                module.eps = self.norm_eps
        stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        stages = [stem, body.layer1, body.layer2, body.layer3, body.layer4]
        for stage in stages[: 5 - self.trainable_stages]:
            stage.requires_grad_(False)
        wide = (BasicBlock if self.depth < 50 else Bottleneck).expansion
        return Trunk(stages, [4, 4, 8, 16, 32], [64, *(wide * c for c in (64, 128, 256, 512))])


@dataclass(frozen=True, kw_only=True)
class SmallResNet:
    """Our own trunk for small images on a CPU: a 3x3 stem, basic blocks, bottlenecks in res5.

    widths    channels of the stem, res2, res3, res4, res5
    strides   of the same five; (2, 2, 2, 1, 2) reads C4 at stride 8 and C5 at 16
    blocks    residual blocks per stage

    Bottlenecks keep res5 affordable where it runs on every RoI (C4). Batch norm, trained.
    """

    widths: tuple[int, int, int, int, int] = (24, 32, 64, 96, 160)
    strides: tuple[int, int, int, int, int] = (2, 2, 2, 2, 2)
    blocks: int = 2

    def __post_init__(self) -> None:
        if min(*self.widths, *self.strides, self.blocks) < 1:
            raise ValueError(
                f"sizes must be at least 1, got {self.widths=}, {self.strides=}, {self.blocks=}"
            )

    def build(self) -> Trunk:
        stem = nn.Sequential(
            nn.Conv2d(3, self.widths[0], 3, self.strides[0], padding=1, bias=False),
            nn.BatchNorm2d(self.widths[0]),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = [stem]
        for i, (before, after) in enumerate(pairwise(self.widths), start=1):
            block = self._bottleneck if i == RES5 else self._basic
            blocks = [block(before, after, self.strides[i])]
            blocks += [block(after, after, 1) for _ in range(self.blocks - 1)]
            stages.append(nn.Sequential(*blocks))
        strides = [self.strides[0]]
        for stride in self.strides[1:]:
            strides.append(strides[-1] * stride)
        return Trunk(stages, strides, list(self.widths))

    @staticmethod
    def _basic(before: int, after: int, stride: int) -> nn.Module:
        return BasicBlock(before, after, stride, _shortcut(before, after, stride))

    @staticmethod
    def _bottleneck(before: int, after: int, stride: int) -> nn.Module:
        width = after // Bottleneck.expansion
        return Bottleneck(before, width, stride, _shortcut(before, after, stride))


def _shortcut(before: int, after: int, stride: int) -> nn.Module | None:
    if before == after and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


AnyTrunk = ResNet | SmallResNet


@dataclass(frozen=True, kw_only=True)
class Res5:
    """The last residual stage run on every RoI, shared by the box and the mask branch (C4).

    roi_size, stride   7 and 1 in the paper; 14 and 2 in every implementation

    Source: He et al. 2017, Fig. 4 left and its caption.
    """

    roi_size: int = 7
    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1 or self.roi_size < 1 or self.roi_size % self.stride:
            raise ValueError(f"need sizes of at least 1 and stride | roi_size, got {self}")

    def build(self, res5: nn.Module) -> nn.Module:
        set_stride(res5, self.stride)
        return res5


@dataclass(frozen=True, kw_only=True)
class C4:
    """The output of res4, one map. res5 is left for `Res5` to run on every RoI."""

    trunk: AnyTrunk = ResNet()

    def build(self, trunk: Trunk) -> "SingleMap":
        return SingleMap(trunk, RES4)


@dataclass(frozen=True, kw_only=True)
class C5:
    """The output of res5, one map at stride 32, with FPN-style heads.

    Source: He et al. 2017, Table 2d. No published implementation ships it.
    """

    trunk: AnyTrunk = ResNet()

    def build(self, trunk: Trunk) -> "SingleMap":
        return SingleMap(trunk, RES5)


@dataclass(frozen=True, kw_only=True)
class FPN:
    """Feature pyramid: laterals (1x1), top-down by nearest neighbour, outputs (3x3).

    strides         of the levels; each is read at the deepest stage of that stride
    extra_level     one more, for the RPN alone: every second pixel of the coarsest (P6)
    canonical_side  RoIs whose sqrt(area) is this many pixels go to the level of stride 16; half
                    as large, one level finer: level = floor(4 + log2(side / canonical_side) + 1e-6)

    Source: Lin et al. 2017, "Feature Pyramid Networks", sec. 3 and eq. 1 (k0 = 4, 224).
    The 1e-6 stands outside the logarithm as in torchvision; detectron2 and mmdetection differ.
    """

    trunk: AnyTrunk = ResNet()
    channels: int = 256
    strides: tuple[int, ...] = (4, 8, 16, 32)
    extra_level: bool = True
    canonical_side: float = 224.0

    def __post_init__(self) -> None:
        if self.channels < 1 or self.canonical_side <= 0:
            raise ValueError(
                f"FPN needs positive sizes, got {self.channels=}, {self.canonical_side=}"
            )

    def build(self, trunk: Trunk) -> "FeaturePyramid":
        return FeaturePyramid(self, trunk)


class SingleMap(nn.Module):
    """One stage's output as a pyramid of one level."""

    def __init__(self, trunk: Trunk, stage: int) -> None:
        super().__init__()
        trunk.end_at(stage)
        self.trunk = trunk
        self.strides, self.channels = [trunk.strides[stage]], trunk.channels[stage]

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Pyramid:
        size = (pixels.shape[-2], pixels.shape[-1])
        return Pyramid((self.trunk(pixels)[-1],), tuple(self.strides), 1, size)


class FeaturePyramid(nn.Module):
    """The module of an FPN; levels finest first."""

    def __init__(self, spec: FPN, trunk: Trunk) -> None:
        super().__init__()
        missing = set(spec.strides) - set(trunk.strides)
        if missing:
            raise ValueError(f"FPN strides {sorted(missing)} are not among {trunk.strides}")
        self.trunk, self.channels, self.roi_levels = trunk, spec.channels, len(spec.strides)
        self.stages = [_deepest(trunk.strides, stride) for stride in sorted(spec.strides)]
        trunk.end_at(self.stages[-1])
        self.strides = sorted(spec.strides)
        self.strides += [2 * self.strides[-1]] * spec.extra_level
        self.extra_level = spec.extra_level
        self.laterals = nn.ModuleList(
            nn.Conv2d(trunk.channels[stage], spec.channels, 1) for stage in self.stages
        )
        self.outputs = nn.ModuleList(
            nn.Conv2d(spec.channels, spec.channels, 3, padding=1) for _ in self.stages
        )
        for conv in (*self.laterals, *self.outputs):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Pyramid:
        stages = self.trunk(pixels)
        laterals = [conv(stages[i]) for conv, i in zip(self.laterals, self.stages, strict=True)]
        merged = laterals[-1:]
        for lateral in reversed(laterals[:-1]):
            coarse = F.interpolate(merged[0], size=lateral.shape[-2:], mode="nearest")
            merged.insert(0, lateral + coarse)
        maps = [conv(level) for conv, level in zip(self.outputs, merged, strict=True)]
        if self.extra_level:
            maps.append(F.max_pool2d(maps[-1], kernel_size=1, stride=2))
        size = (pixels.shape[-2], pixels.shape[-1])
        return Pyramid(tuple(maps), tuple(self.strides), self.roi_levels, size)


def _deepest(strides: list[int], stride: int) -> int:
    return max(stage for stage, s in enumerate(strides) if s == stride)


def set_stride(stage: nn.Module, stride: int) -> None:
    """Give a residual stage another stride: 1 keeps the resolution of its input."""
    first = next(iter(stage.children()))
    for conv in first.modules():
        if isinstance(conv, nn.Conv2d) and conv.stride == (2, 2):
            conv.stride = (stride, stride)
