"""Non-maximum suppression by torchvision's compiled operator."""

from jaxtyping import Float, Int
from torch import Tensor
from torchvision import ops


def nms(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou_threshold: float
) -> Int[Tensor, " k"]:
    """torchvision.ops.nms, which takes scores in the boxes' dtype only.

    Raises nothing: arguments were checked by the operator.
    Source: torchvision.ops.nms.
    """
    return ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)
