"""Triton with one bug each, declared as anyone declares a kernel.

What is called `sound` has none. `python -m kernels check` takes this file like any other. A bug is
a word that the kernels are compiled for: `if bug == "race"` costs nothing where there is none.
"""

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.conformance import kernel
from kernels.triton.interpreting import device

DOWN, ACROSS = 16, 2
"""Pairs of boxes in a program."""
ROI: dict[str, Any] = {
    "lanes": ["interpreter", "gpu"],
    "dtypes": ["float32", "float16"],
    "grads": ["features"],
    "deterministic": False,
}
BOXES: dict[str, Any] = {"lanes": ["interpreter", "gpu"]}


@device
@no_type_check
def _weights(low, high, bins, length, scale, most_bins: tl.constexpr, most_pixels: tl.constexpr):
    """With what the mean of a bin's two samples reads each pixel of an axis: (bins, pixels)."""
    start, end = low * scale - 0.5, high * scale - 0.5
    bin, pixel = tl.arange(0, most_bins)[:, None, None], tl.arange(0, most_pixels)[None, None, :]
    within = (tl.arange(0, 2)[None, :, None] + 0.5) / 2
    point = start + (bin + within) * ((end - start) / bins)
    here = (point >= -1) & (point <= length) & (bin < bins) & (pixel < length)
    point = tl.minimum(tl.maximum(point, 0.0), length - 1.0)
    near = tl.maximum(1 - tl.abs(point - pixel), 0.0)
    return tl.sum(tl.where(here, near / 2, 0.0), axis=1)


@triton.jit
@no_type_check
def _pool(
    maps, rois, other, channels, height, width, high, wide, scale,
    p_most: tl.constexpr, q_most: tl.constexpr, y_most: tl.constexpr, x_most: tl.constexpr,
    backward: tl.constexpr, bug: tl.constexpr,
):  # fmt: skip
    """A RoI (5) a program: maps (n, channels, height, width) pooled into other (k, channels, high,
    wide); or backward other spread over maps, which begin with zeros.
    """
    row = tl.program_id(0).to(tl.int64)
    roi = rois + 5 * row
    image, x1, y1 = tl.load(roi).to(tl.int64), tl.load(roi + 1), tl.load(roi + 2)
    x2, y2 = tl.load(roi + 3), tl.load(roi + 4)
    rows = _weights(y1, y2, high, height, scale, p_most, y_most)
    columns = _weights(x1, x2, wide, width, scale, q_most, x_most)
    y, x = tl.arange(0, y_most)[:, None], tl.arange(0, x_most)[None]
    p, q = tl.arange(0, p_most)[:, None], tl.arange(0, q_most)[None]
    on_map, in_roi = (y < height) & (x < width), (p < high) & (q < wide)
    pixels = maps + image * channels * height * width + y * width + x
    bins = other + row * channels * high * wide + p * wide + q
    for channel in range(channels):
        at, into = pixels + channel * height * width, bins + channel * high * wide
        if backward:
            grad = tl.load(into, mask=in_roi, other=0.0).to(tl.float32)
            part = tl.sum(rows[:, :, None] * grad[:, None, :], axis=0)  # (y, q)
            # Without the + 0 Triton multiplies matrices instead, in TF32, and 3.6 wrongly.
            part = tl.sum(part[:, :, None] * columns[None] + 0.0, axis=1)
            if bug == "race":
                part += tl.load(at, mask=on_map, other=0.0)
                tl.store(at, part, mask=on_map)
            else:
                tl.atomic_add(at, part, mask=on_map)
        else:
            if bug == "unmasked load":  # noqa: SIM108  (two loads, not two values)
                map = tl.load(at)
            else:
                map = tl.load(at, mask=on_map, other=0.0)
            if bug == "half sum":
                pooled = tl.sum(rows.to(map.dtype)[:, :, None] * map[None], axis=1)  # (p, x)
                pooled = tl.sum(pooled[:, None, :] * columns.to(map.dtype)[None], axis=2)
            else:
                pooled = tl.sum(rows[:, :, None] * map.to(tl.float32)[None], axis=1)
                pooled = tl.sum(pooled[:, None, :] * columns[None], axis=2)
            tl.store(into, pooled.to(map.dtype), mask=in_roi)


@device
@no_type_check
def _corner(boxes, i, count, corner: tl.constexpr, bug: tl.constexpr):
    """A coordinate of boxes i of (count, 4); 0 where there is none."""
    if bug == "stray load":
        return tl.where(i < count, tl.load(boxes + 4 * i + corner), 0.0)
    else:  # noqa: RET505  (Triton takes one way out of a function)
        return tl.load(boxes + 4 * i + corner, mask=i < count, other=0.0)


