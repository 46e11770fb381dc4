"""The RoI layers that the paper compares and two more, each a value, over maps and pyramids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

import kernels
from mrcnn.levels import LevelRule
from mrcnn.seeds import generator
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

    sampling_ratio  points per bin side: 2 in the paper, Detectron's FPN and torchvision; 1 is the
                    bin's centre; "adaptive" takes one per feature pixel of the bin: detectron2,
                    mmdetection, Detectron's C4
    aligned         half-pixel centres: detectron2, mmdetection; False is the legacy of Detectron
                    and torchvision, in which RoIs are at least one feature pixel wide

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


@dataclass(frozen=True, kw_only=True)
class JitteredRoIAlign:
    """RoIAlign whose points are drawn anew for each bin, uniformly: a regular grid matters or not.

    points    of each bin; RoIAlign's sampling_ratio=2 has four. One at each bin's centre, undrawn,
              is RoIAlign(sampling_ratio=1)
    reduce, aligned   as in `RoIAlign`
    seed      what predictions draw from, anew for each image and layer, so that they repeat;
              training draws from the generator of each image

    Source: our own; the paper says that results are not sensitive to where the points lie.
    """

    points: int = 4
    reduce: Literal["mean", "max"] = "mean"
    aligned: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ValueError(f"points must be at least 1, got {self.points}")

    def drawn(
        self,
        counts: list[int],
        output_size: int,
        generators: Sequence[torch.Generator] | None,
    ) -> "PlacedRoIAlign":
        """The layer with its points in place, for so many RoIs of each image."""
        if generators is None:
            generators = [generator(self.seed, "points") for _ in counts]
        parts = [
            torch.rand(n, self.points, 2, output_size, output_size, generator=g)
            for n, g in zip(counts, generators, strict=True)
        ]
        return PlacedRoIAlign(torch.cat(parts), self.reduce, self.aligned)


@dataclass(frozen=True, eq=False)
class PlacedRoIAlign:
    """RoIAlign with given points: `places` are their y and x within each bin, 0 .. 1."""

    places: Float[Tensor, "k points 2 s s"]
    reduce: Literal["mean", "max"] = "mean"
    aligned: bool = True

    def __call__(
        self, features: Tensor, rois: Tensor, *, output_size: int, spatial_scale: float
    ) -> Tensor:
        shift = 0.5 if self.aligned else 0.0
        x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale - shift).unbind(1)
        if not self.aligned:
            x2, y2 = torch.maximum(x2, x1 + 1), torch.maximum(y2, y1 + 1)
        start, side = torch.stack([y1, x1], 1), torch.stack([y2 - y1, x2 - x1], 1) / output_size
        index = torch.arange(output_size, device=rois.device)
        bins = torch.stack(torch.meshgrid(index, index, indexing="ij"))
        within = bins + self.places.to(rois)
        at = start[:, None, :, None, None] + side[:, None, :, None, None] * within
        samples = [bilinear(features, rois[:, 0].long(), *one.unbind(1)) for one in at.unbind(1)]
        if self.reduce == "max":
            return torch.stack(samples).amax(0)
        return torch.stack(samples).mean(0)

    def of_pyramid(
        self,
        maps: Sequence[Tensor],
        rois: Tensor,
        levels: Tensor,
        *,
        output_size: int,
        spatial_scales: Sequence[float],
    ) -> Tensor:
        """Each RoI from its own level, with its own points."""

        def layer(features: Tensor, rows: Tensor, *, spatial_scale: float) -> Tensor:
            here = replace(self, places=self.places[rows.cpu()])
            return here(features, rois[rows], output_size=output_size, spatial_scale=spatial_scale)

        return rows_by_level(layer, maps, levels, spatial_scales)


def bilinear(
    features: Float[Tensor, "n c h w"],
    image: Int[Tensor, " k"],
    y: Float[Tensor, "k s s"],
    x: Float[Tensor, "k s s"],
) -> Float[Tensor, "k c s s"]:
    """Features read at points, in feature pixels whose centres are whole numbers.

    Up to a pixel outside the map is its border, further is 0: RoIAlign's rule.
    """
    height, width = features.shape[2:]
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    rows = top.long(), (top.long() + 1).clamp(max=height - 1)
    columns = left.long(), (left.long() + 1).clamp(max=width - 1)
    share_y, share_x = (y - top).to(features.dtype), (x - left).to(features.dtype)
    last = features.permute(0, 2, 3, 1)
    found = features.new_zeros(*y.shape, features.shape[1])
    for row, weight_y in zip(rows, (1 - share_y, share_y), strict=True):
        for column, weight_x in zip(columns, (1 - share_x, share_x), strict=True):
            weight = (weight_y * weight_x).masked_fill(outside, 0)
            found = found + weight[..., None] * last[image[:, None, None], row, column]
    return found.permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class CropAndResize:
    """The corners of a box read at the corners of the result: what Matterport calls RoIAlign.

    One sample per bin, on a grid of size - 1 steps; boxes are normalised such that 0 and 1 are the
    centres of the image's first and last pixel, and are taken for those of the map's.

    Source: Matterport's PyramidROIAlign and utils.norm_boxes; TensorFlow's crop_and_resize.
    """

    def __call__(
        self, features: Tensor, rois: Tensor, *, output_size: int, spatial_scale: float
    ) -> Tensor:
        height, width = (side / spatial_scale for side in features.shape[2:])
        image, x1, y1, x2, y2 = rois.unbind(1)
        ends = [
            x1 / (width - 1),
            y1 / (height - 1),
            (x2 - 1) / (width - 1),
            (y2 - 1) / (height - 1),
        ]
        boxes = torch.stack([image, *ends], 1)
        return kernels.crop_and_resize(features, boxes, output_size=output_size)

    def of_pyramid(
        self, maps: Sequence[Tensor], rois: Tensor, levels: Tensor, **options: Any
    ) -> Tensor:
        """Each RoI from its own level."""
        return level_by_level(self, maps, rois, levels, **options)


AnyRoIOp = RoIPool | RoIWarp | RoIAlign | JitteredRoIAlign | CropAndResize


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
    rule: LevelRule,
) -> Float[Tensor, "k c {output_size} {output_size}"]:
    """The features of every box, image after image, each from the level its size calls for."""
    rois = as_rois(boxes)
    maps, strides = pyramid.maps[: pyramid.roi_levels], pyramid.strides[: pyramid.roi_levels]
    layer: Any = roi_op
    if isinstance(roi_op, JitteredRoIAlign):
        layer = roi_op.drawn([len(one) for one in boxes], output_size, pyramid.generators)
    if len(maps) == 1:
        return layer(maps[0], rois, output_size=output_size, spatial_scale=1 / strides[0])
    levels = roi_levels(pyramid, rois, canonical_side, rule)
    scales = [1 / stride for stride in strides]
    return layer.of_pyramid(maps, rois, levels, output_size=output_size, spatial_scales=scales)


def roi_levels(
    pyramid: Pyramid, rois: Float[Tensor, "k 5"], canonical_side: float, rule: LevelRule
) -> Int[Tensor, " k"]:
    """Index of the level that each RoI is read from."""
    strides = list(pyramid.strides[: pyramid.roi_levels])
    return rule(rois[:, 1:], strides, canonical_side, pyramid.size)


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

    def layer(features: Tensor, rows: Tensor, *, spatial_scale: float) -> Tensor:
        return roi_op(features, rois[rows], output_size=output_size, spatial_scale=spatial_scale)

    return rows_by_level(layer, maps, levels, spatial_scales)


def rows_by_level(
    layer: Callable[..., Tensor],
    maps: Sequence[Tensor],
    levels: Int[Tensor, " k"],
    spatial_scales: Sequence[float],
) -> Float[Tensor, "k ..."]:
    """Results in the RoIs' order, by one call of `layer(map, rows, spatial_scale=)` a level."""
    parts: list[Tensor] = []
    rows: list[Tensor] = []
    for i, (features, scale) in enumerate(zip(maps, spatial_scales, strict=True)):
        here = (levels == i).nonzero()[:, 0]
        rows.append(here)
        parts.append(layer(features, here, spatial_scale=scale))
    return torch.cat(parts)[torch.cat(rows).argsort()]
