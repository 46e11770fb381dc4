"""RoIs in Triton: where their bins read a map, and what the kernels of the RoI operators share.

Maps are (n, h, w, c) without gaps, so that a warp reads and writes the channels of a pixel at once.
Coordinates are computed in the dtype of the RoIs by the operations of the reference in its order.
Launched with UNFUSED none of them is fused: bins and samples are the reference's, bit for bit.

Triton compiles anew for an argument that is 1 or divisible by 16. Sizes that change from image to
image are passed by `odd`, which makes them neither.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels.triton.interpreting import INTERPRETED, device

BINS = tl.constexpr(64 if INTERPRETED else 8)
"""Bins of a tile. Not tuned: with 256 channels, 128 threads of 16 values each. Interpreted, a
program takes milliseconds, whatever its size."""
SIDE = tl.constexpr(16 if INTERPRETED else 4)
"""Rows and columns of a tile of pixels."""
AT_ONCE = tl.constexpr(64)
"""RoIs that a tile of pixels looks at in one step."""
MOST_CHANNELS = 256
UNFUSED: dict[str, Any] = {"enable_fp_fusion": False}
"""Multiply, then add; sums ask for both in one where they want it."""


class Plan(NamedTuple):
    """How RoIs are cut, as `odd` numbers: images there are, rows and columns of bins, and for
    RoIAlign its samples per bin and axis, 0 for adaptive, and whether it is aligned."""

    images: Any
    high: Any
    wide: Any
    ratio: Any
    aligned: Any


class Axis(NamedTuple):
    """RoIs along an axis, in pixels of the map, in kernels only.

    start, end   where they begin and end
    step         RoIAlign: the side of a bin. CropAndResize: from bin to bin
    samples      per bin, 0 or more
    bins, length of the result and of the map
    """

    start: Any
    end: Any
    step: Any
    samples: Any
    bins: Any
    length: Any


def pixels_first(tensor: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w c"]:
    """The tensor without gaps, channels last: itself where it is channels_last, else a copy."""
    return tensor.detach().permute(0, 2, 3, 1).contiguous()


def block_of(tensor: Tensor) -> int:
    """How many channels a tile takes of a tensor (n, h, w, c): a power of two."""
    return min(MOST_CHANNELS, max(16, triton.next_power_of_2(tensor.shape[3])))


def warps_of(block: int) -> int:
    """Warps for a tile of that many channels on a GPU: 16 values to a thread."""
    return max(1, block // 64)


def programs(bins: Tensor) -> tuple[int, int]:
    """The grid for the bins (k, oh, ow, c) of all RoIs, see `tile`."""
    k, high, wide, channels = bins.shape
    return k * triton.cdiv(high * wide, BINS.value), triton.cdiv(channels, block_of(bins))


def patches(maps: Tensor) -> tuple[int, int]:
    """The grid for the pixels of maps (n, h, w, c), see `patch`."""
    n, height, width, channels = maps.shape
    tiles = n * triton.cdiv(height, SIDE.value) * triton.cdiv(width, SIDE.value)
    return tiles, triton.cdiv(channels, block_of(maps))


def bits(number: float) -> int:
    """The bits of a float64, as `number` takes them: Triton passes a float as float32."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def odd(sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes as numbers that are not 1 and not divisible by 16, which `size` undoes."""
    return tuple(2 * size + 3 for size in sizes)


def summed(features: Tensor) -> torch.dtype:
    """The dtype in which sums are kept."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


@device
@no_type_check
def size(number):
    """The size that `odd` made a number of."""
    return (number >> 1) - 1


@device
@no_type_check
def number(its_bits, dtype):
    """A number given by the bits of its float64, rounded to dtype."""
    return tl.cast(tl.cast(its_bits, tl.int64), tl.float64, bitcast=True).to(dtype)


@device
@no_type_check
def pick(values, index):
    """values[index] of a tuple, the first for an index that is not there."""
    found = values[0]
    for i in tl.static_range(1, len(values)):
        found = tl.where(index == i, values[i], found)
    return found


@device
@no_type_check
def divided(a, b):
    """a / b as IEEE rounds it; Triton's `/` is off by up to 2 ulp in float32."""
    return a / b if a.dtype == tl.float64 else tl.div_rn(a, b)


@device
@no_type_check
def load_roi(rois, roi, images):
    """(image, x1, y1, x2, y2, there) of RoI `roi` of `rois` (k, 5); one or a vector of them.

    One that is not finite, or of an image that is not there, is not there itself, and all zeros.
    """
    row = rois + roi * 5
    image, x1, y1 = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    x2, y2 = tl.load(row + 3), tl.load(row + 4)
    most = float("inf")
    there = (image >= 0) & (image < images)
    there = there & (tl.abs(x1) < most) & (tl.abs(y1) < most)
    there = there & (tl.abs(x2) < most) & (tl.abs(y2) < most)
    x1, y1 = tl.where(there, x1, 0), tl.where(there, y1, 0)
    x2, y2 = tl.where(there, x2, 0), tl.where(there, y2, 0)
    return tl.where(there, image, 0).to(tl.int64), x1, y1, x2, y2, there


