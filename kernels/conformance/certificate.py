"""What a float can say of an overlap, and whether a list of kept boxes is a right one."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.box_iou.reference import box_iou
from kernels.conformance.call import Violation

ROUNDINGS = 10


def iou_error(
    a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"], dtype: torch.dtype
) -> Float[Tensor, "n m"]:
    """How far a right IoU in `dtype` may be from that in float64 on the same boxes.

    Two parts, of eps = the distance of 1 to the next float. First, the arithmetic: a side is one
    subtraction of given numbers (eps / 2 of itself), an area is off by 3 / 2 eps of itself, the
    union a + b - s by 4 / 2 eps of a + b, at most twice the union, and by 4 / 2 eps of s: at most 6
    eps of itself; with the shared area and the division that is 8 eps of the IoU, and we grant 10.
    Second, the coordinates: a kernel may move boxes to another frame, in float32 at least, which
    rounds each by u = eps * |largest coordinate|. Sides are then off by 2 u, an area w h by
    2 u (w + h), and S / U by (dS + IoU dU) / U: ulps of coordinates over an area.
    """
    a, b = a.double(), b.double()
    coarse = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    u = coarse * torch.maximum(a.abs().amax(1)[:, None], b.abs().amax(1))
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0)
    sides_a, sides_b = ((x[:, 2:] - x[:, :2]).clamp(min=0) for x in (a, b))
    union = sides_a.prod(1)[:, None] + sides_b.prod(1) - shared.prod(2)
    d_shared = 2 * u * shared.sum(2)
    d_union = 2 * u * (sides_a.sum(1)[:, None] + sides_b.sum(1)) + d_shared
    iou = box_iou(a, b)
    moved = (d_shared + iou * d_union) / union.clamp(min=torch.finfo(union.dtype).tiny)
    return torch.where(union > 0, ROUNDINGS * eps * iou + moved + tiny, 0.0)


def overlap(
    boxes: Float[Tensor, "n 4"], threshold: float, labels: Int[Tensor, " n"] | None = None
) -> tuple[Tensor, Tensor]:
    """(n, n): how far each IoU is above the threshold, and how far it may be off; float64.

    labels   boxes of different labels are infinitely far below: they never overlap
    """
    eps = torch.finfo(boxes.dtype).eps
    above = box_iou(boxes.double(), boxes.double()) - threshold
    if labels is not None:
        above = above.masked_fill(labels[:, None] != labels, -torch.inf)
    return above, iou_error(boxes, boxes, boxes.dtype) + eps * threshold


def decided(
    boxes: Float[Tensor, "n 4"], threshold: float, labels: Int[Tensor, " n"] | None = None
) -> bool:
    """Whether every right kernel must agree on which pairs overlap: no IoU near the threshold."""
    above, error = overlap(boxes, threshold, labels)
    return bool((above.abs() > error).all())


def certify(
    kept: Tensor,
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    threshold: float,
    labels: Int[Tensor, " n"] | None = None,
) -> None:
    """Raises Violation unless `kept` can be the result of a right NMS in the dtype of the boxes.

    By intervals: no two kept boxes overlap beyond doubt, every dropped box overlaps, or may do so,
    a kept one with a score no lower; and scores do not rise. A list that passes differs from the
    exact one only where an IoU is as near to the threshold as rounding reaches, or scores equal.
    """
    check_indices(kept, len(boxes))
    above, error = overlap(boxes, threshold, labels)
    above.fill_diagonal_(-torch.inf)
    scores = scores.double()
    rises = (scores[kept].diff() > 0).nonzero()
    if len(rises):
        i = int(rises[0])
        found = {"at": (i + 1,), "got": float(scores[kept[i + 1]]), "expected": "no higher score"}
        raise Violation(f"the score rises from place {i} to {i + 1}", found)
    certain = above[kept][:, kept] > error[kept][:, kept]
    if bool(certain.any()):
        i, j = (int(kept[k]) for k in certain.nonzero()[0])
        more = _pair(above, error, threshold, i, j)
        raise Violation(f"kept boxes {i} and {j}, which overlap", more)
    dropped = torch.ones(len(boxes), dtype=torch.bool)
    dropped[kept] = False
    cause = (above > -error) & (scores >= scores[:, None])
    lost = dropped & ~cause[:, kept].any(1)
    if bool(lost.any()):
        i = int(lost.nonzero()[0])
        if not len(kept):
            raise Violation(f"dropped box {i} and kept none at all", {"at": (i,)})
        rated = above[i, kept].masked_fill(scores[kept] < scores[i], -torch.inf)
        j = int(kept[rated.argmax()])
        more = _pair(above, error, threshold, i, j)
        raise Violation(f"dropped box {i}, which overlaps no better box that is kept", more)


def _pair(above: Tensor, error: Tensor, threshold: float, i: int, j: int) -> dict[str, object]:
    """What is known of two boxes, as a Violation tells it."""
    iou = float(above[i, j]) + threshold
    return {"at": (i, j), "got": iou, "expected": threshold, "bound": float(error[i, j])}


def check_indices(kept: Tensor, n: int) -> None:
    """Raises Violation unless `kept` is a list of whole numbers in 0 .. n - 1, each once."""
    if kept.dim() != 1 or kept.is_floating_point() or kept.dtype == torch.bool:
        raise Violation(f"returned {kept.dtype} {tuple(kept.shape)}, not a list of indices")
    listed = kept.tolist()
    for place, i in enumerate(listed):
        if not 0 <= i < n:
            raise Violation(
                f"index {i} of {n} boxes", {"at": (place,), "got": i, "expected": f"0 .. {n - 1}"}
            )
    if len(set(listed)) < len(listed):
        twice = next(i for i in listed if listed.count(i) > 1)
        raise Violation(f"box {twice} is kept twice", {"at": (listed.index(twice),), "got": twice})
