"""Mask targets straight from the bits: no float copy of the bitmaps.

The samples of a bin form a grid, so their mean is a weighted sum over rows of weighted sums over
columns. Samples that share a pixel share its weight. Per row of bins, all rows of pixels it reads
are added up at once, whole vectors of pixels at a time; only the sums are then read by the bins.
"""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numba import njit
from torch import Tensor

Taps = tuple[int, int, int, np.ndarray, np.ndarray, np.ndarray]
"""What the bins of a box read along one axis: the first pixel and the one past the last; samples
per bin; per bin how many pixels, which, and the sum of the samples' weights there."""


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
    """The reference up to rounding. CPU only.

    Raises nothing: arguments were checked by the operator.
    Source: He et al. 2017, sec. 3.1, "Training".
    """
    sides = boxes.detach().contiguous().numpy()
    share = np.zeros((len(boxes), size, size), sides.dtype)
    if share.size and masks.numel():
        bits = masks.contiguous().view(torch.uint8).numpy()
        _fill(bits, index.contiguous().numpy(), sides, sampling_ratio, aligned, share)
    if threshold is not None:
        share = (share >= threshold).astype(share.dtype)
    return torch.from_numpy(share)


@njit(cache=True, error_model="numpy")
@no_type_check
def _fill(
    bits: np.ndarray,
    index: np.ndarray,
    boxes: np.ndarray,
    ratio: int,
    aligned: bool,
    share: np.ndarray,
) -> None:
    size = share.shape[1]
    for n in range(len(boxes)):
        bitmap = bits[index[n]]
        rows = _taps(boxes[n], 1, size, bitmap.shape[0], ratio, aligned)
        columns = _taps(boxes[n], 0, size, bitmap.shape[1], ratio, aligned)
        if rows[0] < rows[1] and columns[0] < columns[1]:  # else every sample is outside
            _crop(bitmap, rows, columns, share[n])


@njit(cache=True, error_model="numpy")
@no_type_check
def _crop(bitmap: np.ndarray, rows: Taps, columns: Taps, share: np.ndarray) -> None:
    """Fill the bins of one box, which reads at least one pixel."""
    number = share.dtype.type
    _, _, down, row_counts, row_pixels, row_weights = rows
    first, last, across, counts, pixels, weights = columns
    samples = number(down * across)
    sums = np.empty(last - first, share.dtype)
    for p in range(len(share)):
        sums[:] = number(0)
        for k in range(row_counts[p]):
            line, weight = bitmap[row_pixels[p, k], first:last], row_weights[p, k]
            for x in range(len(sums)):
                sums[x] += weight * number(line[x])
        for q in range(len(share)):
            total = number(0)
            for k in range(counts[q]):
                total += weights[q, k] * sums[pixels[q, k] - first]
            share[p, q] = total / samples


@njit(cache=True, error_model="numpy")
@no_type_check
def _taps(box: np.ndarray, axis: int, bins: int, length: int, ratio: int, aligned: bool) -> Taps:
    """What bins read along axis 0 (x) or 1 (y) of a bitmap; samples of one pixel are merged."""
    number = box.dtype.type
    one, half, zero = number(1), number(0.5), number(0)
    shift = half if aligned else zero
    start, end = box[axis] - shift, box[axis + 2] - shift
    if not aligned:
        end = max(end, start + one)
    side = (end - start) / number(bins)
    samples = ratio if ratio else max(int(np.ceil(side)), 0)
    # samples of a box with x2 < x1 run backwards and are not merged
    most = 2 * samples if side < zero else min(2 * samples, length)
    counts = np.zeros(bins, np.int64)
    pixels, weights = np.empty((bins, most), np.int64), np.empty((bins, most), box.dtype)
    first, last = length, 0
    for b in range(bins):
        count = 0
        for s in range(samples):
            place = start + (number(b) + (number(s) + half) / number(samples)) * side
            if place < -one or place > number(length):
                continue
            place = min(max(place, zero), number(length - 1))
            low = int(place)
            rest = place - number(low)
            for pixel in range(low, low + 2 if rest > zero else low + 1):
                k = count - 1
                if k > 0 and pixels[b, k] > pixel:
                    k -= 1
                if k < 0 or pixels[b, k] != pixel:
                    k = count
                    pixels[b, k], weights[b, k] = pixel, zero
                    count += 1
                weights[b, k] += one - rest if pixel == low else rest
                first, last = min(first, pixel), max(last, pixel + 1)
        counts[b] = count
    return first, last, samples, counts, pixels, weights