@triton.jit
@no_type_check
def _pairs(a, b, found, n, m, down: tl.constexpr, across: tl.constexpr, bug: tl.constexpr):
    """IoU (n, m) of a (n, 4) and b (m, 4), a tile of down x across a program."""
    i = tl.program_id(0).to(tl.int64) * down + tl.arange(0, down)
    j = tl.program_id(1).to(tl.int64) * across + tl.arange(0, across)
    left, top = _corner(a, i, n, 0, bug)[:, None], _corner(a, i, n, 1, bug)[:, None]
    right, low = _corner(a, i, n, 2, bug)[:, None], _corner(a, i, n, 3, bug)[:, None]
    x1, y1 = _corner(b, j, m, 0, bug)[None], _corner(b, j, m, 1, bug)[None]
    x2, y2 = _corner(b, j, m, 2, bug)[None], _corner(b, j, m, 3, bug)[None]
    wide = tl.maximum(tl.minimum(right, x2) - tl.maximum(left, x1), 0.0)
    high = tl.maximum(tl.minimum(low, y2) - tl.maximum(top, y1), 0.0)
    own = tl.maximum(right - left, 0.0) * tl.maximum(low - top, 0.0)
    both = own + tl.maximum(x2 - x1, 0.0) * tl.maximum(y2 - y1, 0.0) - wide * high
    iou = tl.where(both > 0, wide * high / tl.where(both > 0, both, 1.0), 0.0)
    place = i[:, None] * m + j[None]
    here = (i < n)[:, None] & (j < m)[None]
    if bug == "unmasked store":
        here = place < n * m
    tl.store(found + place, iou, mask=here)


class _Pooled(torch.autograd.Function):
    """RoIAlign of two samples per bin and axis, with its gradient."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, rois: Tensor, size: Any, scale: float, bug: str
    ) -> Tensor:
        ctx.options, ctx.shape = (size, scale, bug), features.shape
        ctx.save_for_backward(rois)
        pooled = features.new_empty(len(rois), features.shape[1], *size)
        _launch(features.contiguous(), rois, pooled, *ctx.options, backward=False)
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        if grad.requires_grad:
            raise NotImplementedError("this gradient has no gradient")
        sums = grad.new_zeros(ctx.shape, dtype=torch.float32)
        (rois,) = ctx.saved_tensors
        _launch(sums, rois, grad.contiguous(), *ctx.options, backward=True)
        return (sums.to(grad.dtype), *[None] * 4)


def _launch(
    maps: Tensor, rois: Tensor, other: Tensor, size: Any, scale: float, bug: str, *, backward: bool
) -> None:
    """Maps as large as a program can hold."""
    channels, height, width = maps.shape[1:]
    padded = [triton.next_power_of_2(max(length, 1)) for length in (*size, height, width)]
    if other.numel():
        given = (maps, rois.contiguous(), other, channels, height, width, *size, scale)
        _pool[(len(rois),)](*given, *padded, backward, bug)


def _pooled(features: Tensor, rois: Tensor, size: Any, scale: float, bug: str = "") -> Tensor:
    pooled: Tensor = _Pooled.apply(features, rois, size, scale, bug)  # type: ignore[no-untyped-call]
    return pooled


def _paired(a: Tensor, b: Tensor, bug: str = "") -> Tensor:
    found = a.new_empty(len(a), len(b))
    divided = int.__floordiv__ if bug == "wrong grid" else triton.cdiv
    grid = (divided(len(a), DOWN), divided(len(b), ACROSS))
    if 0 not in grid:
        _pairs[grid](a.contiguous(), b.contiguous(), found, len(a), len(b), DOWN, ACROSS, bug)
    return found


@kernel("roi_align", name="sound", **ROI)
def sound_pool(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """No bug."""
    return _pooled(features, rois, output_size, spatial_scale)


@kernel("roi_align", **ROI)
def race(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """The gradient is added up by a load and a store where other programs add as well."""
    return _pooled(features, rois, output_size, spatial_scale, "race")


@kernel("roi_align", **{**ROI, "deterministic": True})
def unordered(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """Its gradient is a sum of floats in any order, and it says that it is deterministic."""
    return _pooled(features, rois, output_size, spatial_scale)


@kernel("roi_align", **ROI)
def unmasked_load(
    features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float
) -> Tensor:
    """Lanes beyond the map read what is there, for a weight of 0: NaN times 0 is NaN."""
    return _pooled(features, rois, output_size, spatial_scale, "unmasked load")


@kernel("roi_align", **ROI)
def half_sum(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """Rows are summed in the dtype of the features."""
    return _pooled(features, rois, output_size, spatial_scale, "half sum")


@kernel("box_iou", name="sound", **BOXES)
def sound_pairs(a: Tensor, b: Tensor) -> Tensor:
    """No bug."""
    return _paired(a, b)


@kernel("box_iou", **BOXES)
def wrong_grid(a: Tensor, b: Tensor) -> Tensor:
    """The grid is rounded down: what is left over after whole tiles is not computed."""
    return _paired(a, b, "wrong grid")


@kernel("box_iou", **BOXES)
def unmasked_store(a: Tensor, b: Tensor) -> Tensor:
    """Lanes beyond a row's end, if not beyond the last row's, write into the next one."""
    return _paired(a, b, "unmasked store")


@kernel("box_iou", **BOXES)
def stray_load(a: Tensor, b: Tensor) -> Tensor:
    """Lanes beyond the last box read memory that is not theirs, and make no use of it."""
    return _paired(a, b, "stray load")
