"""Intersection over union in one pass over the result, without temporaries.

On one thread: it is bound by the memory that it writes.
"""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

from kernels.box_iou import reference
from kernels.layouts import in_pages


def box_iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """The reference's numbers to the last bit, for boxes of one dtype. CPU only.

    Raises nothing: arguments were checked by the operator.
    Source: Everingham et al. 2010, sec. 4.2.
    """
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(dtype), b.to(dtype)
    rows, others = columns(a), columns(b)
    found = in_pages(torch.empty(len(a), len(b), dtype=dtype))
    _fill(rows, others, found.numpy())
    return found


def backward(grad: Tensor, a: Tensor, b: Tensor) -> Sequence[Tensor]:
    """The gradients with respect to a and b: those of the reference."""
    _, pull, *_ = torch.func.vjp(reference.box_iou, a, b)
    gradients: tuple[Tensor, Tensor] = pull(grad)
    return gradients


def columns(boxes: Tensor) -> np.ndarray:
    """(4, n) contiguous sides x1, y1, x2, y2.

    A box with a coordinate that is not finite comes back as four zeros: it meets nothing, as the
    specification has it, and kernels need not know of NaN.
    """
    sides = np.ascontiguousarray(boxes.detach().numpy().T)
    odd = ~np.isfinite(sides).all(0)
    if odd.any():
        sides = np.where(odd, sides.dtype.type(0), sides)
    return sides


@njit(cache=True, error_model="numpy")
@no_type_check
def _fill(a: np.ndarray, b: np.ndarray, found: np.ndarray) -> None:
    zero = found.dtype.type(0)
    left, top, right, bottom = b[0], b[1], b[2], b[3]
    area = np.empty_like(left)
    for j in range(len(left)):
        area[j] = max(right[j] - left[j], zero) * max(bottom[j] - top[j], zero)
    for i in range(len(found)):
        row = found[i]
        x1, y1, x2, y2 = a[0, i], a[1, i], a[2, i], a[3, i]
        own = max(x2 - x1, zero) * max(y2 - y1, zero)
        for j in range(len(row)):
            width = min(x2, right[j]) - max(x1, left[j])
            height = min(y2, bottom[j]) - max(y1, top[j])
            shared = max(width, zero) * max(height, zero)
            union = own + area[j] - shared
            row[j] = shared / union if union > zero else zero
