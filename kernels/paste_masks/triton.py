"""Mask pasting in Triton: a tile of one image per program, which reads the mask inside its box."""

from collections.abc import Sequence
from typing import Literal, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from kernels.triton.interpreting import INTERPRETED, device, ready
from kernels.triton.rois import UNFUSED, bits, divided, number

DOWN, ACROSS = 64 if INTERPRETED else 16, 128
"""Pixels of a tile. Not tuned: a row of bits fills a line of the cache. When interpreted a program
costs milliseconds, whatever its size."""


def paste_masks(
    masks: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: Sequence[int],
    method: Literal["exact", "grown"],
    threshold: float | None,
) -> Tensor:
    """The reference up to rounding.

    Raises ValueError for tensors on the CPU where Triton does not interpret.
    Source: He et al. 2017, sec. 3.1, "Inference".
    """
    ready(masks)
    n, m, (height, width) = len(masks), masks.shape[1], size
    kept = masks.dtype if threshold is None else torch.bool
    pasted = masks.new_empty((n, height, width), dtype=kept)
    wide = torch.promote_types(torch.promote_types(masks.dtype, boxes.dtype), torch.float32)
    if n:
        _paste[(n, triton.cdiv(height, DOWN), triton.cdiv(width, ACROSS))](
            masks.contiguous(),
            boxes.to(wide).contiguous(),
            pasted if threshold is None else pasted.view(torch.uint8),
            *(height, width, m, None if threshold is None else bits(threshold)),
            *(method == "grown", DOWN, ACROSS),
            **UNFUSED,
        )
    return pasted


@triton.jit(do_not_specialize=["height", "width", "m"])
@no_type_check
def _paste(
    masks,
    boxes,
    pasted,
    height,
    width,
    m,
    threshold,
    grown: tl.constexpr,
    tile_height: tl.constexpr,
    tile_width: tl.constexpr,
):
    """A tile of pasted (n, height, width).

    masks       (n, m, m) of any float
    boxes       (n, 4) x1, y1, x2, y2 of the dtype that is computed in
    threshold   a number in bits, or None
    """
    n = tl.program_id(0).to(tl.int64)
    y = tl.program_id(1) * tile_height + tl.arange(0, tile_height)
    x = tl.program_id(2) * tile_width + tl.arange(0, tile_width)
    row, down, reads_row = _place(boxes + 4 * n + 1, y, m, grown)
    column, across, reads_column = _place(boxes + 4 * n, x, m, grown)
    value = tl.zeros([tile_height, tile_width], boxes.dtype.element_ty)
    if (tl.max(reads_row.to(tl.int32)) > 0) & (tl.max(reads_column.to(tl.int32)) > 0):
        mask = masks + n * m * m
        reads = reads_row[:, None] & reads_column[None]
        upper = _line(mask, row, column, across, reads, m)
        lower = _line(mask, row + 1, column, across, reads, m)
        value = upper * (1 - down)[:, None] + lower * down[:, None]
    at = (n * height + y[:, None]) * width + x[None]
    inside = (y < height)[:, None] & (x < width)[None]
    if threshold is None:
        tl.store(pasted + at, value.to(pasted.dtype.element_ty), mask=inside)
    else:
        tl.store(pasted + at, value >= number(threshold, value.dtype), mask=inside)


@device
@no_type_check
def _place(low, pixel, m, grown: tl.constexpr):
    """(mask pixel, the rest on the way to the next, whether in reach) of image pixels on an axis.

    low   points to a box's start along the axis, its end is two further
    """
    start, end = tl.load(low), tl.load(low + 2)
    real = start.dtype
    centre = tl.cast(pixel, real)
    if grown:
        growth = divided(tl.cast(m + 2, real), tl.cast(m, real))
        middle, reach = (start + end) * 0.5, (end - start) * 0.5 * growth
        first = _truncated(middle - reach)
        side = tl.maximum(_truncated(middle + reach) - first + 1, 1)
        inside = (centre >= first) & (centre - first < side)
        place = (centre - first + 0.5) * divided(tl.cast(m + 2, real), side) - 0.5
        place = tl.minimum(tl.maximum(place, 0), tl.cast(m + 1, real)) - 1  # of the border: -1
    else:
        side = end - start + tl.zeros_like(centre)  # spread: the interpreter spreads no bool right
        place = divided(centre + 0.5 - start, tl.where(side > 0, side, 1))
        place = tl.minimum(tl.maximum(place, -1), 2) * tl.cast(m, real) - 0.5
        inside = (place > -1) & (place < tl.cast(m, real)) & (side > 0)
    below = tl.floor(place)
    return below.to(tl.int32), place - below, inside


@device
@no_type_check
def _truncated(x):
    return tl.where(x < 0, tl.ceil(x), tl.floor(x))


@device
@no_type_check
def _line(mask, row, column, across, reads, m):
    """Rows of a mask (m, m), read between the columns: (rows, columns), zeros outside it."""
    line = mask + row.to(tl.int64)[:, None] * m + column[None]
    reads = reads & ((row >= 0) & (row < m))[:, None]
    left = tl.load(line, mask=reads & ((column >= 0) & (column < m))[None], other=0)
    right = tl.load(line + 1, mask=reads & ((column + 1 >= 0) & (column + 1 < m))[None], other=0)
    return left.to(across.dtype) * (1 - across)[None] + right.to(across.dtype) * across[None]
