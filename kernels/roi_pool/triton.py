"""RoIPool in Triton: whole vectors of channels compared, pixel by pixel.

Forward reads each pixel of a bin once. Backward finds each maximum again and adds its gradient
atomically; where algorithms must be deterministic, it writes the maxima down, 8 bytes per value of
the result, and tiles of pixels gather theirs from the RoIs in order: k RoIs looked at per tile, and
each value of `grad` read by every tile that its bin touches.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels.triton.interpreting import device, ready
from kernels.triton.rois import (
    AT_ONCE,
    SIDE,
    UNFUSED,
    bits,
    block_of,
    load_roi,
    number,
    odd,
    patch,
    patches,
    pixels_first,
    programs,
    size,
    summed,
    tile,
    warps_of,
)


class Bins(NamedTuple):
    """What is cut into what: sizes as `odd` numbers, the scale as bits."""

    images: Any
    height: Any
    width: Any
    k: Any
    high: Any
    wide: Any
    scale: Any


def roi_pool(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's maxima, channels last.

    Raises ValueError where Triton cannot run on these tensors, see `ready`.
    Source: the definition in reference.py.
    """
    ready(features)
    maps = pixels_first(features)
    pooled = maps.new_empty((len(rois), *output_size, maps.shape[3]))
    if pooled.numel():
        with torch.cuda.device_of(maps):
            _pool[programs(pooled)](maps, **_common(maps, rois, pooled, spatial_scale), to=pooled)
    return pooled.permute(0, 3, 1, 2)


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    spatial_scale: float,
) -> list[Tensor]:
    """The gradient of the features, each bin's at its first largest pixel.

    By atomic sums, whose order is chance; under torch.use_deterministic_algorithms by `_gather`,
    which gives the same bits every time and reads more.
    """
    ready(features)
    maps, grads = pixels_first(features), pixels_first(grad)
    found = torch.zeros(maps.shape, dtype=summed(maps), device=maps.device)
    if not grads.numel() or not maps.numel():
        return [found.permute(0, 3, 1, 2)]
    common = _common(maps, rois, grads, spatial_scale)
    with torch.cuda.device_of(maps):
        if torch.are_deterministic_algorithms_enabled():
            where = torch.empty(grads.shape, dtype=torch.int64, device=grads.device)
            _choose[programs(grads)](maps, **common, to=where)
            _gather[patches(maps)](where, **common, grad=grads, to=found)
        else:
            _scatter[programs(grads)](maps, **common, grad=grads, to=found)
    return [found.permute(0, 3, 1, 2)]


def _common(maps: Tensor, rois: Tensor, bins: Tensor, scale: float) -> dict[str, Any]:
    """What all kernels take, for maps (n, h, w, c) and bins (k, oh, ow, c)."""
    block = block_of(maps)
    return {
        "rois": rois.contiguous(),
        "bins": Bins._make([*odd([*maps.shape[:3], *bins.shape[:3]]), bits(scale)]),
        "channels": maps.shape[3],
        "block": block,
        "num_warps": warps_of(block),
        **UNFUSED,
    }


@device
@no_type_check
def _side(low, high):
    """(first pixel, pixels) of boxes rounded to whole pixels, halves away from zero."""
    first = tl.where(low < 0, -tl.floor(0.5 - low), tl.floor(low + 0.5))
    last = tl.where(high < 0, -tl.floor(0.5 - high), tl.floor(high + 0.5))
    return first.to(tl.int64), tl.maximum(last - first + 1, 1).to(tl.int64)


@device
@no_type_check
def _box(rois, roi, bins):
    """(image, rows, columns, there) of RoIs: their sides, and whether they can be read."""
    image, x1, y1, x2, y2, there = load_roi(rois, roi, size(bins.images))
    scale = number(bins.scale, x1.dtype)
    return image, _side(y1 * scale, y2 * scale), _side(x1 * scale, x2 * scale), there


