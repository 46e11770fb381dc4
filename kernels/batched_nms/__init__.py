"""Non-maximum suppression within each label: boxes of different labels never compete.

Specification
  kept        what `nms` keeps of the boxes of each label, by its rules: a box is dropped where its
              IoU with a better kept box of the same label is greater than the threshold
  order       best first over all labels: falling score, equal scores by rising index
  labels      any int64, negative ones and gaps included; they only tell boxes apart
  empty       no boxes give an empty result
  not finite  as in `nms`: NaN scores are refused on the CPU, undefined elsewhere; a box with a
              coordinate that is not finite neither drops another nor is dropped
  dtypes      float boxes and scores, half precision compared in float32; indices are int64
  gradient    none
"""

from jaxtyping import Float, Int
from torch import Tensor

from kernels.batched_nms import reference
from kernels.nms import check_scores, some_of
from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu

BATCHED_NMS = Op(
    name="batched_nms",
    schema="Tensor boxes, Tensor scores, Tensor labels, float iou_threshold",
    shape=some_of,
    check=check_scores,
    reference=reference.batched_nms,
    backends={
        "reference": Backend(forward=reference.batched_nms),
        "torchvision": Backend(forward=lazily("kernels.batched_nms.torchvision", "batched_nms")),
        "numba": Backend(
            forward=lazily("kernels.batched_nms.numba", "batched_nms"), devices=("cpu",)
        ),
        **on_gpu("batched_nms"),
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("torchvision")},
    shaped=False,
    source='Girshick et al. 2014, "R-CNN", sec. 2.2',
)


def batched_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    *,
    iou_threshold: float,
    backend: str | None = None,
) -> Int[Tensor, " k"]:
    """Indices of the boxes that are kept, best first over all labels.

    Raises ValueError for shapes that do not fit, a threshold outside 0 to 1, or a NaN score.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise ValueError(f"batched_nms: boxes must be floating (n, 4), got {tuple(boxes.shape)}")
    if not scores.shape == labels.shape == boxes.shape[:1]:
        shapes = f"{tuple(scores.shape)} and {tuple(labels.shape)} for {len(boxes)} boxes"
        raise ValueError(f"batched_nms: scores and labels must be (n,), got {shapes}")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"batched_nms: iou_threshold must be 0 to 1, got {iou_threshold}")
    return BATCHED_NMS(
        boxes=boxes,
        scores=scores,
        labels=labels.long(),
        iou_threshold=iou_threshold,
        backend=backend,
    )
