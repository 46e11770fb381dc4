"""RoIPool in CUDA C++, on memory with channels last; on a CPU the same code is emulated.

A RoI of an image that is not there gives zeros and no gradient: looking would wait for the GPU.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.cuda import scalars
from kernels.cuda.bins import CHANNELS, Shape, division, empty, program_of, tiles
from kernels.cuda.layout import pixels_first

PROGRAM = program_of(Path(__file__).with_name("cuda.cu"))


def roi_pool(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's maxima, bit for bit, laid out with channels last.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    n, channels, height, width = features.shape
    maps, boxes = pixels_first(features), rois.contiguous()
    pooled = empty((len(rois), channels, *output_size), maps.dtype, maps.device)
    lanes, grid, block = division(pooled, maps)
    program = PROGRAM.with_defines(LANES=str(lanes), **scalars(features.dtype, rois.dtype))
    shape = Shape(n, height, width, channels, len(rois), *output_size)
    program.launch("roi_pool", maps, boxes, pooled, shape, spatial_scale, grid=grid, block=block)
    return pooled


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    spatial_scale: float,
) -> list[Tensor]:
    """The gradient of the features, each bin's at its first largest pixel, channels last.

    Maxima are found anew, and added atomically, in no order, to float32 or float64. With
    deterministic algorithms their places, k oh ow c int64, are written down instead, and each tile
    of pixels reads those of the bins that touch it, RoI by RoI.
    """
    n, channels, height, width = features.shape
    maps, grads, boxes = pixels_first(features), pixels_first(grad), rois.contiguous()
    lanes, grid, block = division(grads, maps)
    kinds = scalars(features.dtype, rois.dtype)
    program = PROGRAM.with_defines(LANES=str(lanes), **kinds)
    last = (Shape(n, height, width, channels, len(rois), *output_size), spatial_scale)
    if not torch.are_deterministic_algorithms_enabled():
        wide = torch.promote_types(maps.dtype, torch.float32)
        sums = empty(maps.shape, wide, maps.device).zero_()
        program.launch("roi_pool_add", grads, maps, boxes, sums, *last, grid=grid, block=block)
        return [sums]
    places = empty(grads.shape, torch.int64, maps.device)
    program.launch("roi_pool_places", maps, boxes, places, *last, grid=grid, block=block)
    found = empty(maps.shape, maps.dtype, maps.device)
    given = (grads, places, boxes, found, *last)
    program.launch("roi_pool_gather", *given, grid=tiles(maps.shape), block=CHANNELS)
    return [found]
