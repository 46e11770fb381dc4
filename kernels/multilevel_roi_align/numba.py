"""RoIAlign of all levels in one launch: Numba kernels over pixels with their channels side by side.

Forward, threads take RoIs in turn. Backward, they take rows of the maps in turn, and each row sums
what the RoIs give it in their order: no atomics, and bit for bit the same on any number of threads.
"""

from collections.abc import Sequence
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor

from kernels.layouts import bins_of, channels_last, empty, pixels_first, turn, workers_for
from kernels.roi_align import maximum
from kernels.roi_align.taps import Array, Grid, Taps, taps

FAST = {"contract"}  # multiply and add in one step; NaN and infinity stay what they are


def multilevel_roi_align(
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"] | None,
    *,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    reduce: str,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's samples, their weights merged per pixel; RoIs of all levels in parallel.

    levels   None: all on the first map

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    last = channels_last(features[0])
    shape = (len(rois), features[0].shape[1], output_size[0], output_size[1])
    pooled = empty(shape, features[0], last=last)
    workers = workers_for(pooled, *features)
    maps = tuple(pixels_first(f, workers) for f in features)
    if not pooled.numel():
        return pooled
    boxes, images, of = _arrays(rois, levels)
    axes = _axes(features, output_size, spatial_scales, sampling_ratio, aligned)
    if reduce == "max":
        return maximum.forward(maps, boxes, images, of, *axes, workers)
    rows, columns = (taps(boxes, of, axis, maps[0].dtype) for axis in axes)
    order = np.lexsort((boxes[:, 2], images, of))  # neighbours in turn: they share what is cached
    bins = bins_of(pooled, last)
    gather(maps, order, images, of, rows, columns, bins, last, 0.0, workers)
    return pooled


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"] | None,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    reduce: str,
) -> list[Tensor]:
    """The gradients of the features, the same in every bit on any number of threads."""
    workers = workers_for(grad, *features)
    boxes, images, of = _arrays(rois, levels)
    axes = _axes(features, output_size, spatial_scales, sampling_ratio, aligned)
    grads = pixels_first(grad, workers)
    if reduce == "max":
        maps = tuple(pixels_first(f, workers) for f in features)
        return maximum.backward(grads, maps, boxes, images, of, *axes, workers)
    rows, columns = (taps(boxes, of, axis, grads.dtype) for axis in axes)
    return transposed(grads, features, images, of, rows, columns, workers)


def _arrays(rois: Tensor, levels: Tensor | None) -> tuple[Array, Array, Array]:
    """RoIs, their images and their levels."""
    of = np.zeros(len(rois), np.int64) if levels is None else levels.contiguous().numpy()
    return rois.contiguous().numpy(), rois[:, 0].long().numpy(), of


def transposed(
    grads: Array,
    features: Sequence[Tensor],
    images: Array,
    levels: Array,
    rows: Taps,
    columns: Taps,
    workers: int,
) -> list[Tensor]:
    """The gradients of the features, from those of the bins, (k, h, w, c), by their taps."""
    last, count = channels_last(features[0]), len(features[0])
    found = [empty(f.shape, f, last=last) for f in features]
    group = levels * count + images
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(features) * count + 1))
    k, high, wide, channels = grads.shape
    flat = grads.reshape(k, high, wide * channels)
    maps = tuple(f.permute(0, 2, 3, 1).numpy() if last else f.numpy() for f in found)
    widest = max(f.shape[3] for f in features)
    scatter(flat, order, starts, rows, columns, maps, last, widest, workers)
    return found


def _axes(
    features: Sequence[Tensor],
    output_size: Sequence[int],
    scales: Sequence[float],
    ratio: int,
    aligned: bool,
) -> tuple[Grid, Grid]:
    """How rows and columns are sampled."""

    def axis(i: int) -> Grid:
        lengths = np.array([f.shape[2 + i] for f in features], np.int64)
        of_scale = np.array(scales, np.float64)
        return Grid(2 - i, 4 - i, output_size[i], lengths, of_scale, ratio, aligned)

    return axis(0), axis(1)


