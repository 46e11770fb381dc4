"""Non-maximum suppression within each label, written to be read."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.nms.reference import nms


def batched_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    iou_threshold: float,
) -> Int[Tensor, " k"]:
    """The definition: NMS of each label by itself, then the survivors of all, best first.

    Raises nothing: arguments were checked by the operator.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    alive = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for label in labels.unique():
        here = (labels == label).nonzero()[:, 0]
        alive[here[nms(boxes[here], scores[here], iou_threshold)]] = True
    order = scores.argsort(descending=True, stable=True)
    return order[alive[order]]
