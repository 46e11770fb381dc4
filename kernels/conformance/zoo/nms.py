"""NMS that is wrong on purpose. Each docstring is the fault.

Most take labels too, so that they serve batched_nms as well.
"""

import os
import signal
from collections.abc import Callable

import torch
from torch import Tensor

import kernels.batched_nms  # noqa: F401  (declares the operator)
from kernels.box_iou.reference import box_iou
from kernels.conformance.zoo import Broken
from kernels.conformance.zoo.boxes import broken, iou_over_least, iou_plus_one, iou_signed_areas


def _greedy(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    labels: Tensor | None,
    iou: Callable[[Tensor, Tensor], Tensor] = box_iou,
) -> Tensor:
    """A right NMS, of an IoU that may be wrong."""
    order = scores.argsort(descending=True, stable=True)
    over = iou(boxes, boxes)[order][:, order] > iou_threshold
    if labels is not None:
        over &= (labels[:, None] == labels)[order][:, order]
    alive = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~over[i, i + 1 :]
    return order[alive]


def threshold_off(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """threshold 0.02 too high"""
    return _greedy(boxes, scores, iou_threshold + 0.02, labels)


def at_least(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """a box goes at IoU >= threshold, not >"""
    below = torch.nextafter(torch.tensor(iou_threshold, dtype=boxes.dtype), torch.tensor(-1.0))
    return _greedy(boxes, scores, float(below), labels)


def plus_one(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """sides + 1, as for boxes of whole pixels"""
    return _greedy(boxes, scores, iou_threshold, labels, iou_plus_one)


def over_least(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """the shared area over the smaller one"""
    return _greedy(boxes, scores, iou_threshold, labels, iou_over_least)


def areas_inside_out(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """a box turned inside out counts as the box of its corners"""
    return _greedy(boxes, scores, iou_threshold, labels, iou_signed_areas)


def ties_backwards(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """of equal scores the last box comes first"""
    flipped = None if labels is None else labels.flip(0)
    return len(boxes) - 1 - _greedy(boxes.flip(0), scores.flip(0), iou_threshold, flipped)


def by_index(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """the right boxes, in the order of the input"""
    return _greedy(boxes, scores, iou_threshold, labels).sort().values


def not_sorted(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """takes its input for sorted by score"""
    return _greedy(boxes, -torch.arange(len(boxes)), iou_threshold, labels)


def ascending(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """begins with the lowest score"""
    return _greedy(boxes, -scores, iou_threshold, labels)


def all_kept(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """keeps every box"""
    return scores.argsort(descending=True, stable=True)


def none_kept(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """keeps no box"""
    return torch.empty(0, dtype=torch.long)


def best_kept(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """keeps the best box alone"""
    return _greedy(boxes, scores, iou_threshold, labels)[:1]


def last_kept(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """compares with the last kept box alone"""
    over, order = _overlapping(boxes, scores, iou_threshold, labels)
    kept: list[int] = []
    for i in range(len(order)):
        if not kept or not over[kept[-1], i]:
            kept.append(i)
    return order[torch.tensor(kept, dtype=torch.long)]


def dropped_suppress(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """a dropped box still suppresses others"""
    over, order = _overlapping(boxes, scores, iou_threshold, labels)
    return order[~over.triu(1).any(0)]


def within_tiles(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """compares only the boxes of one tile of 64"""
    tile = scores.argsort(descending=True, stable=True).argsort() // 64
    labels = tile if labels is None else labels * 64 + tile
    return _greedy(boxes, scores, iou_threshold, labels)


def one_word(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """one word of 64 bits says which boxes are gone: box 64 shares the bit of box 0"""
    over, order = _overlapping(boxes, scores, iou_threshold, labels)
    gone, kept = 0, []
    for i in range(len(order)):
        if not gone >> i % 64 & 1:
            kept.append(i)
            for j in (over[i].nonzero()[:, 0]).tolist():
                gone |= (j > i) << j % 64
    return order[torch.tensor(kept, dtype=torch.long)]


def positions(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """gives places in the sorted list, not indices of the input"""
    place = scores.argsort(descending=True, stable=True).argsort()
    return place[_greedy(boxes, scores, iou_threshold, labels)]


def half_scores(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """scores cut to three binary digits before sorting"""
    return _greedy(boxes, (scores * 8).floor(), iou_threshold, labels)


def fixed_threshold(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """the threshold is 0.5 whatever is asked"""
    return _greedy(boxes, scores, 0.5, labels)


def not_for_none(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """an error where there are no boxes"""
    return _greedy(boxes, scores - scores.max(), iou_threshold, labels)


def nan_first(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """takes a score that is NaN for the best, though it says that it refuses it"""
    return _greedy(boxes, scores.nan_to_num(1e9), iou_threshold, labels)


def writes_input(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """marks dropped boxes in the scores that it was given"""
    kept = _greedy(boxes, scores, iou_threshold, labels)
    scores.fill_(-1.0)
    return kept


def crash(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """ends its process"""
    os.kill(os.getpid(), signal.SIGSEGV)
    return none_kept(boxes, scores, iou_threshold)


_last: dict[int, Tensor] = {}


def stale(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None
) -> Tensor:
    """the result of the call before, where that had as many boxes"""
    found = _last.get(len(boxes))
    _last[len(boxes)] = now = _greedy(boxes, scores, iou_threshold, labels)
    return now if found is None else found


def _overlapping(
    boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Which boxes overlap, sorted by score; and the order."""
    order = scores.argsort(descending=True, stable=True)
    over = box_iou(boxes, boxes)[order][:, order] > iou_threshold
    return (over if labels is None else over & (labels[:, None] == labels)[order][:, order]), order


def class_ignored(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """boxes of different labels suppress each other"""
    return _greedy(boxes, scores, iou_threshold, None)


def labels_in_bits(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """labels in 8 bits: 256 is 0"""
    return _greedy(boxes, scores, iou_threshold, labels % 256)


def coordinate_trick(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """labels moved apart by adding to the coordinates, in float32: half a pixel at label 1000"""
    boxes = boxes.float()
    apart = boxes + (labels * (boxes.max() + 1) if len(boxes) else labels)[:, None].to(boxes)
    return _greedy(apart, scores, iou_threshold, None)


def by_label(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """the boxes of one label after those of another, not by score"""
    kept = _greedy(boxes, scores, iou_threshold, labels)
    return kept[labels[kept].argsort(stable=True)]


_NMS: tuple[Broken, ...] = (
    broken("nms", threshold_off, "certificate"),
    broken("nms", at_least, "threshold 0 and 1"),
    broken("nms", plus_one, "exact list"),
    broken("nms", over_least, "certificate"),
    broken("nms", areas_inside_out, "degenerate"),
    broken("nms", ties_backwards, "ties"),
    broken("nms", by_index, "order"),
    broken("nms", not_sorted, "permutation"),
    broken("nms", ascending, "order"),
    broken("nms", all_kept, "duplicates"),
    broken("nms", none_kept, "one box"),
    broken("nms", best_kept, "certificate"),
    broken("nms", last_kept, "exact list"),
    broken("nms", dropped_suppress, "certificate"),
    broken("nms", within_tiles, "exact list"),
    broken("nms", one_word, "exact list"),
    broken("nms", positions, "certificate"),
    broken("nms", half_scores, "exact list"),
    broken("nms", fixed_threshold, "exact list"),
    broken("nms", not_for_none, "empty"),
    broken("nms", nan_first, "nonfinite", nonfinite="raise"),
    broken("nms", stale, "exact list"),
    broken("nms", writes_input, "inputs"),
    broken("nms", crash, "certificate", crashes=True),
)


_BATCHED: tuple[Broken, ...] = (
    broken("batched_nms", class_ignored, "classes"),
    broken("batched_nms", labels_in_bits, "far labels"),
    broken("batched_nms", coordinate_trick, "far labels"),
    broken("batched_nms", by_label, "order"),
    broken("batched_nms", threshold_off, "certificate"),
    broken("batched_nms", ties_backwards, "ties"),
    broken("batched_nms", within_tiles, "exact list"),
    broken("batched_nms", not_for_none, "empty"),
)
BROKEN: tuple[Broken, ...] = (*_NMS, *_BATCHED)
