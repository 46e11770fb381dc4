"""The set of right answers. Where a definition jumps, a kernel in float32 may land on either side.

RoI kernels jump where the number of adaptive samples changes, where a sample leaves the map's
margin, where a corner is rounded, and where RoIPool's bin edges are whole. A RoI that is within a
few ulps of a jump is judged by the definition on both sides of it, all others by the definition.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.conformance import bounds
from kernels.conformance.call import widened
from kernels.op import operators
from kernels.roi_pool.reference import rounded as to_pixels
from kernels.roi_warp.reference import rounded_boxes

ULPS = 4.0
"""How far a corner may be off, in epsilons of the largest coordinate; sides then by twice that."""
SHAKEN = 4.0
"""Bounds grow by this where a corner was moved: the move alone changes the value."""
SIGNS = ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class Answers:
    """Every right answer to one call.

    expected  one row (c, p, q) per answer; the first k are the definition at the RoIs as given
    bound     of each element
    owner     the RoI that each row answers for
    near      per RoI, whether it has more than one
    """

    expected: Tensor
    bound: Tensor
    owner: Tensor
    near: Tensor

    def ratio(self, got: Tensor) -> Tensor:
        """Error over bound of each element of a result, by the answer nearest to it."""
        every = error_over_bound(got.double()[self.owner], self.expected, self.bound)
        best = torch.full(got.shape, torch.inf, dtype=torch.float64)
        index = self.owner[:, None, None, None].expand_as(every)
        return best.scatter_reduce(0, index, every, "amin") if len(every) else best

    @property
    def nominal(self) -> tuple[Tensor, Tensor]:
        """The definition at the RoIs as given, and its bound."""
        k = len(self.near)
        return self.expected[:k], self.bound[:k]


def error_over_bound(got: Tensor, expected: Tensor, bound: Tensor) -> Tensor:
    """0 where equal, infinite where a value is NaN or the bound is 0 and something is off."""
    error = (got.double() - expected).abs()
    ratio = torch.where(error == 0, 0.0, error / bound)
    return ratio.nan_to_num(nan=torch.inf, posinf=torch.inf)


def answers(operator: str, arguments: Mapping[str, Any], dtype: str, *, exact: bool) -> Answers:
    """What a right kernel may give for arguments as `rounded` made them.

    exact   coordinates and scale are such that no rounding occurs: one answer, the definition's
    """
    wide = widened(arguments)
    every = _EVERY[operator](wide, 0.0 if exact else ULPS * bounds.epsilons(dtype)[0])
    k = len(wide["rois"])
    near = torch.zeros(k, dtype=torch.bool)
    near[every.owner[k:]] = True
    bound = every.bound(operator, wide, dtype)
    bound[k:] *= SHAKEN
    return Answers(every.expected, bound, every.owner, near)


@dataclass(frozen=True)
class _Every:
    """Candidates: rows of results, and the RoIs they are the definition at."""

    expected: Tensor
    rois: Tensor
    owner: Tensor

    def bound(self, operator: str, wide: Mapping[str, Any], dtype: str) -> Tensor:
        return bounds.of_result(operator, {**wide, "rois": self.rois}, self.expected, dtype)


def _aligned(wide: Mapping[str, Any], ulps: float) -> _Every:
    rois, owner = near_jumps(wide, ulps)
    expected = operators()["roi_align"].reference(**{**wide, "rois": rois})
    return _Every(expected, rois, owner)


def _warped(wide: Mapping[str, Any], ulps: float) -> _Every:
    rois, owner = _near_halves(wide["rois"], wide["spatial_scale"], ulps)
    if wide["sampling"] == "mnc":
        expected = operators()["roi_warp"].reference(**{**wide, "rois": rois})
        return _Every(expected, rois, owner)
    boxes = rounded_boxes(rois, wide["spatial_scale"], wide["box"])
    as_align = {k: v for k, v in wide.items() if k not in ("box", "sampling")}
    as_align |= {"rois": boxes, "spatial_scale": 1.0, "aligned": True}
    every = _aligned(as_align, ulps)
    return _Every(every.expected, rois[every.owner], owner[every.owner])


def _pooled(wide: Mapping[str, Any], ulps: float) -> _Every:
    rois, owner = _near_halves(wide["rois"], wide["spatial_scale"], ulps)
    dtype = torch.float32 if ulps > 1e-10 else torch.float64
    expected = [operators()["roi_pool"].reference(**{**wide, "rois": rois})]
    whole = _whole_edges(rois, wide, dtype) if ulps else torch.zeros(len(rois), dtype=torch.bool)
    which = whole.nonzero()[:, 0]
    if len(which):
        for more in list(itertools.product((0, 1), repeat=4))[1:]:
            expected.append(_pool_with_more({**wide, "rois": rois[which]}, more, dtype))
    times = len(expected) - 1
    return _Every(
        torch.cat(expected),
        torch.cat([rois, *[rois[which]] * times]),
        torch.cat([owner, *[owner[which]] * times]),
    )


_EVERY = {"roi_align": _aligned, "roi_warp": _warped, "roi_pool": _pooled}


def near_jumps(wide: Mapping[str, Any], ulps: float) -> tuple[Tensor, Tensor]:
    """RoIAlign's RoIs, then those near a jump with their corners moved; and whose they are."""
    rois, scale = wide["rois"], wide["spatial_scale"]
    if not ulps or not len(rois):
        return rois, torch.arange(len(rois))
    shift = 0.5 * wide["aligned"]
    corners = rois[:, 1:] * scale - shift
    low, high = corners[:, :2], corners[:, 2:]
    if not wide["aligned"]:
        high = torch.maximum(high, low + 1)
    step = ulps * (torch.maximum(low.abs(), high.abs()) + 1)
    h, w = wide["features"].shape[2:]
    rows, columns = bounds.pair_of(wide["output_size"])
    ratio = wide["sampling_ratio"]
    near_x = _jumps(low[:, 0], high[:, 0], columns, ratio, w, 2 * step[:, 0])
    near_y = _jumps(low[:, 1], high[:, 1], rows, ratio, h, 2 * step[:, 1])
    kept = torch.cat([rois[:, :1], (torch.cat([low, high], 1) + shift) / scale], 1)
    moved, owner = shaken(kept, near_x, near_y, step / scale)
    return torch.cat([rois, moved[len(rois) :]]), owner


