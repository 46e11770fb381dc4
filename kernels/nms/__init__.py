"""Non-maximum suppression: of boxes that overlap, the best stays.

Specification
  kept        boxes are visited by falling score; a box is kept unless its IoU, by the rules of
              `box_iou`, with one already kept is greater than the threshold. An IoU equal to the
              threshold keeps; one that equals it but for rounding may fall either way
  order       indices come best first; equal scores, 0 and -0 among them, by rising index
  not finite  NaN scores are refused on the CPU, undefined elsewhere; infinite ones are scores like
              others. A box with a coordinate that is not finite neither drops another nor is
              dropped
  empty       no boxes give an empty result; a box without area is kept
  layout      any strides; the result is contiguous
  dtypes      float boxes and scores, half precision compared in float32; indices are int64
  gradient    none
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.nms import reference
from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu


def some_of(boxes: Tensor, **_: Any) -> Tensor:
    """An empty result: as many indices as the values will say, at most one per box."""
    count = torch.library.get_ctx().new_dynamic_size()
    return torch.empty(count, dtype=torch.long, device=boxes.device)


def check_scores(scores: Tensor, **_: Any) -> None:
    """Raises ValueError for a score that is NaN; looked at on the CPU only."""
    if scores.device.type == "cpu" and bool(scores.isnan().any()):
        raise ValueError(f"nms: the score of box {int(scores.isnan().nonzero()[0])} is NaN")


NMS = Op(
    name="nms",
    schema="Tensor boxes, Tensor scores, float iou_threshold",
    shape=some_of,
    check=check_scores,
    reference=reference.nms,
    backends={
        "reference": Backend(forward=reference.nms),
        "torchvision": Backend(forward=lazily("kernels.nms.torchvision", "nms")),
        "numba": Backend(forward=lazily("kernels.nms.numba", "nms"), devices=("cpu",)),
        **on_gpu("nms"),
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("torchvision")},
    shaped=False,
    source='Girshick et al. 2014, "R-CNN", sec. 2.2',
)


def nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    *,
    iou_threshold: float,
    backend: str | None = None,
) -> Int[Tensor, " k"]:
    """Indices of the boxes that are kept, best first.

    Raises ValueError for shapes that do not fit, a threshold outside 0 to 1, or a NaN score.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        shapes = f"{tuple(boxes.shape)} and {tuple(scores.shape)}"
        raise ValueError(f"nms: boxes must be (n, 4) and scores (n,), got {shapes}")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"nms: iou_threshold must be 0 to 1, got {iou_threshold}")
    return NMS(boxes=boxes, scores=scores, iou_threshold=iou_threshold, backend=backend)