@device
@no_type_check
def _pixels(side, index, bins, length):
    """(first, end) of the pixels of bins `index` along an axis, cut to the map."""
    first, count = side
    end = first + ((index + 1) * count + bins - 1) // bins
    return tl.maximum(first + index * count // bins, 0), tl.minimum(end, length)


@device
@no_type_check
def _largest(maps, rois, bins, channels, block):
    """Of a program of some bins (the largest pixel of each, NaN before all, -inf for none; where it
    is in maps, -1 for none; where it goes to in the result; which there are)."""
    height, width, wide = size(bins.height), size(bins.width), size(bins.wide)
    roi, bin, channel, place, here = tile(size(bins.high) * wide, channels, block)
    image, down, across, there = _box(rois, roi, bins)
    top, bottom = _pixels(down, bin // wide, size(bins.high), height)
    left, right = _pixels(across, bin % wide, wide, width)
    real = tl.float64 if maps.dtype.element_ty == tl.float64 else tl.float32
    best = tl.full(here.shape, float("-inf"), real)
    where = tl.full(here.shape, -1, tl.int64)
    read = here & (channel < tl.where(there, channels, 0))[None, :]
    for dy in range(tl.max(bottom - top, 0)):
        for dx in range(tl.max(right - left, 0)):
            y, x = top + dy, left + dx
            at = (((image * height + y) * width + x) * channels)[:, None] + channel[None, :]
            inside = ((y < bottom) & (x < right))[:, None] & read
            value = tl.load(maps + at, mask=inside, other=float("-inf")).to(real)
            larger = (value > best) | ((value != value) & (best == best))
            best = tl.where(larger, value, best)
            where = tl.where(larger, at, where)
    return best, where, place, here


@triton.jit
@no_type_check
def _pool(maps, rois, bins, channels, to, block: tl.constexpr):
    """maps: (n, h, w, c); to: (k, oh, ow, c), the maxima. Program: some bins of a RoI."""
    best, _, place, here = _largest(maps, rois, bins, channels, block)
    best = tl.where(best == float("-inf"), 0, best)
    tl.store(to + place, best.to(to.dtype.element_ty), mask=here)


@triton.jit
@no_type_check
def _choose(maps, rois, bins, channels, to, block: tl.constexpr):
    """to: (k, oh, ow, c), where in maps (n, h, w, c) each maximum is, -1 for none."""
    _, where, place, here = _largest(maps, rois, bins, channels, block)
    tl.store(to + place, where, mask=here)


@triton.jit
@no_type_check
def _scatter(maps, rois, bins, channels, grad, to, block: tl.constexpr):
    """maps, to: (n, h, w, c); grad: (k, oh, ow, c). Program: some bins of a RoI."""
    _, where, place, here = _largest(maps, rois, bins, channels, block)
    value = tl.load(grad + place, mask=here, other=0).to(to.dtype.element_ty)
    tl.atomic_add(to + where, value, mask=here & (where >= 0), sem="relaxed")


@device
@no_type_check
def _meets(side, first, last, bins, length, edge):
    """Whether the bins first .. last contain any of SIDE pixels, the first of which is `edge`."""
    low, _ = _pixels(side, first, bins, length)
    _, end = _pixels(side, last, bins, length)
    return (low < edge + SIDE) & (end > edge)


@triton.jit
@no_type_check
def _gather(where, rois, bins, channels, grad, to, block: tl.constexpr):
    """to: (n, h, w, c); where, grad: (k, oh, ow, c). Program: a tile of pixels."""
    height, width, k = size(bins.height), size(bins.width), size(bins.k)
    high, wide = size(bins.high), size(bins.wide)
    image, y, x, top, edge, channel = patch(height, width, block)
    mask = channel < channels
    place = (((image * height + y) * width + x) * channels)[:, None] + channel[None, :]
    total = tl.zeros([SIDE * SIDE, block], to.dtype.element_ty)
    for first in range(0, k, AT_ONCE):
        some = first + tl.arange(0, AT_ONCE)
        of, tall, broad, there = _box(rois, tl.minimum(some, k - 1), bins)
        mine = there & (some < k) & (of == image)
        mine = mine & _meets(tall, 0, high - 1, high, height, top)
        mine = mine & _meets(broad, 0, wide - 1, wide, width, edge)
        while tl.max(mine.to(tl.int32), 0) > 0:
            roi = tl.min(tl.where(mine, some, k), 0)
            mine = mine & (some != roi)
            _, down, across, _ = _box(rois, roi, bins)
            for p in range(high):
                if _meets(down, p, p, high, height, top):
                    for q in range(wide):
                        if _meets(across, q, q, wide, width, edge):
                            at = ((roi.to(tl.int64) * high + p) * wide + q) * channels + channel
                            value = tl.load(grad + at, mask=mask, other=0).to(total.dtype)
                            hit = tl.load(where + at, mask=mask, other=-1)[None, :] == place
                            total += tl.where(hit, value[None, :], 0)
    here = ((y < height) & (x < width))[:, None] & mask[None, :]
    tl.store(to + place, total, mask=here)
