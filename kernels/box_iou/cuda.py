"""Intersection over union in CUDA C++: one pass over the result, without temporaries."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.box_iou import reference
from kernels.cuda import Program

PROGRAM = Program(Path(__file__).with_name("cuda.cu"))
ROWS = 32
"""Boxes of `a` in a block of threads, as the kernel has it."""
THREADS = 256
REAL = {torch.float32: "float", torch.float64: "double"}


def box_iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """The reference's numbers to the last bit.

    Raises nothing: arguments were checked by the operator.
    Source: Everingham et al. 2010, sec. 4.2.
    """
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(dtype).contiguous(), b.to(dtype).contiguous()
    n, m = len(a), len(b)
    found = a.new_empty(n, m)
    across = min(THREADS, 1 << max(m - 1, 0).bit_length())
    PROGRAM.with_defines(REAL=REAL[dtype]).launch(
        "box_iou",
        *(a, b, found, n, m),
        grid=(-(-n // ROWS), -(-m // across)),
        block=(across, THREADS // across),
    )
    return found


def backward(grad: Tensor, a: Tensor, b: Tensor) -> Sequence[Tensor]:
    """The gradients with respect to a and b: those of the reference."""
    _, pull, *_ = torch.func.vjp(reference.box_iou, a, b)
    gradients: tuple[Tensor, Tensor] = pull(grad)
    return gradients
