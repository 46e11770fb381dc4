"""Mask pasting in CUDA C++, in stores of 16 bytes; on a CPU the same code is emulated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.cuda import Program, scalars

PROGRAM = Program(Path(__file__).with_name("cuda.cu"))
THREADS, ROUNDS = 256, 4
"""Of a block, and how often each of its threads stores 16 bytes."""


def paste_masks(
    masks: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: Sequence[int],
    method: Literal["exact", "grown"],
    threshold: float | None,
) -> Tensor:
    """The reference up to rounding, which never moves a whole pixel of a grown box.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    n, m, _ = masks.shape
    kept = masks.dtype if threshold is None else torch.bool
    least = 0.0 if threshold is None else float(threshold)
    pasted = masks.new_empty((n, *size), dtype=kept)
    if not masks.numel():
        return pasted.fill_(threshold is not None and least <= 0)
    kinds = scalars(masks.dtype, boxes.dtype)
    wide = "double" if torch.float64 in (masks.dtype, boxes.dtype) else "float"
    pixels = 16 // pasted.itemsize
    program = PROGRAM.with_defines(
        SCALAR=kinds["SCALAR"],
        COORD=kinds["COORD"],
        REAL=wide,
        KEPT=kinds["SCALAR"] if threshold is None else "unsigned char",
        PIXELS=str(pixels),
        GROWN=str(int(method == "grown")),
    )
    blocks = -(-(size[0] * size[1] + pixels - 1) // (pixels * THREADS * ROUNDS))
    tensors, grid = (masks.contiguous(), boxes.contiguous(), pasted), n * blocks
    program.launch("paste_masks", *tensors, m, *size, blocks, least, grid=grid, block=THREADS)
    return pasted
