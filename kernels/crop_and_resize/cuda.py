"""CropAndResize in CUDA C++, on memory with channels last; on a CPU the same code is emulated.

A RoI of an image that is not there lies outside: looking would wait for the GPU.
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


def crop_and_resize(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    extrapolation_value: float,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's samples, laid out with channels last.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    n, channels, height, width = features.shape
    maps, boxes = pixels_first(features), rois.contiguous()
    pooled = empty((len(rois), channels, *output_size), maps.dtype, maps.device)
    lanes, grid, block = division(pooled, maps)
    program = PROGRAM.with_defines(LANES=str(lanes), **scalars(features.dtype, rois.dtype))
    shape = Shape(n, height, width, channels, len(rois), *output_size)
    given = (maps, boxes, pooled, shape, float(extrapolation_value))
    program.launch("crop_and_resize", *given, grid=grid, block=block)
    return pooled


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    extrapolation_value: float,
) -> list[Tensor]:
    """The gradient of the features, channels last; their values are not read.

    Every bin is added to its four pixels atomically, in no order, to float32 or float64. With
    deterministic algorithms each tile of pixels walks the RoIs near it in order and reads its bins:
    no atomics and no zeros to begin with, but all bins of such a RoI are located once per tile.
    """
    n, channels, height, width = features.shape
    grads, boxes = pixels_first(grad), rois.contiguous()
    lanes, grid, block = division(grads)
    program = PROGRAM.with_defines(LANES=str(lanes), **scalars(grad.dtype, rois.dtype))
    shape = Shape(n, height, width, channels, len(rois), *output_size)
    if torch.are_deterministic_algorithms_enabled():
        found = empty(features.shape, grad.dtype, grad.device)
        given = (grads, boxes, found, shape)
        launched = {"grid": tiles(features.shape), "block": CHANNELS}
        program.launch("crop_and_resize_gather", *given, **launched)
        return [found]
    wide = torch.promote_types(grad.dtype, torch.float32)
    sums = empty(features.shape, wide, grad.device).zero_()
    program.launch("crop_and_resize_add", grads, boxes, sums, shape, grid=grid, block=block)
    return [sums]
