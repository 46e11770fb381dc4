"""How CUDA kernels over the bins of RoIs on one map are launched; bins.cuh has what they share."""

import ctypes
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from kernels.cuda.program import Program

TILE, CHANNELS = 8, 64
"""Of a block of the deterministic backward pass: pixels along a side of its tile; its threads."""


class Shape(ctypes.Structure):
    """`Shape` of bins.cuh: of the maps, (n, height, width, channels), then (k, rows, columns)."""

    _fields_ = [(f"side_{i}", ctypes.c_longlong) for i in range(7)]


def program_of(file: Path) -> Program:
    """The program of a .cu file that includes bins.cuh, the kinds of its numbers still open."""
    return Program(file).with_defines(TILE=str(TILE), CHANNELS=str(CHANNELS))


def tiles(maps: Sequence[int]) -> int:
    """Blocks that gather for maps (n, c, h, w)."""
    n, channels, height, width = maps
    return int(n * -(-height // TILE) * -(-width // TILE) * -(-channels // CHANNELS))


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
