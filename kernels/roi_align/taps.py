"""What the bins of RoIs read along an axis, as Numba computes it.

All samples of a RoI form one grid, so what a bin reads is rows times columns. Per axis the samples
of each bin become a few taps (pixel, weight); samples that share a pixel share a tap. Coordinates
are computed as the reference computes them, step by step, in the dtype of the RoIs.
"""

from typing import Any, NamedTuple, no_type_check

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Taps(NamedTuple):
    """What the bins of RoIs read along one axis.

    pixel, weight   (k, bins, most) of each tap; taps of one bin have different pixels
    counts          (k, bins) taps of a bin
    first, last     (k) the pixels between which a RoI reads; last < first where it reads none
    """

    pixel: Array
    weight: Array
    counts: Array
    first: Array
    last: Array


class Grid(NamedTuple):
    """How RoIs are sampled along one axis: rois[:, low] to rois[:, high], in `bins` bins.

    lengths   (levels) pixels of the axis; scales (levels) feature pixels per unit of the rois
    ratio     samples per bin, 0 is adaptive
    """

    low: int
    high: int
    bins: int
    lengths: Array
    scales: Array
    ratio: int
    aligned: bool


def taps(rois: Array, levels: Array, grid: Grid, dtype: np.dtype) -> Taps:
    """The taps of the mean of each bin's samples, in `dtype`, from coordinates in that of rois."""
    count, most = len(rois), int(most_samples(rois, levels, grid))
    width = max(1, min(2 * most, int(grid.lengths.max(initial=0))))
    made = Taps(
        np.empty((count, grid.bins, width), np.int64),
        np.empty((count, grid.bins, width), dtype),
        np.zeros((count, grid.bins), np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
    )
    _fill(rois, levels, grid, *made)
    return made


@numba.njit(cache=True, error_model="numpy")  # no contraction: coordinates as the reference has
@no_type_check
def span(rois, roi, level, grid):
    """(start, side of a bin, samples per bin) of a RoI along the axis, in feature pixels."""
    real = rois.dtype.type
    half = real(0.5) if grid.aligned else real(0)
    scale = real(grid.scales[level])
    start = rois[roi, grid.low] * scale - half
    end = rois[roi, grid.high] * scale - half
    if not grid.aligned:
        end = max(end, start + real(1))
    side = (end - start) / real(grid.bins)
    samples = grid.ratio if grid.ratio > 0 else max(int(np.ceil(side)), 0)
    return start, side, samples


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def sample(rois, start, side, samples, index, i, length):
    """(pixel, weight of the next one) that sample i of a bin reads; (-1, 0) for none."""
    real = rois.dtype.type
    within = (real(i) + real(0.5)) / real(samples)
    point = start + (real(index) + within) * side
    if not (point >= real(-1) and point <= real(length)) or length < 1:
        return -1, real(0)
    point = min(max(point, real(0)), real(length - 1))
    pixel = int(point)
    return pixel, point - real(pixel)


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def most_samples(rois, levels, grid):
    """Most samples per bin of any RoI."""
    most = 0
    for roi in range(len(rois)):
        most = max(most, span(rois, roi, levels[roi], grid)[2])
    return most


@numba.njit(cache=True, error_model="numpy")  # on one thread: waking others takes longer
@no_type_check
def _fill(rois, levels, grid, pixels, weights, counts, first, last):
    lengths = grid.lengths  # not in the loop: fetching an array counts its users, atomically
    for roi in range(len(rois)):
        start, side, samples = span(rois, roi, levels[roi], grid)
        length = lengths[levels[roi]]
        low, high = length, -1
        for index in range(grid.bins):
            pixel, weight, count = pixels[roi, index], weights[roi, index], 0
            for i in range(samples):
                left, right = sample(rois, start, side, samples, index, i, length)
                if left >= 0:
                    share = rois.dtype.type(samples)
                    count = _add(pixel, weight, count, left, (rois.dtype.type(1) - right) / share)
                    if right > 0:
                        count = _add(pixel, weight, count, left + 1, right / share)
            counts[roi, index] = count
            for i in range(count):
                low, high = min(low, pixel[i]), max(high, pixel[i])
        first[roi], last[roi] = low, high


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _add(pixels, weights, count, pixel, weight):
    """To the tap of that pixel, a new one if none of the last three has it: samples are sorted."""
    for i in range(max(count - 3, 0), count):
        if pixels[i] == pixel:
            weights[i] += weight
            return count
    pixels[count], weights[count] = pixel, weight
    return count + 1
