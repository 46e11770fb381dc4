"""Greedy non-maximum suppression, written to be read."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.box_iou.reference import box_iou


def nms(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou_threshold: float
) -> Int[Tensor, " k"]:
    """The definition. O(n^2) memory.

    Raises nothing: arguments were checked by the operator.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    order = scores.argsort(descending=True, stable=True)
    suppresses = box_iou(boxes[order], boxes[order]) > iou_threshold
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~suppresses[i, i + 1 :]
    return order[alive]
