"""Box and mask kernels that are right in another way: what the checks must not accuse."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops
from torchvision.models.detection.roi_heads import (
    expand_boxes,
    expand_masks,
    paste_mask_in_image,
)

import kernels.batched_nms  # noqa: F401  (declares the operator)
import kernels.crop_masks  # noqa: F401  (declares the operator)
from kernels.conformance.declaration import Kernel

FULL = ("float64", "float32")
ALL = (*FULL, "float16", "bfloat16")


def _wide(*tensors: Tensor) -> list[Tensor]:
    return [t.float() if t.itemsize < 4 else t for t in tensors]


def iou_by_quotients(a: Tensor, b: Tensor) -> Tensor:
    """1 / (A / S + B / S - 1), which is infinite inside where nothing is shared."""
    x, y = _wide(a, b)
    low, high = torch.maximum(x[:, None, :2], y[:, :2]), torch.minimum(x[:, None, 2:], y[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area_x, area_y = ((z[:, 2:] - z[:, :2]).clamp(min=0).prod(1) for z in (x, y))
    safe = shared.clamp(min=torch.finfo(x.dtype).tiny)
    found = 1 / (area_x[:, None] / safe + area_y / safe - 1)
    return torch.where(shared > 0, found, 0.0).to(a.dtype)


def iou_of_centres(a: Tensor, b: Tensor) -> Tensor:
    """Boxes as centres and halves of sides: other roundings of the coordinates."""
    (cx, hx), (cy, hy) = (
        ((z[:, 2:] + z[:, :2]) / 2, (z[:, 2:] - z[:, :2]).clamp(min=0) / 2) for z in _wide(a, b)
    )
    apart = (cx[:, None] - cy).abs()
    least = 2 * torch.minimum(hx[:, None], hy)
    shared = torch.minimum(hx[:, None] + hy - apart, least).clamp(min=0).prod(2)
    union = 4 * hx.prod(1)[:, None] + 4 * hy.prod(1) - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-30), 0.0).to(a.dtype)


def iou_one_by_one(a: Tensor, b: Tensor) -> Tensor:
    """In Python, pair by pair."""
    rows = [[_pair(p, q) for q in b.tolist()] for p in a.tolist()]
    return torch.tensor(rows, dtype=a.dtype).reshape(len(a), len(b))


def _pair(p: list[float], q: list[float]) -> float:
    w, h = min(p[2], q[2]) - max(p[0], q[0]), min(p[3], q[3]) - max(p[1], q[1])
    shared = max(w, 0.0) * max(h, 0.0)
    areas = [max(r[2] - r[0], 0.0) * max(r[3] - r[1], 0.0) for r in (p, q)]
    union = sum(areas) - shared
    return shared / union if union > 0 else 0.0


def nms_of_torchvision(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """torchvision.ops.nms."""
    return ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def nms_of_bits(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """A mask of bits per box, overlaps told without a division."""
    order = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i))
    over = _overlaps(boxes[order], iou_threshold)
    words = [
        sum(1 << j for j, bit in enumerate(row) if bit and j > i) for i, row in enumerate(over)
    ]
    gone, kept = 0, []
    for i, word in enumerate(words):
        if not gone >> i & 1:
            kept.append(order[i])
            gone |= word
    return torch.tensor(kept, dtype=torch.long)


def _overlaps(boxes: Tensor, iou_threshold: float) -> list[list[bool]]:
    low = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    return (shared > iou_threshold * (area[:, None] + area - shared)).tolist()


def nms_of_lexsort(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Sorted by numpy, the rest thrown out box by box."""
    left = list(np.lexsort((np.arange(len(scores)), -scores.double().numpy())))
    kept = []
    while left:
        best, *left = left
        kept.append(int(best))
        ious = iou_of_centres(boxes[best : best + 1], boxes[left])[0].tolist()
        left = [i for i, iou in zip(left, ious, strict=True) if not iou > iou_threshold]
    return torch.tensor(kept, dtype=torch.long)


