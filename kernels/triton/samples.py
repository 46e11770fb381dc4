"""Bins of bilinear samples in Triton: RoIAlign on any number of levels, and CropAndResize.

pool      reads four pixels per sample and writes each bin once
scatter   adds four values per sample and channel to the gradient, atomically: not the same bits
          from run to run
choose    writes down which sample is the largest: 4 bytes per value of the result
gather    is scatter without atomics: tiles of pixels look for the RoIs that read them, in order. It
          looks at all k RoIs per tile, and reads a gradient in each tile that its bin touches
The `kind` is "mean" or "max", RoIAlign's reductions, or "crop". Wherever a RoI cannot be read,
whose level or image is not there or whose corners are not finite, it gives zeros and no gradient.
"""

from typing import Any, NamedTuple, no_type_check

import triton
import triton.language as tl

from kernels.triton.interpreting import device
from kernels.triton.rois import (
    AT_ONCE,
    SIDE,
    axis_of,
    corner,
    crosses,
    divided,
    hat,
    load_roi,
    number,
    patch,
    pick,
    size,
    tile,
)


class Pyramid(NamedTuple):
    """Sizes of the maps of all levels as `odd` numbers; their scales as bits."""

    heights: Any
    widths: Any
    scales: Any


class Level(NamedTuple):
    """One level: its index, the RoIs there are and its size as `odd` numbers, its scale as bits."""

    index: Any
    k: Any
    height: Any
    width: Any
    scale: Any


class Window(NamedTuple):
    """What a program of some bins of a RoI works on, in kernels only.

    level          of the RoI
    start, row     values before its image in the maps of its level, and in a row of them
    down, across   its axes
    p, q           rows and columns of the bins
    channel        channels of the program
    place          of the bins' values (bins, channels) in the result
    here, read     which of them there are, and which are read from the maps
    """

    level: Any
    start: Any
    row: Any
    down: Any
    across: Any
    p: Any
    q: Any
    channel: Any
    place: Any
    here: Any
    read: Any


class Sample(NamedTuple):
    """One bilinear sample per bin, in kernels only.

    at                    of its first pixel (bins, channels) in the maps of its level
    read                  which of them are
    weights               (bins) of its pixels, row by row
    """

    at: Any
    read: Any
    weights: Any


@device
@no_type_check
def _axes(rois, roi, scale, height, width, plan, kind):
    """(image, rows, columns, there) of RoIs: their axes, and whether they can be read."""
    image, x1, y1, x2, y2, there = load_roi(rois, roi, size(plan.images))
    scale = number(scale, x1.dtype)
    down = axis_of(y1, y2, scale, size(plan.high), height, plan, kind)
    across = axis_of(x1, x2, scale, size(plan.wide), width, plan, kind)
    return image, down, across, there


@device
@no_type_check
def _window(pyramid, rois, levels, plan, channels, kind, block):
    """The Window of a program."""
    wide = size(plan.wide)
    roi, bin, channel, place, here = tile(size(plan.high) * wide, channels, block)
    level = tl.load(levels + roi)
    height, width = size(pick(pyramid.heights, level)), size(pick(pyramid.widths, level))
    scale = pick(pyramid.scales, level)
    image, down, across, there = _axes(rois, roi, scale, height, width, plan, kind)
    there = there & (level >= 0) & (level < len(pyramid.heights))
    read = here & (channel < tl.where(there, channels, 0))[None, :]
    row = width.to(tl.int64) * channels
    start = image * height * row
    p, q = bin // wide, bin % wide
    return Window(level, start, row, down, across, p, q, channel, place, here, read)


@device
@no_type_check
def _sample(window, i, j, channels, kind):
    """Sample (i, j) of each bin."""
    y, below, on_y = corner(window.down, window.p, i, kind)
    x, right, on_x = corner(window.across, window.q, j, kind)
    at = window.start + y * window.row + x.to(tl.int64) * channels
    at = at[:, None] + window.channel[None, :]
    above, left = 1 - below, 1 - right
    weights = above * left, above * right, below * left, below * right
    return Sample(at, window.read & (on_y & on_x)[:, None], weights)


