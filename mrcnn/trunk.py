"""Residual trunks: torchvision's ResNets in every peer's dialect, and our own small one."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mrcnn.norms import SyncBatchNorm, TrunkNorm, norm_layer

RES4, RES5 = 3, 4
"""Where the stages the paper names stand in a trunk; 0 is the stem, 1 is res2."""

StrideIn = Literal["3x3", "1x1"]


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
    """torchvision's ResNet body, a ResNeXt with groups; strides 4, 4, 8, 16, 32.

    depth             50 and 101 in the paper; 18 and 34 are of basic blocks
    stride_in         which convolution of a stage's first bottleneck has its stride. "3x3":
                      torchvision, mmdetection's style "pytorch", every ResNeXt; "1x1": the MSRA
                      weights and so the paper, Detectron, detectron2 by default, mmdetection's
                      style "caffe", Matterport. No state dict says which: a mistake loads silently
    groups, width_per_group   1 and 64 for a ResNet; ResNeXt-101 is 32 and 8 (32x8d: Detectron,
                      detectron2) or 64 and 4 (64x4d: Detectron, mmdetection)
    norm              see `norm_layer`. "frozen": the paper, Detectron, detectron2, torchvision v1;
                      "eval": mmdetection; "batch": torchvision v2; "sync" and "group": the
                      baselines of Detectron and detectron2 that are named after them
    norm_eps          1e-5; 0 in torchvision's COCO_V1 weights, 1e-3 in Matterport (Keras)
    pool              where the 3 x 3 windows of the stem's pooling lie. "centred" on every second
                      pixel, all peers of PyTorch and Caffe; "after": on it and the two after it,
                      TensorFlow's "same" and so Matterport, for maps of even sides
    trainable_stages  how many, from res5 down, receive gradients; 5 trains the stem as well.
                      3 in every peer but torchvision v2 and training from scratch (5)
    fix_statistics    whether batch norm without gradients keeps its statistics too: detectron2 and
                      mmdetection; in torchvision they follow the batches

    Source: He et al. 2016, "Deep Residual Learning", Table 1; Xie et al. 2017, "Aggregated Residual
    Transformations", Table 1.
    """

    depth: Literal[18, 34, 50, 101, 152] = 50
    stride_in: StrideIn = "3x3"
    groups: int = 1
    width_per_group: int = 64
    norm: TrunkNorm = "frozen"
    trainable_stages: int = 3
    norm_eps: float = 1e-5
    fix_statistics: bool = False
    pool: Literal["centred", "after"] = "centred"

    def __post_init__(self) -> None:
        if not 0 <= self.trainable_stages <= 5:
            raise ValueError(f"trainable_stages must be 0 to 5, got {self.trainable_stages}")
        if self.groups < 1 or self.width_per_group < 1 or self.norm_eps < 0:
            raise ValueError(
                "groups and width_per_group must be at least 1 and norm_eps at least 0, got "
                f"{self.groups}, {self.width_per_group}, {self.norm_eps}"
            )
        plain = (self.stride_in, self.groups, self.width_per_group) == ("3x3", 1, 64)
        if self.depth < 50 and not plain:
            raise ValueError(
                f"depth must be 50 or more for stride_in='1x1', groups or width_per_group: basic "
                f"blocks have none of them, got depth={self.depth}"
            )

    def build(self) -> Trunk:
        body = getattr(torchvision.models, f"resnet{self.depth}")(
            norm_layer=partial(norm_layer, self.norm, eps=self.norm_eps),
            groups=self.groups,
            width_per_group=self.width_per_group,
        )
        pool = body.maxpool if self.pool == "centred" else nn.MaxPool2d(3, 2, ceil_mode=True)
        stem = nn.Sequential(body.conv1, body.bn1, body.relu, pool)
        stages = [stem, body.layer1, body.layer2, body.layer3, body.layer4]
        for stage in stages[2:]:
            _place_stride(stage[0], self.stride_in)
        for stage in stages[: 5 - self.trainable_stages]:
            stage.requires_grad_(False)
            if self.fix_statistics:
                _freeze_norms(stage)
        wide = (BasicBlock if self.depth < 50 else Bottleneck).expansion
        return Trunk(stages, [4, 4, 8, 16, 32], [64, *(wide * c for c in (64, 128, 256, 512))])


@dataclass(frozen=True, kw_only=True)
class SmallResNet:
    """Our own trunk for small images on a CPU: a 3x3 stem, basic blocks, bottlenecks in res5.

    widths      channels of the stem, res2, res3, res4, res5
    strides     of the same five; (2, 2, 2, 1, 2) reads C4 at stride 8 and C5 at 16
    blocks      residual blocks per stage
    groups      of every bottleneck's 3x3 convolution. Above 1 all stages are of bottlenecks, as in
                ResNeXt: basic blocks have no groups
    stride_in   as in `ResNet`, for the bottlenecks of res5; basic blocks have no choice
    norm        as in `ResNet`
    trainable_stages  as in `ResNet`; the others' statistics are constants, as with fix_statistics

    Bottlenecks keep res5 affordable where it runs on every RoI (C4).
    Grouped 3x3 convolutions are four times as wide as plain bottlenecks', as those of ResNeXt-101
    32x8d are.
    """

    widths: tuple[int, int, int, int, int] = (24, 32, 64, 96, 160)
    strides: tuple[int, int, int, int, int] = (2, 2, 2, 2, 2)
    blocks: int = 2
    groups: int = 1
    stride_in: StrideIn = "3x3"
    norm: TrunkNorm = "batch"
    trainable_stages: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.trainable_stages <= 5:
            raise ValueError(f"trainable_stages must be 0 to 5, got {self.trainable_stages}")
        if min(*self.widths, *self.strides, self.blocks, self.groups) < 1:
            raise ValueError(
                f"sizes must be at least 1, got {self.widths=}, {self.strides=}, {self.blocks=}, "
                f"{self.groups=}"
            )
        if any(width % self.groups for width in self.widths[1:]):
            raise ValueError(
                f"groups must divide the widths from res2 on, got {self.groups}, {self.widths}"
            )

    def build(self) -> Trunk:
        stem = nn.Sequential(
            nn.Conv2d(3, self.widths[0], 3, self.strides[0], padding=1, bias=False),
            norm_layer(self.norm, self.widths[0]),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = [stem]
        for i, (before, after) in enumerate(pairwise(self.widths), start=1):
            block = self._bottleneck if i == RES5 or self.groups > 1 else self._basic
            blocks = [block(before, after, self.strides[i])]
            blocks += [block(after, after, 1) for _ in range(self.blocks - 1)]
            stages.append(nn.Sequential(*blocks))
        strides = [self.strides[0]]
        for stride in self.strides[1:]:
            strides.append(strides[-1] * stride)
        for stage in stages[: 5 - self.trainable_stages]:
            stage.requires_grad_(False)
            _freeze_norms(stage)
        return Trunk(stages, strides, list(self.widths))

    def _basic(self, before: int, after: int, stride: int) -> nn.Module:
        shortcut = self._shortcut(before, after, stride)
        norm = partial(norm_layer, self.norm)
        return BasicBlock(before, after, stride, shortcut, norm_layer=norm)

    def _bottleneck(self, before: int, after: int, stride: int) -> nn.Module:
        width, shortcut = after // Bottleneck.expansion, self._shortcut(before, after, stride)
        norm = partial(norm_layer, self.norm)
        wide = 64 if self.groups == 1 else 256 // self.groups
        made = Bottleneck(before, width, stride, shortcut, self.groups, wide, norm_layer=norm)
        _place_stride(made, self.stride_in)
        return made

    def _shortcut(self, before: int, after: int, stride: int) -> nn.Module | None:
        if before == after and stride == 1:
            return None
        conv = nn.Conv2d(before, after, 1, stride, bias=False)
        return nn.Sequential(conv, norm_layer(self.norm, after))


AnyTrunk = ResNet | SmallResNet


def _place_stride(block: nn.Module, stride_in: StrideIn) -> None:
    """Move a bottleneck's stride from its 3x3 convolution, where torchvision has it."""
    if stride_in == "1x1" and isinstance(block, Bottleneck):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def set_stride(stage: nn.Module, stride: int) -> None:
    """Give a residual stage another stride, in the convolutions that have one now.

    1 keeps the resolution of its input. Raises ValueError if the stage has no stride to change.
    """
    first = next(iter(stage.children()))
    convs = [m for m in first.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    if not convs and stride != 1:
        raise ValueError(f"stride must be 1 for a stage that was built without one, got {stride}")
    for conv in convs:
        conv.stride = (stride, stride)


def set_dilation(stage: nn.Module, dilation: int) -> None:
    """Spread every 3x3 convolution of a stage, those of its first block too.

    Source: detectron2's DC5 and mmdetection's `dilations`; torchvision's own
    replace_stride_with_dilation leaves the first block as it was.
    """
    for conv in stage.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (dilation, dilation)


def _freeze_norms(stage: nn.Module) -> None:
    """Put frozen batch norm, of equal weights and statistics, in the place of any other."""
    for parent in list(stage.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, (nn.BatchNorm2d, SyncBatchNorm)):
                frozen = norm_layer("frozen", len(norm.weight), norm.eps)
                frozen.load_state_dict(norm.state_dict())
                setattr(parent, name, frozen)
