"""Intersection over union of boxes.

Specification
  boxes       x1, y1, x2, y2, continuous: width = x2 - x1, no + 1. A side with x2 < x1 has length 0,
              and so has what such a box shares with another
  union       the sum of both areas less the shared one; IoU is 0 where the union is not positive,
              so for two boxes without area, even the same one
  not finite  a box with a coordinate that is not finite has IoU 0 with every box; gradients that
              reach it are undefined
  empty       no boxes on either side give an empty result
  layout      any strides; the result is contiguous
  dtypes      float; half precision is computed in float32 and rounded at the end
  gradient    with respect to both. At kinks - sides that coincide or only touch - it is one of
              those on either side or between; 0 where boxes share nothing

The backend "torchvision" differs where boxes are degenerate or not finite: NaN for two boxes
without area, and a box with one side negative has a negative area.
"""

from jaxtyping import Float
from torch import Tensor

from kernels.box_iou import reference
from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu

BOX_IOU = Op(
    name="box_iou",
    schema="Tensor a, Tensor b",
    differentiable=("a", "b"),
    shape=lambda a, b: a.new_empty((a.shape[0], b.shape[0])),
    reference=reference.box_iou,
    backends={
        "reference": Backend(forward=reference.box_iou),
        "torchvision": Backend(forward=lazily("kernels.box_iou.torchvision", "box_iou")),
        "numba": Backend(
            forward=lazily("kernels.box_iou.numba", "box_iou"),
            backward=lazily("kernels.box_iou.numba", "backward"),
            devices=("cpu",),
        ),
        **on_gpu("box_iou", backward=True),
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("reference")},
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
