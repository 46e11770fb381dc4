"""The three RoI layers the paper compares, each a value, and how RoIs find their pyramid level."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

import kernels
from mrcnn.boxes import area
from mrcnn.structures import Pyramid


@dataclass(frozen=True, kw_only=True)
class RoIPool:
    """RoI and bins rounded to whole feature pixels, then the maximum of each bin.

    Source: Girshick 2015, "Fast R-CNN", sec. 2.1.
    """

    def __call__(
        self, features: Tensor, rois: Tensor, *, output_size: int, spatial_scale: float
    ) -> Tensor:
        return kernels.roi_pool(
            features, rois, output_size=output_size, spatial_scale=spatial_scale
        )

    def of_pyramid(
        self, maps: Sequence[Tensor], rois: Tensor, levels: Tensor, **options: Any
    ) -> Tensor:
        """Each RoI from its own level."""
        return level_by_level(self, maps, rois, levels, **options)


@dataclass(frozen=True, kw_only=True)
class RoIWarp:
    """The RoI rounded as in RoIPool, then sampled bilinearly: smooth, and still misaligned.

    box       "inclusive" keeps RoIPool's + 1 on the far side, "plain" leaves it out
    sampling  "regular": interior points of each bin; "mnc": one point at its top-left corner

    Source: Dai et al. 2016, "MNC"; He et al. 2017, Table 2c, whose code is unpublished.
    """

    sampling_ratio: int = 2
    reduce: Literal["mean", "max"] = "mean"
    box: Literal["inclusive", "plain"] = "inclusive"
    sampling: Literal["regular", "mnc"] = "regular"

    def __call__(
        self, features: Tensor, rois: Tensor, *, output_size: int, spatial_scale: float
    ) -> Tensor:
        return kernels.roi_warp(
            features, rois, output_size=output_size, spatial_scale=spatial_scale, **vars(self)
        )

    def of_pyramid(
        self, maps: Sequence[Tensor], rois: Tensor, levels: Tensor, **options: Any
    ) -> Tensor:
        """Each RoI from its own level."""
        return level_by_level(self, maps, rois, levels, **options)


@dataclass(frozen=True, kw_only=True)
class RoIAlign:
    """Nothing rounded: bilinear samples at regular points of each bin, then their mean or maximum.

    sampling_ratio  points per bin side; "adaptive" takes one per feature pixel of the bin
    aligned         half-pixel centres; False is the legacy of Detectron and torchvision

    Source: He et al. 2017, "Mask R-CNN", sec. 3, "RoIAlign".
    """

    sampling_ratio: int | Literal["adaptive"] = 2
    reduce: Literal["mean", "max"] = "mean"
    aligned: bool = True

    def __call__(
        self, features: Tensor, rois: Tensor, *, output_size: int, spatial_scale: float
    ) -> Tensor:
        return kernels.roi_align(
            features, rois, output_size=output_size, spatial_scale=spatial_scale, **vars(self)
        )

    def of_pyramid(
        self,
        maps: Sequence[Tensor],
        rois: Tensor,
        levels: Tensor,
        *,
        output_size: int,
        spatial_scales: Sequence[float],
    ) -> Tensor:
        """Each RoI from its own level, all in one call."""
        return kernels.multilevel_roi_align(
            maps,
            rois,
            levels,
            output_size=output_size,
            spatial_scales=spatial_scales,
            **vars(self),
        )


AnyRoIOp = RoIPool | RoIWarp | RoIAlign


def as_rois(boxes: list[Float[Tensor, "_n 4"]]) -> Float[Tensor, "k 5"]:
    """Boxes of each image as rows (image index, x1, y1, x2, y2), float32 whatever autocast says."""
    index = [torch.full_like(b[:, :1], i) for i, b in enumerate(boxes)]
    return torch.cat([torch.cat(index), torch.cat(boxes)], 1).float()


def roi_features(
    pyramid: Pyramid,
    boxes: list[Float[Tensor, "_n 4"]],
    roi_op: AnyRoIOp,
    output_size: int,
    canonical_side: float,
) -> Float[Tensor, "k c {output_size} {output_size}"]:
    """The features of every box, image after image, each from the level its size calls for."""
    rois = as_rois(boxes)
    maps, strides = pyramid.maps[: pyramid.roi_levels], pyramid.strides[: pyramid.roi_levels]
    if len(maps) == 1:
        return roi_op(maps[0], rois, output_size=output_size, spatial_scale=1 / strides[0])
    levels = level_of(rois[:, 1:], list(strides), canonical_side)
    scales = [1 / stride for stride in strides]
    return roi_op.of_pyramid(maps, rois, levels, output_size=output_size, spatial_scales=scales)


def level_by_level(
    roi_op: Callable[..., Tensor],
    maps: Sequence[Tensor],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"],
    *,
    output_size: int,
    spatial_scales: Sequence[float],
) -> Float[Tensor, "k c {output_size} {output_size}"]:
    """RoI features in the RoIs' order, by one call of `roi_op` for each level."""
    pooled: list[Tensor] = []
    rows: list[Tensor] = []
    for i, (features, scale) in enumerate(zip(maps, spatial_scales, strict=True)):
        here = (levels == i).nonzero()[:, 0]
        rows.append(here)
        pooled.append(roi_op(features, rois[here], output_size=output_size, spatial_scale=scale))
    return torch.cat(pooled)[torch.cat(rows).argsort()]


def level_of(
    boxes: Float[Tensor, "k 4"], strides: list[int], canonical_side: float
) -> Int[Tensor, " k"]:
    """Index of each box's pyramid level; see `FPN`. The ends of the pyramid take the rest."""
    side = area(boxes).clamp(min=0).sqrt()
    wanted = torch.floor(4 + torch.log2(side / canonical_side) + 1e-6)  # -inf for an empty box
    finest = strides[0].bit_length() - 1
    return (wanted - finest).clamp(0, len(strides) - 1).long()
