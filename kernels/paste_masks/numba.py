"""Mask pasting inside the boxes only: each mask is widened once, then blended row by row.

Rows of the mask, resized to the width of its box, are a small table; a row of the image is a blend
of two of them, which is contiguous arithmetic. The rest of the image is memory that the operating
system hands over zeroed and that nobody touches. On one thread: getting memory takes far longer.
"""

import math
import mmap
from collections.abc import Sequence
from typing import Literal, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

LARGE = 2**20
"""Bytes from which a result is worth memory of its own from the operating system."""


def paste_masks(
    masks: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: Sequence[int],
    method: Literal["exact", "grown"],
    threshold: float | None,
) -> Tensor:
    """The reference up to rounding. CPU only.

    Raises nothing: arguments were checked by the operator.
    Source: He et al. 2017, sec. 3.1, "Inference".
    """
    dtype = torch.promote_types(masks.dtype, boxes.dtype)
    small = masks.detach().to(dtype).contiguous().numpy()
    corners = boxes.detach().to(dtype).contiguous().numpy()
    kept = small.dtype if threshold is None else np.dtype(np.bool_)
    pasted = _zeros((len(small), *size), kept)
    if threshold is not None and threshold <= 0:
        pasted[:] = True
    if pasted.size and small.size:
        least = None if threshold is None else small.dtype.type(threshold)
        _fill(small, corners, method == "grown", least, pasted)
    return torch.from_numpy(pasted)


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros in small pages of memory, of which only those that are written cost anything.

    NumPy and PyTorch would take huge pages or write the zeros: four times the bytes and more.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(shape, dtype)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype).reshape(shape)


@njit(cache=True, error_model="numpy")
@no_type_check
def _fill(
    masks: np.ndarray,
    boxes: np.ndarray,
    grown: bool,
    threshold: float | None,
    pasted: np.ndarray,
) -> None:
    for n in range(len(masks)):
        _place(masks[n], boxes[n], grown, threshold, pasted[n])


@njit(cache=True, error_model="numpy")
@no_type_check
def _place(
    mask: np.ndarray, box: np.ndarray, grown: bool, threshold: float | None, image: np.ndarray
) -> None:
    """Write the pixels of one mask; compiled once for a threshold and once for None."""
    one, m = mask.dtype.type(1), len(mask)
    top, row, down = _places(box, 1, image.shape[0], m, grown)
    left, column, across = _places(box, 0, image.shape[1], m, grown)
    wide = _widened(mask, column, across)
    for y in range(len(row)):
        upper, lower, share = wide[row[y]], wide[row[y] + 1], down[y]
        line = image[top + y, left : left + len(column)]
        if threshold is None:
            for x in range(len(line)):
                line[x] = upper[x] * (one - share) + lower[x] * share
        else:
            for x in range(len(line)):
                line[x] = upper[x] * (one - share) + lower[x] * share >= threshold


@njit(cache=True, error_model="numpy")
@no_type_check
def _widened(mask: np.ndarray, column: np.ndarray, across: np.ndarray) -> np.ndarray:
    """The rows of a mask, a row of zeros above and two below, read at these places."""
    one, m = mask.dtype.type(1), len(mask)
    wide = np.zeros((m + 3, len(column)), mask.dtype)
    line = np.zeros(m + 3, mask.dtype)
    for r in range(m):
        for x in range(m):
            line[x + 1] = mask[r, x]
        out = wide[r + 1]
        for x in range(len(column)):
            left, right = line[column[x]], line[column[x] + np.uint32(1)]
            out[x] = left * (one - across[x]) + right * across[x]
    return wide


@njit(cache=True, error_model="numpy")
@no_type_check
def _places(
    box: np.ndarray, axis: int, length: int, m: int, grown: bool
) -> tuple[int, np.ndarray, np.ndarray]:
    """How the pixels of an image read a mask of m, along axis 0 (x) or 1 (y).

    Returns the first pixel that meets the box, and for each from there on its place among zero,
    the mask's pixels and zero - a whole number, and the rest that is on the way to the next.
    """
    number = box.dtype.type
    half, one, zero = number(0.5), number(1), number(0)
    start, end = box[axis], box[axis + 2]
    if grown:
        reach = (end - start) * half * number((m + 2) / m)
        low = np.trunc((start + end) * half - reach)
        side = max(np.trunc((start + end) * half + reach) - low + one, one)
        scale = one / side * number(m + 2)
        first, last = low, low + side
    else:
        low, side, scale = start, end - start, number(m)
        margin = side / number(2 * m) + one  # a pixel too many reads zeros
        first, last = np.floor(start - margin), np.ceil(end + margin)
    begin = int(min(max(first, zero), number(length)))
    count = max(int(min(max(last, zero), number(length))) - begin, 0) if side > zero else 0
    whole, rest = np.empty(count, np.uint32), np.empty(count, box.dtype)
    for i in range(count):
        if grown:
            place = (number(begin + i) - low + half) * scale - half
            place = min(max(place, zero), number(m + 1))
            whole[i], rest[i] = int(place), place - np.floor(place)
        else:
            place = (number(begin + i) + half - low) / side
            place = min(max(place, -one), number(2)) * scale - half
            below = np.floor(place)
            inside = place > -one and place < scale
            whole[i] = int(below + one) if inside else 0
            rest[i] = place - below if inside else zero
    return begin, whole, rest
