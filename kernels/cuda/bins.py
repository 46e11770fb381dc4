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
ACROSS = 32
"""Threads of a block that read a pixel together, 16 bytes each."""


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


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An undefined tensor (n, c, h, w), in memory as `pixels_first` has it."""
    return torch.empty(shape, dtype=dtype, device=device, memory_format=torch.channels_last)


def division(bins: Tensor, *others: Tensor) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """How threads share bins (k, c, oh, ow): channels that one takes at once, grid, block.

    As many channels as 16 bytes hold, fewer where they do not divide c or some memory is off. A
    block takes some bins in ACROSS times as many channels; all bins come before the next channels,
    so that what is read of the maps meanwhile stays in the second-level cache.
    """
    k, channels, rows, columns = bins.shape
    starts = (t.data_ptr() // t.itemsize for t in (bins, *others))
    lanes = math.gcd(16 // bins.itemsize, channels, *starts)
    groups = channels // lanes
    across = min(ACROSS, max(4, 1 << (groups - 1).bit_length()))
    down = 256 // across
    return lanes, (-(-k * rows * columns // down), -(-groups // across)), (across, down)