def _jumps(low: Tensor, high: Tensor, bins: int, ratio: int, length: int, within: Tensor) -> Tensor:
    """Per RoI, whether along one axis its count or one of its samples is near a jump."""
    side = high - low
    if ratio:
        count, near = torch.full_like(low, ratio), torch.zeros_like(low, dtype=torch.bool)
    else:
        count = (side / bins).ceil().clamp(min=0)
        off = (side - bins * (side / bins).round()).abs()
        near = (off <= within) & (side != 0)
    most = int(count.max()) if len(count) else 0
    inside = (torch.arange(most) + 0.5) / count.clamp(min=1)[:, None]
    steps = (torch.arange(bins)[:, None] + inside[:, None]) * (side / bins)[:, None, None]
    points = low[:, None, None] + steps
    off = torch.minimum((points + 1).abs(), (points - length).abs())
    border = (off <= within[:, None, None]) & (inside < 1)[:, None]
    return near | border.flatten(1).any(1)


def _near_halves(rois: Tensor, scale: float, ulps: float) -> tuple[Tensor, Tensor]:
    """RoIs, then those with a corner near half a pixel on both sides of it; and whose they are."""
    owner = torch.arange(len(rois))
    if not ulps or not len(rois):
        return rois, owner
    corners = rois[:, 1:] * scale
    step = ulps * (torch.maximum(corners[:, :2].abs(), corners[:, 2:].abs()) + 1)
    off = ((corners - corners.floor()) - 0.5).abs() <= 2 * step.repeat(1, 2)
    near = off[:, :2] | off[:, 2:]
    moved, whose = shaken(rois, near[:, 0], near[:, 1], step / scale)
    found = torch.cat([whose[:, None].double(), to_pixels(moved[:, 1:] * scale)], 1)
    keep = [i for i, row in enumerate(found.tolist()) if row not in found[:i].tolist()]
    kept = torch.tensor(sorted({*range(len(rois)), *keep}))
    return moved[kept], whose[kept]


