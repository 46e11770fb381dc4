"""Non-maximum suppression within each label, all labels in one call of the kernel of `nms`."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.box_iou.numba import columns
from kernels.nms.numba import survivors


def batched_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    iou_threshold: float,
) -> Int[Tensor, " k"]:
    """The reference's list exactly. O(n) memory however many labels there are, CPU only.

    Raises nothing: arguments were checked by the operator.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    order = np.argsort(-scores.detach().numpy(), kind="stable")
    of_place = labels.numpy()[order]
    by_label = np.argsort(of_place, kind="stable")
    grouped, of_place = order[by_label], of_place[by_label]
    starts = np.flatnonzero(np.diff(of_place)) + 1
    groups = np.concatenate([[0], starts, [len(order)]])
    alive = np.zeros(len(order), np.bool_)
    alive[by_label] = survivors(columns(boxes), grouped, groups, iou_threshold)
    return torch.from_numpy(order[alive])
