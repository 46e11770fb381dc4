"""RoIPool, written to be read."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kernels.rois import ELEMENTS_AT_ONCE


def roi_pool(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
) -> Float[Tensor, "k c oh ow"]:
    """The definition; see the specification. Chunked over RoIs.

    Raises nothing: arguments were checked by the operator.
    Source: Girshick 2015, sec. 2.1; the rounding is that of the shipped kernels.
    """
    height, width = features.shape[2:]
    at_once = max(1, ELEMENTS_AT_ONCE // max(features.shape[1:].numel(), 1))
    parts = []
    for some in rois.split(at_once):
        x1, y1, x2, y2 = rounded(some[:, 1:] * spatial_scale).unbind(1)
        rows = pixels_of_bins(y1, y2, output_size[0], height)
        columns = pixels_of_bins(x1, x2, output_size[1], width)
        maps = features[some[:, 0].long()]
        by_row = torch.stack([_most(maps, row[:, None, :, None], 2) for row in rows.unbind(1)], 2)
        bins = [_most(by_row, column[:, None, None], 3) for column in columns.unbind(1)]
        parts.append(torch.stack(bins, 3))
    pooled = torch.cat(parts) if parts else features.new_zeros(0, features.shape[1], *output_size)
    return torch.where(pooled.isneginf(), 0.0, pooled)


def rounded(x: Tensor) -> Tensor:
    """The nearest whole number, halves away from zero."""
    return x.sign() * (x.abs() + 0.5).floor()


def pixels_of_bins(
    first: Float[Tensor, " k"], last: Float[Tensor, " k"], bins: int, length: int
) -> Bool[Tensor, "k {bins} {length}"]:
    """Which of the pixels 0 .. length - 1 each bin between two whole pixels contains."""
    low, side = first.long()[:, None], (last - first + 1).clamp(min=1).long()[:, None]
    index = torch.arange(bins, device=first.device)
    start = low + (index * side).div(bins, rounding_mode="floor")  # whole numbers: no division
    end = low - (-(index + 1) * side).div(bins, rounding_mode="floor")  # that float could tip over
    pixel = torch.arange(length, device=first.device)
    return (pixel >= start[..., None]) & (pixel < end[..., None])


def _most(values: Tensor, where: Tensor, axis: int) -> Tensor:
    if not values.shape[axis]:
        shape = [size for i, size in enumerate(values.shape) if i != axis]
        return values.new_full(shape, -torch.inf)
    return values.masked_fill(~where, -torch.inf).amax(axis)