def shaken(rois: Tensor, near_x: Tensor, near_y: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """RoIs, then copies with corners moved along the axes they are near on; and whose they are."""
    rows, owner = [rois], [torch.arange(len(rois))]
    anywhere = torch.ones_like(near_x)
    for (a, b), (c, d) in list(itertools.product(SIGNS, SIGNS))[1:]:
        which = (near_x if a else anywhere) & (near_y if c else anywhere)
        move = torch.tensor([0, a, c, b, d], dtype=rois.dtype)
        scaled = torch.cat([torch.zeros_like(step[:, :1]), step, step], 1)
        rows.append((rois + move * scaled)[which])
        owner.append(which.nonzero()[:, 0])
    return torch.cat(rows), torch.cat(owner)


def _whole_edges(rois: Tensor, wide: Mapping[str, Any], dtype: torch.dtype) -> Tensor:
    """Per RoI, whether a bin edge within it is whole though a float misses it."""
    _, side = _whole_box(rois, wide["spatial_scale"])
    near = torch.zeros(len(rois), dtype=torch.bool)
    for axis, bins in enumerate(reversed(bounds.pair_of(wide["output_size"]))):
        near |= _missed(side[:, axis, None], torch.arange(1, bins + 1), bins, dtype).any(1)
    return near


def _missed(side: Tensor, index: Tensor, bins: int, dtype: torch.dtype) -> Tensor:
    """Where index * side / bins is whole, but not in that dtype, by any usual way to write it."""
    whole = (index * side) % bins == 0
    edge, i, s = (index * side).div(bins, rounding_mode="floor"), index.to(dtype), side.to(dtype)
    inverse = torch.ones((), dtype=dtype) / bins
    ways = ((s / bins) * i, (s * inverse) * i, (s * i) * inverse, s * (i * inverse))
    return whole & torch.stack([way != edge for way in ways]).any(0)


def _whole_box(rois: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    corners = to_pixels(rois[:, 1:] * scale).long()
    return corners[:, :2], (corners[:, 2:] - corners[:, :2] + 1).clamp(min=1)


def _pool_with_more(wide: Mapping[str, Any], more: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """RoIPool whose whole edges take a pixel more: (rows before, after, columns before, after)."""
    features, rois = wide["features"], wide["rois"]
    wy, wx = members(wide, more, dtype)
    rows, columns = bounds.pair_of(wide["output_size"])
    maps = features[rois[:, 0].long()]
    found = torch.empty(len(rois), features.shape[1], rows, columns, dtype=features.dtype)
    for p, q in itertools.product(range(rows), range(columns)):
        where = (wy[:, p, :, None] & wx[:, q, None])[:, None]
        best = maps.masked_fill(~where, -torch.inf).flatten(2).amax(2)
        found[:, :, p, q] = torch.where(best.isneginf(), 0.0, best)
    return found


def members(
    wide: Mapping[str, Any],
    more: tuple[int, ...] = (0, 0, 0, 0),
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """The rows (k, bins, h) and columns (k, bins, w) of RoIPool's bins, `more` of them or none."""
    low, side = _whole_box(wide["rois"], wide["spatial_scale"])
    rows, columns = bounds.pair_of(wide["output_size"])
    height, width = wide["features"].shape[2:]
    return (
        _pixels(low[:, 1], side[:, 1], rows, height, more[:2], dtype),
        _pixels(low[:, 0], side[:, 0], columns, width, more[2:], dtype),
    )


def _pixels(
    low: Tensor,
    side: Tensor,
    bins: int,
    length: int,
    more: tuple[int, ...],
    dtype: torch.dtype,
) -> Tensor:
    """The pixels of each bin (k, bins, length)."""
    index, pixel = torch.arange(bins), torch.arange(length)
    before, after = index * side[:, None], (index + 1) * side[:, None]
    start = before.div(bins, rounding_mode="floor")
    end = -(-after).div(bins, rounding_mode="floor")
    start = start - more[0] * _missed(side[:, None], index, bins, dtype)
    end = end + more[1] * _missed(side[:, None], index + 1, bins, dtype)
    first = (low[:, None] + start)[..., None]
    return (pixel >= first) & (pixel < (low[:, None] + end)[..., None])
