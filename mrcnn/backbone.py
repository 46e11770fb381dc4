"""From pixels to feature maps: a residual trunk read at res4 (C4), at res5 (C5) or as an FPN."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrcnn.levels import LevelRule
from mrcnn.norms import AnyNorm, convolution
from mrcnn.structures import Pyramid
from mrcnn.trunk import RES4, RES5, AnyTrunk, ResNet, Trunk, set_dilation, set_stride


@dataclass(frozen=True, kw_only=True)
class Res5:
    """The last residual stage run on every RoI, shared by the box and the mask branch (C4).

    roi_size, stride   7 and 1 in the paper; 14 and 2 in every implementation

    The stride stands where the trunk's `stride_in` puts it. In the 1x1 convolution (Detectron,
    detectron2, mmdetection's caffe style) res5 reads every second of the 14 x 14 bins and no other,
    so the upper left quarter of each of 7 x 7 bins; in the 3x3 convolution the others count too.
    Source: He et al. 2017, Fig. 4 left and its caption; Detectron issue 118 on 14 and 2.
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
    """The output of res5, one map, with FPN-style heads.

    dilation   1: stride 32, the paper's Table 2d, which no implementation ships; 2: res5 without
               its stride and all its 3x3 convolutions spread, so stride 16: detectron2's DC5

    Source: He et al. 2017, Table 2d; detectron2, RES5_DILATION.
    """

    trunk: AnyTrunk = ResNet()
    dilation: Literal[1, 2] = 1

    def build(self, trunk: Trunk) -> "SingleMap":
        if self.dilation != 1:
            before, after = trunk.strides[RES4], trunk.strides[RES5]
            if after != self.dilation * before:
                raise ValueError(
                    f"dilation must be res5's stride, {after // before}, got {self.dilation}"
                )
            set_stride(trunk.stages[RES5], 1)
            set_dilation(trunk.stages[RES5], self.dilation)
            trunk.strides[RES5] = before
        return SingleMap(trunk, RES5)


@dataclass(frozen=True, kw_only=True)
class FPN:
    """Feature pyramid: laterals (1x1), top-down by nearest neighbour, outputs (3x3).

    strides         of the levels; each is read at the deepest stage of that stride
    extra_level     one more, for the RPN alone: every second pixel of the coarsest (P6), which is
                    every peer's max pooling with a window of 1 and a stride of 2
    canonical_side  RoIs whose sqrt(area) is this many pixels go to the level of stride 16; half
                    as large, one level finer
    levels          that rule to the last digit
    norm            after each lateral and output convolution, which then has no bias; nothing is
                    rectified. "none": the paper and every v1; "batch": torchvision v2; "group" and
                    "sync": the baselines of Detectron and detectron2 that are named after them

    The coarser level is enlarged to the finer one's size (torchvision, mmdetection); a factor of
    two (Detectron, detectron2, Matterport) is the same where sides divide by the coarsest stride,
    and fails elsewhere.
    Source: Lin et al. 2017, "Feature Pyramid Networks", sec. 3 and eq. 1 (k0 = 4, 224).
    """

    trunk: AnyTrunk = ResNet()
    channels: int = 256
    strides: tuple[int, ...] = (4, 8, 16, 32)
    extra_level: bool = True
    canonical_side: float = 224.0
    levels: LevelRule = LevelRule()
    norm: AnyNorm = "none"

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
            _conv(trunk.channels[stage], spec.channels, 1, spec.norm) for stage in self.stages
        )
        self.outputs = nn.ModuleList(
            _conv(spec.channels, spec.channels, 3, spec.norm) for _ in self.stages
        )
        for conv in (*self.laterals.modules(), *self.outputs.modules()):
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_uniform_(conv.weight, a=1)
                if conv.bias is not None:
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


def _conv(before: int, after: int, size: int, norm: AnyNorm) -> nn.Module:
    """One convolution, named as such, or a sequence of it and its norm."""
    layers = convolution(before, after, size, norm)
    return nn.Sequential(*layers) if len(layers) > 1 else layers[0]
