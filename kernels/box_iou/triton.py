"""Intersection over union in Triton: one pass over the result, a tile of it per program."""

from collections.abc import Sequence
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels.box_iou import reference
from kernels.triton.interpreting import device, ready
from kernels.triton.rois import UNFUSED, divided

ELEMENTS = 4096
"""Pairs of boxes in a program."""
ACROSS = 128
"""Boxes of `b` in a program, at most."""


def box_iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """The reference's numbers to the last bit.

    Raises ValueError for tensors on the CPU where Triton does not interpret.
    Source: Everingham et al. 2010, sec. 4.2.
    """
    ready(a)
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(dtype).contiguous(), b.to(dtype).contiguous()
    n, m = len(a), len(b)
    found = a.new_empty(n, m)
    if found.numel():
        across = min(ACROSS, triton.next_power_of_2(m))
        down = ELEMENTS // across
        grid = (triton.cdiv(n, down), triton.cdiv(m, across))
        _fill[grid](a, b, found, n, m, down, across, **UNFUSED)
    return found


def backward(grad: Tensor, a: Tensor, b: Tensor) -> Sequence[Tensor]:
    """The gradients with respect to a and b: those of the reference."""
    _, pull, *_ = torch.func.vjp(reference.box_iou, a, b)
    gradients: tuple[Tensor, Tensor] = pull(grad)
    return gradients


@device
@no_type_check
def boxes_at(boxes, i, here):
    """x1, y1, x2, y2 and area of boxes i of (n, 4), where `here`; else, and not finite, zeros."""
    x1 = tl.load(boxes + 4 * i, mask=here, other=0.0)
    y1 = tl.load(boxes + 4 * i + 1, mask=here, other=0.0)
    x2 = tl.load(boxes + 4 * i + 2, mask=here, other=0.0)
    y2 = tl.load(boxes + 4 * i + 3, mask=here, other=0.0)
    infinity = float("inf")
    finite = (tl.abs(x1) < infinity) & (tl.abs(y1) < infinity)
    finite = finite & (tl.abs(x2) < infinity) & (tl.abs(y2) < infinity)
    x1, y1 = tl.where(finite, x1, 0.0), tl.where(finite, y1, 0.0)
    x2, y2 = tl.where(finite, x2, 0.0), tl.where(finite, y2, 0.0)
    return x1, y1, x2, y2, tl.maximum(x2 - x1, 0.0) * tl.maximum(y2 - y1, 0.0)


@device
@no_type_check
def iou(boxes_a, i, n, boxes_b, j, m):
    """IoU (i, j) of boxes i of n with boxes j of m, in the reference's steps."""
    left, top, right, bottom, area = boxes_at(boxes_a, i, i < n)
    x1, y1, x2, y2, other = boxes_at(boxes_b, j, j < m)
    width = tl.minimum(right[:, None], x2[None]) - tl.maximum(left[:, None], x1[None])
    height = tl.minimum(bottom[:, None], y2[None]) - tl.maximum(top[:, None], y1[None])
    shared = tl.maximum(width, 0.0) * tl.maximum(height, 0.0)
    union = area[:, None] + other[None] - shared
    least = 2.2250738585072014e-308 if union.dtype == tl.float64 else 1.1754943508222875e-38
    return tl.where(union > 0.0, divided(shared, tl.maximum(union, least)), 0.0)


@triton.jit
@no_type_check
def _fill(a, b, found, n, m, down: tl.constexpr, across: tl.constexpr):
    """found (n, m) of a (n, 4) and b (m, 4)."""
    i = tl.program_id(0).to(tl.int64) * down + tl.arange(0, down)
    j = tl.program_id(1).to(tl.int64) * across + tl.arange(0, across)
    value = iou(a, i, n, b, j, m)
    here = (i < n)[:, None] & (j < m)[None]
    tl.store(found + i[:, None] * m + j[None], value, mask=here)