@device
@no_type_check
def axis_of(low, high, scale, bins, length, plan, kind):
    """The Axis of RoIs from low to high: CropAndResize's for the kind "crop", else RoIAlign's."""
    real = low.dtype
    if kind == "crop":
        last = tl.cast(length - 1, real)
        middle = (low + high) * 0.5 * last
        start = tl.where(bins == 1, middle, low * last)
        end = tl.where(bins == 1, middle, high * last)
        step = divided(end - start, tl.cast(tl.maximum(bins - 1, 1), real))
        samples = tl.where(start == start, 1, 0)
    else:
        aligned, ratio = size(plan.aligned) != 0, size(plan.ratio)
        shift = tl.cast(tl.where(aligned, 0.5, 0.0), real)
        start = low * scale - shift
        end = high * scale - shift
        end = tl.where(aligned, end, tl.maximum(end, start + 1))
        step = divided(end - start, tl.cast(bins, real))
        needed = tl.cast(tl.maximum(tl.ceil(step), 0), tl.int32)
        samples = tl.where(ratio > 0, ratio, needed)
    return Axis(start, end, step, samples, bins, length)


@device
@no_type_check
def point(axis, index, i, kind):
    """Where sample i of the bins `index` lies, in pixels."""
    real = axis.start.dtype
    if kind == "crop":
        from_start = axis.start + tl.cast(index, real) * axis.step
        from_end = axis.end - tl.cast(axis.bins - 1 - index, real) * axis.step
        found = tl.where(2 * index < axis.bins, from_start, from_end)
    else:
        within = divided(tl.cast(i, real) + 0.5, tl.cast(tl.maximum(axis.samples, 1), real))
        found = axis.start + (tl.cast(index, real) + within) * axis.step
    return found


@device
@no_type_check
def on_map(at, length, kind):
    """(points moved onto the map, which are read): up to a pixel beyond it, but not for "crop"."""
    last = tl.cast(length - 1, at.dtype)
    margin = tl.cast(tl.where(length > 0, 0 if kind == "crop" else 1, 0), at.dtype)
    read = (at >= -margin) & (at <= last + margin)
    return tl.minimum(tl.maximum(at, 0), tl.maximum(last, 0)), read


@device
@no_type_check
def corner(axis, index, i, kind):
    """(pixel, weight of the next one, whether they are read) of sample i of the bins `index`."""
    at, read = on_map(point(axis, index, i, kind), axis.length, kind)
    pixel = at.to(tl.int32)
    return pixel, at - pixel.to(at.dtype), read


@device
@no_type_check
def hat(axis, index, i, pixel, kind):
    """The weight with which sample i of the bins `index` reads pixels."""
    at, read = on_map(point(axis, index, i, kind), axis.length, kind)
    weight = tl.maximum(1 - tl.abs(at - tl.cast(pixel, at.dtype)), 0)
    return tl.where(read, weight, 0)


@device
@no_type_check
def crosses(axis, first, last, edge, kind):
    """Whether the bins first .. last may read any of SIDE pixels, the first of which is `edge`."""
    one, other = point(axis, first, 0, kind), point(axis, last, axis.samples - 1, kind)
    end = tl.cast(tl.maximum(axis.length - 1, 0), one.dtype)
    low = tl.minimum(tl.maximum(tl.minimum(one, other), 0), end)
    high = tl.minimum(tl.maximum(tl.maximum(one, other), 0), end)
    return (low < tl.cast(edge + SIDE, low.dtype)) & (high > tl.cast(edge - 1, low.dtype))


@device
@no_type_check
def tile(bins, channels, block):
    """(RoI, bins, channels, where their values are in (k, bins, c), which are) of a program.

    Programs that are neighbours work on one RoI.
    """
    blocks = tl.cdiv(bins, BINS)
    roi = (tl.program_id(0) // blocks).to(tl.int64)
    bin = tl.program_id(0) % blocks * BINS + tl.arange(0, BINS)
    channel = tl.program_id(1) * block + tl.arange(0, block)
    place = ((roi * bins + bin) * channels)[:, None] + channel[None, :]
    return roi, bin, channel, place, (bin < bins)[:, None] & (channel < channels)[None, :]


@device
@no_type_check
def patch(height, width, block):
    """(image, rows, columns, first row, first column, channels) of a program: SIDE x SIDE pixels,
    row by row."""
    many = tl.cdiv(width, SIDE)
    index = tl.program_id(0) % (many * tl.cdiv(height, SIDE))
    image = tl.program_id(0) // (many * tl.cdiv(height, SIDE))
    top, edge = index // many * SIDE, index % many * SIDE
    y = top + tl.arange(0, SIDE * SIDE) // SIDE
    x = edge + tl.arange(0, SIDE * SIDE) % SIDE
    channel = tl.program_id(1) * block + tl.arange(0, block)
    return image.to(tl.int64), y, x, top, edge, channel
