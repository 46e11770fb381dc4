"""Mask crops that are wrong on purpose. Each docstring is the fault."""

from typing import Any

import torch
from torch import Tensor

from kernels.conformance.zoo import Broken
from kernels.conformance.zoo.boxes import broken
from kernels.crop_masks.reference import crop_masks as right


def crop_zeros(masks: Tensor, index: Tensor, boxes: Tensor, size: int, **_: Any) -> Tensor:
    """no object anywhere"""
    return boxes.new_zeros(len(boxes), size, size)


def crop_ones(masks: Tensor, index: Tensor, boxes: Tensor, size: int, **_: Any) -> Tensor:
    """object everywhere"""
    return boxes.new_ones(len(boxes), size, size)


def wrong_object(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """box i sees object i, whatever the index"""
    return right(masks, torch.arange(len(boxes)) % max(len(masks), 1), boxes, **k)


def first_object(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """every box sees the first object"""
    return right(masks, index * 0, boxes, **k)


def far_side_more(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """boxes one pixel larger"""
    return right(masks, index, boxes + boxes.new_tensor([0, 0, 1, 1]), **k)


def half_a_pixel(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """half a pixel off"""
    return right(masks, index, boxes + 0.5, **k)


def never_aligned(masks: Tensor, index: Tensor, boxes: Tensor, aligned: bool, **k: Any) -> Tensor:
    """aligned is taken for not aligned, and the other way round"""
    return right(masks, index, boxes, aligned=not aligned, **k)


def whole_boxes(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """boxes rounded to whole pixels"""
    return right(masks, index, boxes.round(), **k)


def ratio_ignored(
    masks: Tensor, index: Tensor, boxes: Tensor, sampling_ratio: int, **k: Any
) -> Tensor:
    """one sample to a bin"""
    return right(masks, index, boxes, sampling_ratio=1, **k)


def crop_above(
    masks: Tensor, index: Tensor, boxes: Tensor, threshold: float | None, **k: Any
) -> Tensor:
    """a bin is object above the threshold, not at it"""
    share = right(masks, index, boxes, threshold=None, **k)
    return share if threshold is None else (share > threshold).to(share)


def crop_half(
    masks: Tensor, index: Tensor, boxes: Tensor, threshold: float | None, **k: Any
) -> Tensor:
    """the threshold is 0.5 whatever is asked"""
    return right(masks, index, boxes, threshold=None if threshold is None else 0.5, **k)


def nearest_pixel(
    masks: Tensor,
    index: Tensor,
    boxes: Tensor,
    size: int,
    threshold: float | None,
    **_: Any,
) -> Tensor:
    """the pixel under the middle of a bin, nothing averaged"""
    out = boxes.new_zeros(len(boxes), size, size)
    for k, (object_, box) in enumerate(zip(index.tolist(), boxes.tolist(), strict=True)):
        steps = (torch.arange(size) + 0.5) / size
        x = (box[0] + steps * (box[2] - box[0])).floor().long()
        y = (box[1] + steps * (box[3] - box[1])).floor().long()
        inside = ((y >= 0) & (y < masks.shape[1]))[:, None] & ((x >= 0) & (x < masks.shape[2]))
        rows, columns = y.clamp(0, masks.shape[1] - 1), x.clamp(0, masks.shape[2] - 1)
        out[k] = (masks[object_][rows][:, columns] & inside).to(out)
    return out


def turned(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """rows of a crop taken for columns"""
    return right(masks, index, boxes, **k).mT.contiguous()


def cut_to_bitmap(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """boxes cut to the bitmap first, so that what is inside fills the crop"""
    h, w = masks.shape[1:]
    return right(masks, index, boxes.clamp(min=0).minimum(boxes.new_tensor([w, h, w, h])), **k)


def no_boxes_fail(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """an error where there are no boxes"""
    return right(masks, index, boxes + 0 * boxes.max(), **k)


def mirrored(masks: Tensor, index: Tensor, boxes: Tensor, **k: Any) -> Tensor:
    """a box turned inside out is the box of its corners, a point one pixel"""
    low = torch.minimum(boxes[:, :2], boxes[:, 2:])
    high = torch.maximum(torch.maximum(boxes[:, :2], boxes[:, 2:]), low + 1)
    return right(masks, index, torch.cat([low, high], 1), **k)


BROKEN: tuple[Broken, ...] = tuple(
    broken("crop_masks", function, killer)
    for function, killer in (
        (crop_zeros, "full mask"),
        (crop_ones, "empty mask"),
        (wrong_object, "index"),
        (first_object, "index"),
        (far_side_more, "whole pixels"),
        (half_a_pixel, "whole pixels"),
        (never_aligned, "values"),
        (whole_boxes, "values"),
        (ratio_ignored, "values"),
        (crop_above, "half covered"),
        (crop_half, "values"),
        (nearest_pixel, "values"),
        (turned, "whole pixels"),
        (cut_to_bitmap, "outside"),
        (no_boxes_fail, "empty"),
        (mirrored, "degenerate"),
    )
)
