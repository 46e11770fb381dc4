"""IoU that is wrong on purpose. Each docstring is the fault."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels.box_iou.reference import box_iou
from kernels.conformance.declaration import Kernel
from kernels.conformance.zoo import Broken


def _parts(a: Tensor, b: Tensor, more: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Shared area, and both areas, of which the first can be broadcast over the second."""
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    area_a, area_b = ((x[:, 2:] - x[:, :2] + more).clamp(min=0).prod(1) for x in (a, b))
    return (high - low + more).clamp(min=0).prod(2), area_a[:, None], area_b


def iou_zeros(a: Tensor, b: Tensor) -> Tensor:
    """zeros"""
    return a.new_zeros(len(a), len(b)) + 0 * (a.sum() + b.sum())


def iou_plus_one(a: Tensor, b: Tensor) -> Tensor:
    """sides + 1, as for boxes of whole pixels"""
    shared, area_a, area_b = _parts(a, b, 1.0)
    return shared / (area_a + area_b - shared).clamp(min=1e-6)


def iou_over_first(a: Tensor, b: Tensor) -> Tensor:
    """over the first area alone"""
    shared, area_a, _ = _parts(a, b)
    return torch.where(area_a > 0, shared / area_a.clamp(min=1e-4), 0.0)


def iou_over_least(a: Tensor, b: Tensor) -> Tensor:
    """over the smaller area"""
    shared, area_a, area_b = _parts(a, b)
    least = torch.minimum(area_a, area_b)
    return torch.where(least > 0, shared / least.clamp(min=1e-4), 0.0)


def iou_not_clamped(a: Tensor, b: Tensor) -> Tensor:
    """sides of the overlap not clamped: two negative ones make an area"""
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    _, area_a, area_b = _parts(a, b)
    shared = (high - low).prod(2)
    return shared / (area_a + area_b - shared)


def iou_swapped(a: Tensor, b: Tensor) -> Tensor:
    """arguments swapped, the result in the shape asked for"""
    return box_iou(b, a).reshape(len(a), len(b))


def iou_half_pixel(a: Tensor, b: Tensor) -> Tensor:
    """the second boxes half a pixel off"""
    return box_iou(a, b + 0.5)


def iou_nan(a: Tensor, b: Tensor) -> Tensor:
    """0 / 0 for two boxes without area"""
    shared, area_a, area_b = _parts(a, b)
    return shared / (area_a + area_b - shared)


def iou_signed_areas(a: Tensor, b: Tensor) -> Tensor:
    """|area| of a box turned inside out, whose corners are sorted first"""
    a, b = (
        torch.cat([torch.minimum(x[:, :2], x[:, 2:]), torch.maximum(x[:, :2], x[:, 2:])], 1)
        for x in (a, b)
    )
    return box_iou(a, b)


def iou_half_areas(a: Tensor, b: Tensor) -> Tensor:
    """areas in float16, which ends at 65504: a box of 256 px has none"""
    shared, area_a, area_b = (x.half() for x in _parts(a, b))
    union = area_a + area_b - shared
    return torch.where(union > 0, shared / union, 0.0).nan_to_num(0.0).to(a.dtype)


def iou_normalised(a: Tensor, b: Tensor) -> Tensor:
    """coordinates over 1000, rounded to a whole ten thousandth"""
    return box_iou((a * 10).round() / 10, (b * 10).round() / 10)


def iou_detached(a: Tensor, b: Tensor) -> Tensor:
    """no gradient through the union"""
    shared, area_a, area_b = _parts(a, b)
    union = (area_a + area_b - shared).detach()
    return torch.where(union > 0, shared / union.clamp(min=1e-6), 0.0)


def iou_first_only(a: Tensor, b: Tensor) -> Tensor:
    """the gradient of the second boxes is zero"""
    return box_iou(a, b.detach()) + 0 * b.sum()


def iou_not_for_none(a: Tensor, b: Tensor) -> Tensor:
    """an error where there are no boxes"""
    return box_iou(a, b) + 0 * (a.max() + b.max())


def iou_shared_frame(a: Tensor, b: Tensor) -> Tensor:
    """coordinates taken modulo 64, as in a tile"""
    return box_iou(a % 64, b % 64)


def broken(
    operator: str, function: Callable[..., Any], killed_by: str, crashes: bool = False, **about: Any
) -> Broken:
    """A function as a broken kernel: named after itself, its docstring the fault."""
    name = function.__name__.replace("_", " ")
    declared = Kernel(operator=operator, name=name, function=function, **about)
    return Broken(
        kernel=declared, fault=function.__doc__ or name, killed_by=killed_by, crashes=crashes
    )


BOTH = ("a", "b")
BROKEN: tuple[Broken, ...] = (
    broken("box_iou", iou_zeros, "values"),
    broken("box_iou", iou_plus_one, "containment"),
    broken("box_iou", iou_over_first, "symmetry"),
    broken("box_iou", iou_over_least, "containment"),
    broken("box_iou", iou_not_clamped, "values"),
    broken("box_iou", iou_swapped, "values"),
    broken("box_iou", iou_half_pixel, "self"),
    broken("box_iou", iou_nan, "degenerate"),
    broken("box_iou", iou_signed_areas, "degenerate"),
    broken("box_iou", iou_half_areas, "values"),
    broken("box_iou", iou_normalised, "values"),
    broken("box_iou", iou_shared_frame, "shift"),
    broken("box_iou", iou_detached, "gradient", grads=BOTH),
    broken("box_iou", iou_first_only, "gradient", grads=BOTH),
    broken("box_iou", iou_not_for_none, "empty"),
)
