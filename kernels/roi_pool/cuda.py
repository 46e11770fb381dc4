"""RoIPool in CUDA C++, on memory with channels last; on a CPU the same code is emulated.

A RoI of an image that is not there gives zeros and no gradient: looking would wait for the GPU.
"""

import ctypes
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.cuda import Program, scalars

TILE, CHANNELS = 8, 64
"""Of a block of the deterministic backward pass: pixels along a side of its tile; its threads."""
PROGRAM = Program(Path(__file__).with_name("cuda.cu")).with_defines(
    TILE=str(TILE), CHANNELS=str(CHANNELS)
)


class Shape(ctypes.Structure):
    """`Shape` of cuda.cu: of the maps, (n, height, width, channels), then (k, rows, columns)."""

    _fields_ = [(f"side_{i}", ctypes.c_longlong) for i in range(7)]


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
    tiles = n * -(-height // TILE) * -(-width // TILE) * -(-channels // CHANNELS)
    given = (grads, places, boxes, found, *last)
    program.launch("roi_pool_gather", *given, grid=tiles, block=CHANNELS)
    return [found]


def pixels_first(tensor: Tensor) -> Tensor:
    """The tensor (n, c, h, w) in memory as (n, h, w, c), copied where it is not so."""
    return tensor.contiguous(memory_format=torch.channels_last)


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An undefined tensor (n, c, h, w), in memory as `pixels_first` has it."""
    return torch.empty(shape, dtype=dtype, device=device, memory_format=torch.channels_last)


def division(bins: Tensor, *others: Tensor) -> tuple[int, int, tuple[int, int]]:
    """How threads share bins (k, c, oh, ow): channels that one takes at once, grid, block.

    As many channels as 16 bytes hold, fewer where they do not divide c or some memory is off.
    """
    k, channels, rows, columns = bins.shape
    starts = (t.data_ptr() // t.itemsize for t in (bins, *others))
    lanes = math.gcd(16 // bins.itemsize, channels, *starts)
    groups = channels // lanes
    across = min(64, max(4, 1 << (groups - 1).bit_length()))
    down = 256 // across
    return lanes, -(-k * rows * columns // down) * bool(groups), (across, down)
