"""RoIAlign's maximum over the samples of a bin in Numba, for any number of levels.

Forward, threads take RoIs in turn. Backward, they take blocks of channels in turn and walk all RoIs
in order, finding each maximum again: no atomics, and the same bits on any number of threads.
"""

from typing import no_type_check

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from kernels.layouts import in_pages
from kernels.roi_align.taps import Array, Grid, sample, span

BLOCK = 64
"""Channels that a thread takes at once in the backward pass."""


def forward(
    maps: tuple[Array, ...],
    rois: Array,
    images: Array,
    levels: Array,
    rows: Grid,
    columns: Grid,
    workers: int,
) -> Tensor:
    """The largest sample of each bin, NaN if one is; 0 where there is none: (k, c, oh, ow)."""
    shape = (len(rois), rows.bins, columns.bins, maps[0].shape[3])
    pooled = in_pages(torch.empty(shape, dtype=_dtype(maps[0])))
    _largest(maps, rois, images, levels, rows, columns, pooled.numpy(), workers)
    return pooled.permute(0, 3, 1, 2)


def backward(
    grads: Array,
    maps: tuple[Array, ...],
    rois: Array,
    images: Array,
    levels: Array,
    rows: Grid,
    columns: Grid,
    workers: int,
) -> list[Tensor]:
    """The gradients of the maps, each bin's to the pixels of its first largest sample."""
    found = [in_pages(torch.empty(m.shape, dtype=_dtype(m))).zero_() for m in maps]
    to = tuple(f.numpy() for f in found)
    _give_back(grads, maps, rois, images, levels, rows, columns, to, workers)
    return [f.permute(0, 3, 1, 2) for f in found]


def _dtype(array: Array) -> torch.dtype:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


@numba.njit(cache=True, parallel=True, error_model="numpy")
@no_type_check
def _largest(maps, rois, images, levels, rows, columns, pooled, workers):
    channels = pooled.shape[3]
    for worker in prange(workers):
        value, which = np.empty(channels, pooled.dtype), np.empty(channels, np.int64)
        for roi in range(worker, len(rois), workers):
            level = levels[roi]
            plane = maps[level][images[roi]]
            down, across = span(rois, roi, level, rows), span(rois, roi, level, columns)
            for p in range(pooled.shape[1]):
                for q in range(pooled.shape[2]):
                    _bin(rois, plane, down, across, p, q, 0, pooled[roi, p, q], which, value)


@numba.njit(cache=True, parallel=True, error_model="numpy")
@no_type_check
def _give_back(grads, maps, rois, images, levels, rows, columns, found, workers):
    channels = grads.shape[3]
    for worker in prange(workers):
        for first in range(worker * BLOCK, channels, workers * BLOCK):
            size = min(BLOCK, channels - first)
            best, value = np.empty(size, grads.dtype), np.empty(size, grads.dtype)
            which = np.empty(size, np.int64)
            for roi in range(len(rois)):
                level = levels[roi]
                plane, to = maps[level][images[roi]], found[level][images[roi]]
                down, across = span(rois, roi, level, rows), span(rois, roi, level, columns)
                for p in range(grads.shape[1]):
                    for q in range(grads.shape[2]):
                        _bin(rois, plane, down, across, p, q, first, best, which, value)
                        grad = grads[roi, p, q]
                        _to_samples(rois, to, down, across, p, q, first, which, grad)


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _bin(rois, plane, down, across, p, q, first, best, which, value):
    """Per channel from `first` on the largest sample of a bin, and which it is, -1 for none."""
    height, width, _ = plane.shape
    some = down[2] > 0 and across[2] > 0
    best[:] = -np.inf if some else 0.0
    which[:] = 0 if some else -1
    for i in range(down[2]):
        y, below = sample(rois, down[0], down[1], down[2], p, i, height)
        for j in range(across[2]):
            x, right = sample(rois, across[0], across[1], across[2], q, j, width)
            _read(rois, plane, y, below, x, right, first, value)
            number = i * across[2] + j
            for c in range(len(best)):
                larger = (value[c] > best[c]) | ((value[c] != value[c]) & (best[c] == best[c]))
                best[c] = value[c] if larger else best[c]
                which[c] = number if larger else which[c]


@numba.njit(cache=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _read(rois, plane, y, below, x, right, first, value):
    """A bilinear sample of the channels from `first` on; a pixel of no weight is not read."""
    value[:] = 0
    if y < 0 or x < 0:
        return
    one = rois.dtype.type(1)
    for dy in range(1 + (below > 0)):
        for dx in range(1 + (right > 0)):
            weight = (below if dy else one - below) * (right if dx else one - right)
            source = plane[y + dy, x + dx, first : first + len(value)]
            for c in range(len(value)):
                value[c] += value.dtype.type(weight) * source[c]


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _to_samples(rois, to, down, across, p, q, first, which, grad):
    """Add the gradient of a bin, per channel, to the pixels of the sample that was largest."""
    height, width, _ = to.shape
    one = rois.dtype.type(1)
    for c in range(len(which)):
        if which[c] < 0:
            continue
        i, j = which[c] // across[2], which[c] % across[2]
        y, below = sample(rois, down[0], down[1], down[2], p, i, height)
        x, right = sample(rois, across[0], across[1], across[2], q, j, width)
        if y < 0 or x < 0:
            continue
        for dy in range(1 + (below > 0)):
            for dx in range(1 + (right > 0)):
                weight = (below if dy else one - below) * (right if dx else one - right)
                to[y + dy, x + dx, first + c] += weight * grad[first + c]