@device
@no_type_check
def _share(down, across):
    """What each sample of a bin counts in their mean."""
    real = down.start.dtype
    samples = tl.maximum(down.samples * across.samples, 1)
    return divided(tl.cast(1, real), tl.cast(samples, real))


@device
@no_type_check
def _plus(total, at, weight, read):
    """total + weight * pixel (bins, channels); a pixel of no weight is not read: no NaN spreads."""
    values = tl.load(at, mask=read & (weight > 0)[:, None], other=0).to(total.dtype)
    return tl.fma(values, weight.to(total.dtype)[:, None], total)


@device
@no_type_check
def _plus_sample(total, maps, sample, share, row, channels):
    """total + share * the samples (bins, channels)."""
    at = maps + sample.at
    total = _plus(total, at, sample.weights[0] * share, sample.read)
    total = _plus(total, at + channels, sample.weights[1] * share, sample.read)
    total = _plus(total, at + row, sample.weights[2] * share, sample.read)
    return _plus(total, at + row + channels, sample.weights[3] * share, sample.read)


@device
@no_type_check
def _largest(maps, window, channels, kind, real):
    """(the largest of each bin's samples, NaN before all, its number); (0, -1) where none is."""
    some = (window.down.samples > 0) & (window.across.samples > 0)
    best = tl.zeros(window.here.shape, real) + tl.where(some, float("-inf"), 0.0)
    which = tl.zeros(window.here.shape, tl.int32) + tl.where(some, 0, -1)
    for i in range(window.down.samples):
        for j in range(window.across.samples):
            sample = _sample(window, i, j, channels, kind)
            value = tl.zeros(window.here.shape, real)
            value = _plus_sample(value, maps, sample, 1, window.row, channels)
            larger = (value > best) | ((value != value) & (best == best))
            best = tl.where(larger, value, best)
            which = tl.where(larger, i * window.across.samples + j, which)
    return best, which


@triton.jit
@no_type_check
def pool(
    maps,
    pyramid,
    rois,
    levels,
    plan,
    fill,
    channels,
    pooled,
    kind: tl.constexpr,
    block: tl.constexpr,
):
    """maps: per level (n, h, w, c); pooled: (k, oh, ow, c). Program: some bins of a RoI."""
    window = _window(pyramid, rois, levels, plan, channels, kind, block)
    plane = pick(maps, window.level)
    real = tl.float64 if maps[0].dtype.element_ty == tl.float64 else tl.float32
    if kind == "max":
        value, _ = _largest(plane, window, channels, kind, real)
    else:
        value = tl.zeros(window.here.shape, real)
        share = _share(window.down, window.across)
        for i in range(window.down.samples):
            for j in range(window.across.samples):
                sample = _sample(window, i, j, channels, kind)
                value = _plus_sample(value, plane, sample, share, window.row, channels)
    if kind == "crop":
        inside = _sample(window, 0, 0, channels, kind).read
        value = tl.where(inside, value, tl.where(window.read, number(fill, real), 0))
    tl.store(pooled + window.place, value.to(pooled.dtype.element_ty), mask=window.here)


@device
@no_type_check
def _add(to, weight, value, read):
    """Add weight * value (bins, channels) to where `to` points, in any order."""
    mask = read & (weight > 0)[:, None]
    tl.atomic_add(to, value * weight.to(value.dtype)[:, None], mask=mask, sem="relaxed")


@triton.jit
@no_type_check
def scatter(
    maps,
    pyramid,
    rois,
    levels,
    plan,
    channels,
    grad,
    found,
    kind: tl.constexpr,
    block: tl.constexpr,
):
    """found and, for "max", maps: per level (n, h, w, c); grad: (k, oh, ow, c). Program: some bins
    of a RoI."""
    window = _window(pyramid, rois, levels, plan, channels, kind, block)
    to, row = pick(found, window.level), window.row
    real = found[0].dtype.element_ty
    value = tl.load(grad + window.place, mask=window.read, other=0).to(real)
    if kind == "max":
        _, which = _largest(pick(maps, window.level), window, channels, kind, real)
    else:
        value *= _share(window.down, window.across).to(real)
    for i in range(window.down.samples):
        for j in range(window.across.samples):
            sample = _sample(window, i, j, channels, kind)
            at, read = to + sample.at, sample.read
            if kind == "max":
                read = read & (which == i * window.across.samples + j)
            _add(at, sample.weights[0], value, read)
            _add(at + channels, sample.weights[1], value, read)
            _add(at + row, sample.weights[2], value, read)
            _add(at + row + channels, sample.weights[3], value, read)


