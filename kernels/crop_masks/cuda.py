"""Mask targets in CUDA C++, straight from the bitmaps; on a CPU the same code is emulated."""

from pathlib import Path

from jaxtyping import Bool, Float, Int
from torch import Tensor

from kernels.cuda import Program, scalars

THREADS, BLOCK = 8, 256
"""Threads that make one bin, and those of a block."""
PROGRAM = Program(Path(__file__).with_name("cuda.cu")).with_defines(THREADS=str(THREADS))


def crop_masks(
    masks: Bool[Tensor, "g h w"],
    index: Int[Tensor, " n"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: int,
    sampling_ratio: int,
    aligned: bool,
    threshold: float | None,
) -> Float[Tensor, "n {size} {size}"]:
    """The reference up to rounding; on a GPU an index of no mask gives an empty one.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    shares = boxes.new_empty(len(boxes), size, size)
    program = PROGRAM.with_defines(COORD=scalars(boxes.dtype, boxes.dtype)["COORD"])
    tensors = (masks.contiguous(), index.contiguous(), boxes.contiguous(), shares)
    options = (size, sampling_ratio, aligned, threshold is not None, float(threshold or 0))
    blocks = -(-shares.numel() * THREADS // BLOCK)
    given = (*tensors, *masks.shape, len(boxes), *options)
    program.launch("crop_masks", *given, grid=blocks, block=BLOCK)
    return shares
