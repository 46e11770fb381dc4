"""Mask pasting that is wrong on purpose. Each docstring is the fault."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.conformance.zoo import Broken
from kernels.conformance.zoo.boxes import broken
from kernels.paste_masks.reference import paste_masks as right

Size = Sequence[int]


def _soft(masks: Tensor, boxes: Tensor, size: Size, method: str) -> Tensor:
    """What a right kernel has before the threshold."""
    chosen = "grown" if method == "grown" else "exact"
    soft = right(masks.to(boxes), boxes, size=size, method=chosen, threshold=None)  # type: ignore[arg-type]
    return soft.to(masks.dtype)


def _cut(soft: Tensor, threshold: float | None) -> Tensor:
    return soft if threshold is None else soft >= threshold


def paste_zeros(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """nothing is set"""
    return _cut(masks.new_zeros(len(masks), *size), None if threshold is None else 1.0)


def half_pixel(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """half a pixel off"""
    return _cut(_soft(masks, boxes + 0.5, size, method), threshold)


def whole_pixels(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """boxes rounded to whole pixels"""
    return _cut(_soft(masks, boxes.round(), size, method), threshold)


def one_column_more(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """boxes one column wider"""
    return _cut(_soft(masks, boxes + boxes.new_tensor([0, 0, 1, 0]), size, method), threshold)


def swapped(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """x and y of boxes swapped"""
    return _cut(_soft(masks, boxes[:, [1, 0, 3, 2]], size, method), threshold)


def transposed(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """rows of a mask taken for columns"""
    return _cut(_soft(masks.mT, boxes, size, method), threshold)


def above_threshold(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """a pixel is set above the threshold, not at it"""
    soft = _soft(masks, boxes, size, method)
    return soft if threshold is None else soft > threshold


def below_threshold(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """a pixel is set below the threshold"""
    soft = _soft(masks, boxes, size, method)
    return soft if threshold is None else soft <= threshold


def fixed_half(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """the threshold is 0.5 whatever is asked"""
    return _cut(_soft(masks, boxes, size, method), None if threshold is None else 0.5)


def wrapped(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """what lies left of the image comes back at its right"""
    back = boxes + boxes.new_tensor([size[1], 0, size[1], 0])
    return _cut(_soft(masks, boxes, size, method) + _soft(masks, back, size, method), threshold)


def clipped(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """boxes cut to the image before the mask is spread over them"""
    ends = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    return _cut(_soft(masks, boxes.clamp(min=0).minimum(ends), size, method), threshold)


def edges_repeated(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """the border pixel repeated inside the box, not faded to the zeros around it"""
    if method == "grown":
        return _cut(_soft(masks, boxes, size, method), threshold)
    return _cut(_sampled(masks, boxes, size, "border"), threshold)


def corners_aligned(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """the outermost mask pixels on the edges of the box"""
    if method == "grown":
        return _cut(_soft(masks, boxes + 0.75, size, method), threshold)
    return _cut(_sampled(masks, boxes, size, "zeros", corners=True), threshold)


def nearest(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """the nearest mask pixel, nothing between"""
    return _cut(_sampled(masks, boxes, size, "zeros", mode="nearest"), threshold)


def _sampled(
    masks: Tensor,
    boxes: Tensor,
    size: Size,
    padding: str,
    *,
    corners: bool = False,
    mode: str = "bilinear",
) -> Tensor:
    """By grid_sample, nothing outside the boxes."""
    places = []
    for axis, length in ((0, size[1]), (1, size[0])):
        centres = torch.arange(length).to(boxes) + 0.5
        first, last = boxes[:, axis, None], boxes[:, axis + 2, None]
        places.append((centres - first) / (last - first).clamp(min=1e-6) * 2 - 1)
    x, y = places
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), 3)
    soft = F.grid_sample(
        masks[:, None].to(boxes), grid, mode=mode, padding_mode=padding, align_corners=corners
    )
    if padding == "zeros":
        return soft[:, 0].to(masks.dtype)
    return (soft[:, 0] * (grid.abs() <= 1).all(3)).to(masks.dtype)


def half_coordinates(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """boxes in bfloat16"""
    return _cut(_soft(masks, boxes.bfloat16().to(boxes), size, method), threshold)


def first_for_all(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """the first mask in every box"""
    return _cut(_soft(masks[:1].expand_as(masks), boxes, size, method), threshold)


def other_method(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """one method for the other"""
    other = "exact" if method == "grown" else "grown"
    return _cut(_soft(masks, boxes, size, other), threshold)


def divides_by_zero(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """a box of no size shows its mask, for its side counts as a pixel"""
    far = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return _cut(_soft(masks, torch.cat([boxes[:, :2], far], 1), size, method), threshold)


def in_tiles(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """boxes taken modulo 8"""
    start = boxes[:, :2] - boxes[:, :2] % 8
    return _cut(_soft(masks, boxes - torch.cat([start, start], 1), size, method), threshold)


def not_for_none(
    masks: Tensor, boxes: Tensor, size: Size, method: str, threshold: float | None
) -> Tensor:
    """an error where there are no masks"""
    return _cut(_soft(masks, boxes + 0 * boxes.max(), size, method), threshold)


def _all(*pairs: tuple[Callable[..., Tensor], str]) -> tuple[Broken, ...]:
    return tuple(broken("paste_masks", function, killer) for function, killer in pairs)


BROKEN: tuple[Broken, ...] = _all(
    (paste_zeros, "values"),
    (half_pixel, "values"),
    (whole_pixels, "values"),
    (one_column_more, "whole box"),
    (swapped, "whole box"),
    (transposed, "values"),
    (above_threshold, "whole box"),
    (below_threshold, "monotone threshold"),
    (fixed_half, "values"),
    (wrapped, "outside"),
    (clipped, "outside"),
    (edges_repeated, "values"),
    (corners_aligned, "values"),
    (nearest, "values"),
    (half_coordinates, "values"),
    (first_for_all, "values"),
    (other_method, "values"),
    (divides_by_zero, "degenerate"),
    (in_tiles, "translation"),
    (not_for_none, "empty"),
)
