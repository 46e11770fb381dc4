"""CropAndResize in Numba: its own taps, read by the kernels of RoIAlign."""

from collections.abc import Sequence
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float
from torch import Tensor

from kernels.crop_and_resize.reference import sample_points
from kernels.layouts import bins_of, channels_last, empty, pixels_first, workers_for
from kernels.multilevel_roi_align.numba import gather, transposed
from kernels.roi_align.taps import Array, Taps


def crop_and_resize(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    extrapolation_value: float,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's samples; RoIs in parallel.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    last = channels_last(features)
    shape = (len(rois), features.shape[1], output_size[0], output_size[1])
    pooled = empty(shape, features, last=last)
    workers = workers_for(pooled, features)
    if not features.numel():
        return pooled.fill_(extrapolation_value)
    maps = (pixels_first(features, workers),)
    rows, columns = _axes(features, rois, output_size, maps[0].dtype)
    images = rois[:, 0].long().numpy()
    levels = np.zeros_like(images)
    bins = bins_of(pooled, last)
    order = np.lexsort((rois[:, 2].numpy(), images))
    gather(maps, order, images, levels, rows, columns, bins, last, extrapolation_value, workers)
    return pooled


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    extrapolation_value: float,
) -> list[Tensor]:
    """The gradient of the features, the same in every bit on any number of threads."""
    workers = workers_for(grad, features)
    grads = pixels_first(grad, workers)
    rows, columns = _axes(features, rois, output_size, grads.dtype)
    images = rois[:, 0].long().numpy()
    levels = np.zeros_like(images)
    return transposed(grads, [features], images, levels, rows, columns, workers)


def _axes(
    features: Tensor, rois: Tensor, output_size: Sequence[int], dtype: np.dtype[np.generic]
) -> tuple[Taps, Taps]:
    """The taps of rows and of columns."""
    _, x1, y1, x2, y2 = rois.unbind(1)
    height, width = features.shape[2:]
    rows = sample_points(y1, y2, output_size[0], height).numpy()
    columns = sample_points(x1, x2, output_size[1], width).numpy()
    return _taps(rows, height, dtype), _taps(columns, width, dtype)


def _taps(points: Array, length: int, dtype: np.dtype[np.generic]) -> Taps:
    """Two taps per point, one where it is a pixel's centre, none outside."""
    count, bins = points.shape
    made = Taps(
        np.empty((count, bins, 2), np.int64),
        np.empty((count, bins, 2), dtype),
        np.zeros((count, bins), np.int64),
        np.full(count, length),
        np.full(count, -1),
    )
    _fill(points, length, *made)
    return made


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _fill(points, length, pixels, weights, counts, first, last):
    for roi in range(len(points)):
        for index in range(points.shape[1]):
            point = points[roi, index]
            if length < 1 or not (point >= 0 and point <= length - 1):
                continue
            pixel = int(point)
            right = point - points.dtype.type(pixel)
            count = 2 if right > 0 else 1
            pixels[roi, index, 0], weights[roi, index, 0] = pixel, points.dtype.type(1) - right
            pixels[roi, index, 1], weights[roi, index, 1] = pixel + 1, right
            counts[roi, index] = count
            first[roi] = min(first[roi], pixel)
            last[roi] = max(last[roi], pixel + count - 1)
