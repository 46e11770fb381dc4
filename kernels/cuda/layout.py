"""Maps in memory with their pixels first, which CUDA kernels over channels read, and back."""

import functools
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.cuda.program import NAMES, Program
from kernels.op import layout_of

PROGRAM = Program(Path(__file__).with_name("layout.cu"))
TILE, THREADS = 32, 128


def pixels_first(tensor: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """The tensor whose memory is (n, h, w, c): itself if it is so, else a copy."""
    last = torch.channels_last
    if tensor.is_contiguous(memory_format=last) or not tensor.is_contiguous():
        return tensor.contiguous(memory_format=last)
    turned = torch.empty_like(tensor, memory_format=last)
    _turn(tensor, turned, tensor.shape[1], tensor.shape[2] * tensor.shape[3])
    return turned


def as_its_map(found: Float[Tensor, "n c h w"], like: Float[Tensor, "n c h w"]) -> Tensor:
    """A gradient whose memory is (n, h, w, c), in the dtype and the layout of its map."""
    if found.is_contiguous() or layout_of(like) == torch.channels_last:
        return found.to(like.dtype)
    turned = torch.empty_like(like, memory_format=torch.contiguous_format)
    _turn(found, turned, like.shape[2] * like.shape[3], like.shape[1])
    return turned


def _turn(source: Tensor, target: Tensor, rows: int, columns: int) -> None:
    """(batch, rows, columns) as (batch, columns, rows), in the dtype of the target."""
    grid = len(source) * -(-rows // TILE) * -(-columns // TILE)
    program = _program(source.dtype, target.dtype)
    program.launch("turn", source, target, rows, columns, grid=grid, block=THREADS)


@functools.cache
def _program(source: torch.dtype, target: torch.dtype) -> Program:
    return PROGRAM.with_defines(FROM=NAMES[source], TO=NAMES[target])
