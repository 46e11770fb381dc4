"""Mask targets in Triton, straight from the bits: some bins of a box per program, all samples."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kernels.triton.interpreting import INTERPRETED, device, ready
from kernels.triton.rois import UNFUSED, bits, divided, number

ELEMENTS = 2**14 if INTERPRETED else 2**11
"""Bins times samples that a program takes at once. Not tuned: 16 to each of 128 threads. When
interpreted an operation costs as much whatever it is of."""
SAMPLES = 32
"""Of a bin, that a program takes at once; where the bins are few, more."""


def crop_masks(
    masks: Bool[Tensor, "g h w"],
    index: Int[Tensor, " n"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: int,
    sampling_ratio: int,
    aligned: bool,
    threshold: float | None,
) -> Float[Tensor, "n {size} {size}"]:
    """The reference up to rounding.

    Raises ValueError for tensors on the CPU where Triton does not interpret.
    Source: He et al. 2017, sec. 3.1, "Training".
    """
    ready(boxes)
    found = boxes.new_empty(len(boxes), size, size)
    if len(boxes):
        most = triton.next_power_of_2(sampling_ratio**2) if sampling_ratio else SAMPLES
        bins = min(ELEMENTS // min(most, SAMPLES), triton.next_power_of_2(size * size))
        samples = ELEMENTS // bins if most == SAMPLES else min(most, SAMPLES)
        _crop[(len(boxes), triton.cdiv(size * size, bins))](
            masks.contiguous().view(torch.uint8),
            *(index.contiguous(), boxes.contiguous(), found),
            *(*masks.shape, size, sampling_ratio, int(aligned)),
            *(None if threshold is None else bits(threshold), bins, samples),
            **UNFUSED,
        )
    return found


@triton.jit(do_not_specialize=["count", "height", "width", "size", "ratio", "aligned"])
@no_type_check
def _crop(
    masks,
    index,
    boxes,
    found,
    count,
    height,
    width,
    size,
    ratio,
    aligned,
    threshold,
    bins: tl.constexpr,
    samples: tl.constexpr,
):
    """So many bins of found (n, size, size) for one box.

    masks       (count, height, width) of 0 and 1
    index       (n) the mask of each box
    boxes       (n, 4) x1, y1, x2, y2 in pixels; one that is not finite, and one of a mask that is
                not there, reads nothing
    threshold   a number in bits, or None
    samples     of each bin at once, row after row
    """
    n = tl.program_id(0).to(tl.int64)
    bin = tl.program_id(1) * bins + tl.arange(0, bins)
    box, own = boxes + 4 * n, tl.load(index + n)
    left, top, right, bottom = tl.load(box), tl.load(box + 1), tl.load(box + 2), tl.load(box + 3)
    down = _axis(top, bottom, size, ratio, aligned)
    across = _axis(left, right, size, ratio, aligned)
    there = (own >= 0) & (own < count) & (tl.abs(left) < float("inf"))
    there = there & (tl.abs(top) < float("inf"))
    there = there & (tl.abs(right) < float("inf")) & (tl.abs(bottom) < float("inf"))
    mask, most = masks + own * height * width, tl.where(there, down[2].to(tl.int64) * across[2], 0)
    total = tl.zeros([bins, samples], left.dtype)
    for first in range(0, most, samples):
        sample = (first + tl.arange(0, samples))[None]
        i, j = sample // across[2], sample % across[2]
        row, lower, reads_row = _read(down, (bin // size)[:, None], i, height)
        column, further, reads_column = _read(across, (bin % size)[:, None], j, width)
        line = mask + row.to(tl.int64) * width + column
        reads, more = reads_row & reads_column & (sample < most), column + 1 < width
        upper = _between(line, further, reads, more)
        below = _between(line + width, further, reads & (row + 1 < height), more)
        total += upper * (1 - lower) + below * lower
    share = tl.sum(total, 1)
    share = divided(share, tl.maximum(most, 1).to(share.dtype) + tl.zeros_like(share))
    if threshold is not None:
        share = tl.where(share >= number(threshold, share.dtype), 1.0, 0.0)
    tl.store(found + n * size * size + bin, share, mask=bin < size * size)


@device
@no_type_check
def _axis(start, end, size, ratio, aligned):
    """(start, side of a bin, samples per bin) of a box along an axis, in pixels."""
    shift = tl.cast(tl.where(aligned != 0, 0.5, 0.0), start.dtype)
    start, end = start - shift, end - shift
    end = tl.where(aligned != 0, end, tl.maximum(end, start + 1))
    side = divided(end - start, tl.cast(size, start.dtype))
    return start, side, tl.where(ratio > 0, ratio, tl.maximum(tl.ceil(side), 0).to(tl.int32))


@device
@no_type_check
def _read(axis, bin, sample, length):
    """(pixel, weight of the next one, whether they are read) of samples of bins along an axis."""
    start, side, samples = axis
    real = start.dtype
    within = divided(sample.to(real) + 0.5, tl.maximum(samples, 1).to(real))
    at = start + (bin.to(real) + within) * side
    last = tl.cast(length - 1, real)
    reads = (at >= -1) & (at <= last + 1) & (length > 0)
    at = tl.minimum(tl.maximum(at, 0), tl.maximum(last, 0))
    pixel = at.to(tl.int32)
    return pixel, at - pixel.to(real), reads


@device
@no_type_check
def _between(line, share, reads, more):
    """Between the bits at `line` and the next ones, where there are more."""
    left = tl.load(line, mask=reads, other=0).to(share.dtype)
    right = tl.load(line + 1, mask=reads & more, other=0).to(share.dtype)
    return left * (1 - share) + right * share
