"""Greedy non-maximum suppression: each box against those kept so far, 32 of them at once.

A box that is dropped costs only the kept boxes up to the first block in which one overlaps it; a
block costs a few vector instructions, because the test for "maybe" needs no division.
"""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from torch import Tensor

from kernels.box_iou.numba import columns

BLOCK = 32
"""Kept boxes that are compared before the first look at the outcome."""
CAUTION = 16
"""By how many epsilons of the dtype the test for "maybe" is more lenient than the exact one."""


def nms(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou_threshold: float
) -> Int[Tensor, " k"]:
    """The reference's list exactly, ties of IoU and threshold among them. O(n) memory, CPU only.

    Raises nothing: arguments were checked by the operator.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    order = np.argsort(-scores.detach().numpy(), kind="stable")
    alive = survivors(columns(boxes), order, np.array([0, len(order)]), iou_threshold)
    return torch.from_numpy(order[alive])


def survivors(
    sides: np.ndarray, order: np.ndarray, groups: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """Which places of `order` are kept.

    sides    (4, n) as `columns` returns them
    order    (n,) indices of boxes, group after group, best first within each
    groups   (g + 1,) where each group starts in `order`, and where the last one ends
    """
    number = sides.dtype.type
    maybe = iou_threshold * (1 - CAUTION * float(np.finfo(number).eps))
    return _survivors(sides, order, groups, number(iou_threshold), number(maybe))


@njit(cache=True, error_model="numpy")
@no_type_check
def _survivors(
    sides: np.ndarray, order: np.ndarray, groups: np.ndarray, threshold: float, maybe: float
) -> np.ndarray:
    zero = sides.dtype.type(0)
    alive = np.zeros(len(order), np.bool_)
    kept = np.zeros((len(order) // BLOCK + 1, 5, BLOCK), sides.dtype)
    for g in range(len(groups) - 1):
        count = 0
        for place in range(groups[g], groups[g + 1]):
            i = order[place]
            x1, y1, x2, y2 = sides[0, i], sides[1, i], sides[2, i], sides[3, i]
            area = max(x2 - x1, zero) * max(y2 - y1, zero)
            if not _dropped(kept, count, x1, y1, x2, y2, area, threshold, maybe):
                block, j = kept[count // BLOCK], count % BLOCK
                block[0, j], block[1, j], block[2, j], block[3, j] = x1, y1, x2, y2
                block[4, j] = area
                alive[place] = True
                count += 1
    return alive


@njit(cache=True, error_model="numpy")
@no_type_check
def _dropped(
    kept: np.ndarray,
    count: int,
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    area: float,
    threshold: float,
    maybe: float,
) -> bool:
    """Whether one of the first `count` boxes of `kept` overlaps this one by more than threshold."""
    zero = kept.dtype.type(0)
    for start in range(0, count, BLOCK):
        block = kept[start // BLOCK]
        near = False
        for j in range(BLOCK):  # no way out inside: one vector of boxes after the other
            width = min(x2, block[2, j]) - max(x1, block[0, j])
            height = min(y2, block[3, j]) - max(y1, block[1, j])
            shared = max(width, zero) * max(height, zero)
            near = near | (shared > maybe * (area + block[4, j] - shared))
        if near:
            for j in range(min(BLOCK, count - start)):
                width = min(x2, block[2, j]) - max(x1, block[0, j])
                height = min(y2, block[3, j]) - max(y1, block[1, j])
                shared = max(width, zero) * max(height, zero)
                union = block[4, j] + area - shared
                if union > zero and shared / union > threshold:
                    return True
    return False
