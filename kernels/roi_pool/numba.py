"""RoIPool in Numba: the largest of whole vectors of channels.

Forward, threads take RoIs in turn. Backward, each takes a share of the channels and walks all RoIs
in order, finding each maximum again: no atomics, and the same bits on any number of threads.
"""

from collections.abc import Sequence
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float
from numba import prange
from torch import Tensor

from kernels.layouts import bins_of, channels_last, empty, pixels_first, turn, workers_for

BLOCK = 16
"""Channels that no two threads share in the backward pass: a cache line of float32."""


def roi_pool(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's maxima; RoIs in parallel.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    last = channels_last(features)
    shape = (len(rois), features.shape[1], output_size[0], output_size[1])
    pooled = empty(shape, features, last=last)
    workers = workers_for(pooled, features)
    if not features.numel():
        return pooled.zero_()
    maps, boxes = pixels_first(features, workers), rois.contiguous().numpy()
    size = (output_size[0], output_size[1])
    order = np.lexsort((boxes[:, 2], boxes[:, 0]))  # neighbours in turn: they share what is cached
    _largest(maps, boxes, order, size, spatial_scale, bins_of(pooled, last), last, workers)
    return pooled


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    spatial_scale: float,
) -> list[Tensor]:
    """The gradient of the features, each bin's at its first largest pixel."""
    workers = workers_for(grad, features)
    found = empty(features.shape, features, last=True).zero_()
    if features.numel() and len(rois):
        _give_back(
            pixels_first(grad, workers),
            pixels_first(features, workers),
            rois.contiguous().numpy(),
            spatial_scale,
            found.permute(0, 2, 3, 1).numpy(),
            np.empty(0, np.int32 if features[0, 0].numel() < 2**31 else np.int64),
            workers,
        )
    return [found]


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _side(rois, roi, axis, scale):
    """(first pixel, pixels) of the rounded box along an axis, 1 for x and 2 for y."""
    real = rois.dtype.type
    low, high = rois[roi, axis] * real(scale), rois[roi, axis + 2] * real(scale)
    first = np.sign(low) * np.floor(abs(low) + real(0.5))
    last = np.sign(high) * np.floor(abs(high) + real(0.5))
    return int(first), max(int(last - first) + 1, 1)


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _pixels(side, index, bins, length):
    """(first, end) of the pixels of a bin, within the map."""
    first, count = side
    end = first - (-(index + 1) * count) // bins
    return max(first + index * count // bins, 0), min(end, length)


@numba.njit(cache=True, parallel=True, error_model="numpy")
@no_type_check
def _largest(maps, rois, order, size, scale, pooled, last, workers):
    """The bins of every RoI. pooled is (k, bins, c) where channels come last, else (k, c, bins)."""
    _, height, width, channels = maps.shape
    for worker in prange(workers):
        tile = np.empty((size[0] * size[1], channels), maps.dtype)
        for at in range(worker, len(order), workers):
            roi = order[at]
            plane = maps[int(rois[roi, 0])]
            bins = pooled[roi] if last else tile
            down, across = _side(rois, roi, 2, scale), _side(rois, roi, 1, scale)
            for p in range(size[0]):
                top, bottom = _pixels(down, p, size[0], height)
                for q in range(size[1]):
                    left, right = _pixels(across, q, size[1], width)
                    _bin(plane, top, bottom, left, right, bins[p * size[1] + q])
            if not last:
                turn(tile, pooled[roi])


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _bin(plane, top, bottom, left, right, best):
    """The largest of the pixels of a bin per channel, NaN if one is; 0 where there is none."""
    nan = best.dtype.type(np.nan)
    best[:] = -np.inf
    for y in range(top, bottom):
        x = left
        while x + 3 < right:
            a, b, c, d = plane[y, x], plane[y, x + 1], plane[y, x + 2], plane[y, x + 3]
            for i in range(len(best)):
                most = _larger(_larger(_larger(a[i], b[i]), _larger(c[i], d[i])), best[i])
                bad = (a[i] != a[i]) | (b[i] != b[i]) | (c[i] != c[i]) | (d[i] != d[i])
                best[i] = nan if bad else most
            x += 4
        while x < right:
            a = plane[y, x]
            for i in range(len(best)):
                best[i] = nan if a[i] != a[i] else _larger(a[i], best[i])
            x += 1
    for i in range(len(best)):
        best[i] = best[i] if best[i] != -np.inf else 0


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _larger(a, b):
    """The second where one is NaN: a single instruction, for many channels at once."""
    return a if a > b else b


@numba.njit(cache=True, parallel=True, error_model="numpy")
@no_type_check
def _give_back(grads, maps, rois, scale, found, places, workers):
    """Add to `found` the gradient of every bin, per channel, at its first largest pixel. places has
    the type of a pixel's number, as small as can be: more of them are compared at once.
    """
    _, height, width, channels = maps.shape
    high, wide = grads.shape[1:3]
    share = (channels + workers * BLOCK - 1) // (workers * BLOCK) * BLOCK
    for worker in prange(workers):
        start, end = min(worker * share, channels), min((worker + 1) * share, channels)
        best, where = np.empty(end - start, maps.dtype), np.empty(end - start, places.dtype)
        for roi in range(len(rois) if end > start else 0):
            image = int(rois[roi, 0])
            flat, to = maps[image].reshape(-1, channels), found[image].reshape(-1, channels)
            down, across = _side(rois, roi, 2, scale), _side(rois, roi, 1, scale)
            for p in range(high):
                top, bottom = _pixels(down, p, high, height)
                for q in range(wide):
                    left, right = _pixels(across, q, wide, width)
                    _find(flat, width, top, bottom, left, right, start, best, where)
                    grad = grads[roi, p, q]
                    for i in range(len(best)):
                        if best[i] != -np.inf:
                            to[where[i], start + i] += grad[start + i]


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _find(flat, width, top, bottom, left, right, start, best, where):
    """Of the channels from `start` on the largest pixel of a bin, and which it is: the first of
    equal ones, and of NaNs. Four at a time, so that what was found is fetched once for all.
    """
    best[:] = -np.inf
    end, place = start + len(best), where.dtype.type
    for y in range(top, bottom):
        x = left
        while x + 3 < right:
            pixel = place(y * width + x)
            a, b = flat[pixel, start:end], flat[pixel + 1, start:end]
            c, d = flat[pixel + 2, start:end], flat[pixel + 3, start:end]
            for i in range(len(best)):
                most, at = _first(best[i], where[i], a[i], pixel)
                most, at = _first(most, at, b[i], place(pixel + 1))
                most, at = _first(most, at, c[i], place(pixel + 2))
                best[i], where[i] = _first(most, at, d[i], place(pixel + 3))
            x += 4
        while x < right:
            pixel = place(y * width + x)
            a = flat[pixel, start:end]
            for i in range(len(best)):
                best[i], where[i] = _first(best[i], where[i], a[i], pixel)
            x += 1


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _first(most, at, value, pixel):
    """The larger of two and where it is: the former, unless the latter is larger, or NaN first."""
    larger = (value > most) | ((value != value) & (most == most))
    return (value if larger else most), (pixel if larger else at)