@numba.njit(cache=True, parallel=True, fastmath=FAST, error_model="numpy")
@no_type_check
def gather(maps, order, images, levels, rows, columns, pooled, last, missing, workers):
    """The bins of every RoI. pooled is (k, bins, c) where channels come last, else (k, c, bins)."""
    ys, wys, rows_of, _, _ = rows
    xs, wxs, columns_of, _, _ = columns
    high, wide = rows_of.shape[1], columns_of.shape[1]
    channels = maps[0].shape[3]
    most = ys.shape[2] * xs.shape[2]
    for worker in prange(workers):
        tile = np.empty((high * wide, channels), pooled.dtype)
        pixel, weight = np.empty(most, np.int64), np.empty(most, wys.dtype)
        for at in range(worker, len(order), workers):
            roi = order[at]
            plane = maps[levels[roi]][images[roi]]
            width = plane.shape[1]
            flat = plane.reshape(-1, channels)
            bins = pooled[roi] if last else tile
            for p in range(high):
                for q in range(wide):
                    count = 0
                    for i in range(rows_of[roi, p]):
                        for j in range(columns_of[roi, q]):
                            pixel[count] = ys[roi, p, i] * width + xs[roi, q, j]
                            weight[count] = wys[roi, p, i] * wxs[roi, q, j]
                            count += 1
                    _sum(bins[p * wide + q], flat, pixel, weight, count, missing)
            if not last:
                turn(tile, pooled[roi])


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
@no_type_check
def _sum(target, flat, pixel, weight, count, missing):
    """target = sum of weight[i] * flat[pixel[i]] over i < count; `missing` where there are none."""
    i = 0
    if count >= 8:  # the most usual counts: half as many reads and writes of the target
        a, b, c, d = flat[pixel[0]], flat[pixel[1]], flat[pixel[2]], flat[pixel[3]]
        e, f, g, h = flat[pixel[4]], flat[pixel[5]], flat[pixel[6]], flat[pixel[7]]
        wa, wb, wc, wd = weight[0], weight[1], weight[2], weight[3]
        we, wf, wg, wh = weight[4], weight[5], weight[6], weight[7]
        for x in range(len(target)):
            near = wa * a[x] + wb * b[x] + wc * c[x] + wd * d[x]
            target[x] = near + we * e[x] + wf * f[x] + wg * g[x] + wh * h[x]
        i = 8
    else:
        target[:] = missing if count == 0 else 0.0
    while i + 4 <= count:
        a, b, c, d = flat[pixel[i]], flat[pixel[i + 1]], flat[pixel[i + 2]], flat[pixel[i + 3]]
        wa, wb, wc, wd = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        for x in range(len(target)):
            target[x] = target[x] + wa * a[x] + wb * b[x] + wc * c[x] + wd * d[x]
        i += 4
    while i < count:
        axpy(target, weight[i], flat[pixel[i]])
        i += 1


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
@no_type_check
def axpy(target, weight, source):
    """target += weight * source."""
    for x in range(len(target)):
        target[x] += weight * source[x]


@numba.njit(cache=True, parallel=True, fastmath=FAST, error_model="numpy")
@no_type_check
def scatter(grads, order, starts, rows, columns, out, last, widest, workers):
    """The transpose of gather. out is (n, h, w, c) per level where channels come last."""
    ys, wys, rows_of, first_row, last_row = rows
    xs, wxs, columns_of, _, _ = columns
    wide = columns_of.shape[1]
    channels = grads.shape[2] // wide
    for worker in prange(workers):
        tile = np.empty((widest, channels), grads.dtype)
        summed = np.empty(wide * channels, grads.dtype)
        turn_of = 0
        for level in range(len(out)):
            maps = out[level]
            height, width = (maps.shape[1], maps.shape[2]) if last else maps.shape[2:]
            for image in range(maps.shape[0]):
                group = level * maps.shape[0] + image
                for y in range(height):
                    turn_of += 1
                    if turn_of % workers != worker:
                        continue
                    line = maps[image, y] if last else tile[:width]
                    clear(line)
                    for at in range(starts[group], starts[group + 1]):
                        roi = order[at]
                        if y < first_row[roi] or y > last_row[roi]:
                            continue
                        if _sum_rows(summed, y, ys[roi], wys[roi], rows_of[roi], grads[roi]):
                            _give(line, summed, xs[roi], wxs[roi], columns_of[roi], channels)
                    if not last:
                        turn(line, maps[image, :, y])


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def clear(values):
    """All zero. A function: Numba may drop an assignment to a part of a tuple as never read."""
    values[:] = 0


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
@no_type_check
def _sum_rows(summed, y, pixels, weights, counts, grad):
    """What the rows of bins that read row y give it; False, and nothing, where none does."""
    some = False
    for p in range(len(counts)):
        for i in range(counts[p]):
            if pixels[p, i] == y:
                if some:
                    axpy(summed, weights[p, i], grad[p])
                else:
                    _scale(summed, weights[p, i], grad[p])
                    some = True
    return some


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
@no_type_check
def _scale(target, weight, source):
    """target = weight * source."""
    for x in range(len(target)):
        target[x] = weight * source[x]


@numba.njit(cache=True, fastmath=FAST, error_model="numpy")
@no_type_check
def _give(line, summed, pixels, weights, counts, channels):
    """Add to row y of a map what one RoI gives it."""
    for q in range(len(counts)):
        source = summed[q * channels : (q + 1) * channels]
        for j in range(counts[q]):
            axpy(line[pixels[q, j]], weights[q, j], source)
