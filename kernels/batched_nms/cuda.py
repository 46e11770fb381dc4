"""Non-maximum suppression within each label: the kernels of `nms`, which compare labels."""

from jaxtyping import Float, Int
from torch import Tensor

from kernels.nms.cuda import padded
from kernels.nms.tiles import kept


def batched_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    iou_threshold: float,
) -> Int[Tensor, " k"]:
    """The reference's list exactly: no coordinate is moved to keep labels apart.

    Waits for the device once, for the length of the list.
    Raises ValueError for more boxes than `kernels.nms.cuda.MOST`.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    return kept(*padded(boxes, scores, iou_threshold, labels))