def nms_in_rounds(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """A box stays unless one that stays suppresses it, in parallel until nothing changes."""
    order = scores.argsort(descending=True, stable=True)
    over = torch.tensor(_overlaps(boxes[order], iou_threshold), dtype=torch.bool)
    over = over.reshape(len(order), len(order)).triu(1)
    stays = torch.ones(len(order), dtype=torch.bool)
    for _ in range(len(order)):
        now = ~(over & stays[:, None]).any(0)
        if torch.equal(now, stays):
            break
        stays = now
    return order[stays]


def batched_by_class(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Label by label, then sorted."""
    kept = [torch.empty(0, dtype=torch.long)]
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept.append(mine[nms_of_torchvision(boxes[mine], scores[mine], iou_threshold)])
    every = torch.cat(kept).sort().values
    return every[scores[every].argsort(descending=True, stable=True)]


def batched_apart(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """The coordinate trick where it is sound: float64, from the origin, labels numbered anew."""
    if not len(boxes):
        return torch.empty(0, dtype=torch.long)
    wide = boxes.double()
    low = wide.min()
    numbers = labels.unique(return_inverse=True)[1]
    shift = numbers * (wide.max() - low + 1)
    return nms_of_torchvision(wide - low + shift[:, None], scores, iou_threshold)


def paste_by_grid_sample(
    masks: Tensor, boxes: Tensor, size: Sequence[int], threshold: float | None
) -> Tensor:
    """grid_sample, zeros around the mask, corners not aligned."""
    places = []
    for axis, length in ((0, size[1]), (1, size[0])):
        first, last = boxes[:, axis, None], boxes[:, axis + 2, None]
        inside = torch.arange(length).to(boxes) + 0.5 - first
        places.append(inside / (last - first) * 2 - 1)
    x, y = places
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), 3)
    empty = (boxes[:, 2:] <= boxes[:, :2]).any(1)
    grid = grid.masked_fill(empty[:, None, None, None], -9.0)
    soft = F.grid_sample(masks[:, None].to(boxes), grid, align_corners=False)[:, 0]
    return soft.to(masks.dtype) if threshold is None else soft >= threshold


def paste_of_torchvision(
    masks: Tensor, boxes: Tensor, size: Sequence[int], threshold: float | None
) -> Tensor:
    """torchvision's function for each box that reaches into the image: it fails for others."""
    grown, scale = expand_masks(masks[:, None].to(boxes), 1)
    soft = boxes.new_zeros(len(masks), *size)
    whole = expand_boxes(boxes, scale).long()
    for k, (x1, y1, x2, y2) in enumerate(whole.tolist()):
        if max(x1, 0) < min(x2 + 1, size[1]) and max(y1, 0) < min(y2 + 1, size[0]):
            soft[k] = paste_mask_in_image(grown[k, 0], whole[k], size[0], size[1])
    return soft.to(masks.dtype) if threshold is None else soft >= threshold


def crop_by_roi_align(
    masks: Tensor,
    index: Tensor,
    boxes: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
    threshold: float | None,
) -> Tensor:
    """torchvision.ops.roi_align, kept from what it fails on: boxes inside out are points here."""
    if not boxes.isfinite().all():
        raise ValueError("a box that is not finite")  # it would end the process
    if aligned and not sampling_ratio:
        boxes = torch.cat([boxes[:, :2], torch.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    rois = torch.cat([index[:, None].to(boxes), boxes], 1)
    ratio = sampling_ratio or -1
    share = ops.roi_align(masks[:, None].to(boxes), rois, size, 1.0, ratio, aligned)[:, 0]
    return share if threshold is None else (share >= threshold).to(share)


def _sound(
    operator: str, function: Callable[..., Any], dtypes: tuple[str, ...] = ALL, **about: Any
) -> Kernel:
    name = function.__name__.replace("_", " ")
    return Kernel(operator=operator, name=name, function=function, dtypes=dtypes, **about)


BOTH = ("a", "b")
SOUND: tuple[Kernel, ...] = (
    _sound("box_iou", iou_by_quotients),
    _sound("box_iou", iou_of_centres, grads=BOTH),
    _sound("box_iou", iou_one_by_one),
    _sound("nms", nms_of_torchvision),
    _sound("nms", nms_of_bits),
    _sound("nms", nms_of_lexsort),
    _sound("nms", nms_in_rounds),
    _sound("batched_nms", batched_by_class),
    _sound("batched_nms", batched_apart),
    _sound("paste_masks", paste_by_grid_sample, domain={"method": ("exact",)}),
    _sound("paste_masks", paste_of_torchvision, domain={"method": ("grown",)}),
    _sound("crop_masks", crop_by_roi_align, nonfinite="raise"),
)
