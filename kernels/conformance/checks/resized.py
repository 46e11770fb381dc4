"""What a right crop_and_resize may give: its answers, and its bounds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.conformance import bounds
from kernels.conformance.admissible import ULPS, Answers, shaken
from kernels.conformance.call import widened
from kernels.crop_and_resize.reference import crop_and_resize, sample_points

NAME = "crop_and_resize"


def to_pixels(rois: Tensor, features: Tensor) -> Tensor:
    """RoIs in shares of a map as RoIs in its pixels, the first one's centre at 0."""
    return torch.cat([rois[:, :1], rois[:, 1:] * _lengths(features)], 1)


def to_shares(rois: Tensor, features: Tensor) -> Tensor:
    """The inverse of `to_pixels`; a map of one pixel to a side has no inverse."""
    return torch.cat([rois[:, :1], rois[:, 1:] / _lengths(features).clamp(min=1)], 1)


def _lengths(features: Tensor) -> Tensor:
    """From the first centre to the last, as (x, y, x, y)."""
    height, width = features.shape[2:]
    return torch.tensor([width, height, width, height], dtype=torch.float64) - 1


def answers(arguments: Mapping[str, Any], dtype: str, *, exact: bool) -> Answers:
    """The right answers; two sides of the border where a sample is within a few ulps of it."""
    wide = widened(arguments)
    rois, owner = wide["rois"], torch.arange(len(wide["rois"]))
    if not exact and len(rois):
        step = 2 * ULPS * bounds.epsilons(dtype)[0] * (_reach(wide)[:, None] + 1).expand(-1, 2)
        lengths = torch.tensor(list(wide["features"].shape[2:])[::-1]) - 1
        near_x, near_y = (_near_border(wide, axis, step[:, axis]) for axis in (0, 1))
        rois, owner = shaken(rois, near_x, near_y, step / lengths.clamp(min=1))
    expected = crop_and_resize(**{**wide, "rois": rois})
    bound = _bound({**wide, "rois": rois}, expected, dtype)
    near = torch.zeros(len(wide["rois"]), dtype=torch.bool)
    near[owner[len(near) :]] = True
    bound[len(near) :] *= 8  # the move alone changes the value
    return Answers(expected, bound, owner, near)


def _reach(wide: Mapping[str, Any]) -> Tensor:
    """The largest coordinate of each RoI, in pixels."""
    return to_pixels(wide["rois"], wide["features"])[:, 1:].abs().amax(1)


def _near_border(wide: Mapping[str, Any], axis: int, within: Tensor) -> Tensor:
    length, bins = wide["features"].shape[3 - axis], wide["output_size"][1 - axis]
    low, high = wide["rois"][:, 1 + axis], wide["rois"][:, 3 + axis]
    points = sample_points(low, high, bins, length)
    off = torch.minimum(points.abs(), (points - (length - 1)).abs())
    return (off <= within[:, None]).any(1)


def _bound(wide: Mapping[str, Any], expected: Tensor, dtype: str) -> Tensor:
    compute, storage, least = bounds.epsilons(dtype)
    inner = {**wide, "extrapolation_value": 0.0}
    read = crop_and_resize(**{**inner, "features": wide["features"].abs()})
    slope = crop_and_resize(**{**inner, "features": bounds.slopes(wide["features"])})
    along = bounds.per_roi(_reach(wide) + 1)
    value = abs(wide["extrapolation_value"])
    return bounds.K * compute * (read + along * slope + value) + storage * expected.abs() + least


def gradient_bound(wide: Mapping[str, Any], g: Tensor, expected: Tensor, dtype: str) -> Tensor:
    """Of each element of the features' gradient, by the transpose of the result's bound."""
    compute, storage, least = bounds.epsilons(dtype)
    received = bounds.pulled(NAME, wide, g.abs())
    moved = bounds.pulled(NAME, wide, g.abs() * bounds.per_roi(_reach(wide) + 1))
    spread = 9 * F.avg_pool2d(moved, 3, 1, 1)
    added = 1 + (g[:, 0].numel() ** 0.5 if len(g) else 0.0)
    return bounds.K * compute * (received * added + 2 * spread) + storage * expected.abs() + least
