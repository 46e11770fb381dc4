"""Intersection over union of boxes.

Specification: boxes are x1, y1, x2, y2, continuous; width = x2 - x1, no + 1. Two boxes without
area have IoU 0. Differentiable in both arguments.
"""

from jaxtyping import Float
from torch import Tensor
from torchvision import ops

from kernels.box_iou import reference
from kernels.op import Backend, Op

BOX_IOU = Op(
    name="box_iou",
    schema="Tensor a, Tensor b",
    differentiable=("a", "b"),
    shape=lambda a, b: a.new_empty((a.shape[0], b.shape[0])),
    reference=reference.box_iou,
    backends={
        "reference": Backend(forward=reference.box_iou),
        "torchvision": Backend(forward=lambda a, b: ops.box_iou(a, b)),
    },
    default={"cpu": "reference"},
    ulps=8.0,
    source='Everingham et al. 2010, "The PASCAL VOC Challenge", sec. 4.2',
)


def box_iou(
    a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"], *, backend: str | None = None
) -> Float[Tensor, "n m"]:
    """IoU of every box of `a` with every box of `b`; both in the same frame.

    Raises ValueError unless both are (n, 4).
    Source: Everingham et al. 2010, sec. 4.2.
    """
    for boxes in (a, b):
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise ValueError(f"box_iou: boxes must be (n, 4), got {tuple(boxes.shape)}")
    return BOX_IOU(a=a, b=b, backend=backend)