@triton.jit
@no_type_check
def choose(
    maps, pyramid, rois, levels, plan, channels, which, kind: tl.constexpr, block: tl.constexpr
):
    """which: (k, oh, ow, c), the number of the largest sample of each bin, -1 where it has none."""
    window = _window(pyramid, rois, levels, plan, channels, kind, block)
    real = tl.float64 if maps[0].dtype.element_ty == tl.float64 else tl.float32
    _, chosen = _largest(pick(maps, window.level), window, channels, kind, real)
    tl.store(which + window.place, chosen, mask=window.here)


@device
@no_type_check
def _hats(axis, index, pixel, kind):
    """The weights of pixels in the samples of a bin along an axis, added up."""
    total = tl.zeros(pixel.shape, axis.start.dtype)
    for i in range(axis.samples):
        total += hat(axis, index, i, pixel, kind)
    return total


@device
@no_type_check
def _received(total, grad, which, place, down, across, p, q, y, x, mask, kind):
    """total (pixels, channels) and what one bin of a RoI gives it."""
    value = tl.load(grad + place, mask=mask, other=0).to(total.dtype)[None, :]
    if kind == "max":
        chosen = tl.load(which + place, mask=mask, other=-1)[None, :]
        for i in range(down.samples):
            tall = hat(down, p, i, y, kind)
            for j in range(across.samples):
                weight = (tall * hat(across, q, j, x, kind)).to(total.dtype)[:, None]
                total += tl.where(chosen == i * across.samples + j, weight * value, 0)
    else:
        tall = _hats(down, p, y, kind) * _share(down, across)
        weight = (tall * _hats(across, q, x, kind)).to(total.dtype)[:, None]
        total = tl.fma(weight, value, total)
    return total


@triton.jit
@no_type_check
def gather(
    rois, levels, plan, level, channels, which, grad, found, kind: tl.constexpr, block: tl.constexpr
):
    """found: (n, h, w, c) of one level; grad and, for "max", which: (k, oh, ow, c). Program: a tile
    of pixels."""
    height, width, k = size(level.height), size(level.width), size(level.k)
    high, wide = size(plan.high), size(plan.wide)
    image, y, x, top, edge, channel = patch(height, width, block)
    mask = channel < channels
    total = tl.zeros([SIDE * SIDE, block], found.dtype.element_ty)
    for first in range(0, k, AT_ONCE):
        some = first + tl.arange(0, AT_ONCE)
        index = tl.minimum(some, k - 1)
        of, tall, broad, there = _axes(rois, index, level.scale, height, width, plan, kind)
        mine = there & (some < k) & (of == image) & (tl.load(levels + index) == size(level.index))
        mine = (
            mine & crosses(tall, 0, high - 1, top, kind) & crosses(broad, 0, wide - 1, edge, kind)
        )
        while tl.max(mine.to(tl.int32), 0) > 0:
            roi = tl.min(tl.where(mine, some, k), 0)
            mine = mine & (some != roi)
            _, down, across, _ = _axes(rois, roi, level.scale, height, width, plan, kind)
            for p in range(high):
                if crosses(down, p, p, top, kind):
                    for q in range(wide):
                        if crosses(across, q, q, edge, kind):
                            place = ((roi.to(tl.int64) * high + p) * wide + q) * channels + channel
                            total = _received(
                                total, grad, which, place, down, across, p, q, y, x, mask, kind
                            )
    place = ((image * height + y) * width + x) * channels
    here = ((y < height) & (x < width))[:, None] & mask[None, :]
    tl.store(found + place[:, None] + channel[None, :], total, mask=here)
