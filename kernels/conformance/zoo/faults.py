"""Faults that any RoI operator can have, put into its reference.

Each takes a right kernel and returns one with a fault; `of` gives it by name for an operator. They
compute in float32 at least, so that nothing but the fault shows.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels.op import operators

Kernelled = Callable[..., Tensor]


def right(operator: str) -> Kernelled:
    """The reference, computing in float32 or wider and returning the dtype it was given."""

    def compute(features: Tensor, rois: Tensor, **options: Any) -> Tensor:
        wide = torch.promote_types(features.dtype, torch.float32)
        reference = operators()[operator].reference
        out = reference(features=features.to(wide), rois=rois.to(wide), **options)
        return out.to(features.dtype)

    return compute


def rois_by(change: Callable[[Tensor, Any], Tensor]) -> Callable[[Kernelled], Kernelled]:
    """The fault of reading other RoIs: change(rois, options)."""

    def faulty(op: Kernelled) -> Kernelled:
        return lambda features, rois, **o: op(features, change(rois, o), **o)

    return faulty


def options_by(**changed: Any) -> Callable[[Kernelled], Kernelled]:
    """The fault of ignoring options, taking these in their place where the operator has them."""

    def faulty(op: Kernelled) -> Kernelled:
        return lambda features, rois, **o: op(
            features, rois, **{**o, **{n: v for n, v in changed.items() if n in o}}
        )

    return faulty


def result_by(change: Callable[[Tensor], Tensor]) -> Callable[[Kernelled], Kernelled]:
    """The fault of spoiling a right result."""

    def faulty(op: Kernelled) -> Kernelled:
        return lambda features, rois, **o: change(op(features, rois, **o))

    return faulty


def features_by(change: Callable[[Tensor], Tensor]) -> Callable[[Kernelled], Kernelled]:
    """The fault of reading other features."""

    def faulty(op: Kernelled) -> Kernelled:
        return lambda features, rois, **o: op(change(features), rois, **o)

    return faulty


def corners(rois: Tensor, change: Callable[[Tensor], Tensor], scale: float = 1.0) -> Tensor:
    """RoIs with corners changed, in pixels of that scale."""
    return torch.cat([rois[:, :1], change(rois[:, 1:] * scale) / scale], 1)


def images(rois: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """RoIs with other image indices."""
    return torch.cat([change(rois[:, :1]), rois[:, 1:]], 1)


def to_map(rois: Tensor, options: Any, features: Tensor) -> Tensor:
    """RoIs cut to the map they lie on."""
    h, w = features.shape[2:]
    limit = torch.tensor([w, h, w, h], dtype=rois.dtype) / options["spatial_scale"]
    return torch.cat([rois[:, :1], torch.minimum(rois[:, 1:].clamp(min=0), limit)], 1)


def clipped(op: Kernelled) -> Kernelled:
    """RoIs cut to the map."""
    return lambda features, rois, **o: op(features, to_map(rois, o, features), **o)


def transposed_bins(op: Kernelled) -> Kernelled:
    """Bins computed for (width, height), then filled in as if (height, width)."""

    def compute(features: Tensor, rois: Tensor, *, output_size: Any, **o: Any) -> Tensor:
        out = op(features, rois, output_size=list(output_size)[::-1], **o)
        return out.reshape(*out.shape[:2], *output_size)

    return compute


def last_dropped(out: Tensor) -> Tensor:
    """The last RoI is left at zero: a grid of threads one block short."""
    kept = torch.ones(len(out), dtype=out.dtype)
    kept[-1:] = 0
    return out * kept[:, None, None, None]


def nan_where_zero(out: Tensor) -> Tensor:
    """0 / 0 for a bin without samples."""
    return torch.where(out == 0, math.nan, out)


def sides_swapped(rois: Tensor, options: Any) -> Tensor:
    """Sides that are negative, swapped to positive ones."""
    low = torch.minimum(rois[:, 1:3], rois[:, 3:])
    return torch.cat([rois[:, :1], low, torch.maximum(rois[:, 1:3], rois[:, 3:])], 1)


def wrapped_columns(op: Kernelled) -> Kernelled:
    """A column index kept in eight bits, as a 32-bit offset wraps on a larger map."""

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        columns = torch.arange(features.shape[3]) % 256
        return op(features[..., columns], rois, **o)

    return compute


def others_matter(features: Tensor) -> Tensor:
    """Every image shifted by a little of the whole batch's mean."""
    return features + 0.01 * features.mean() if features.numel() else features


def brighter_right(features: Tensor) -> Tensor:
    """Each column a little more than the one before it: what a position error can look like."""
    return features + 0.05 * torch.arange(features.shape[3], dtype=features.dtype)


def nothing_refused(op: Kernelled) -> Kernelled:
    """What is not finite counts as 0, an image that is not there as the nearest one; 1 too much."""

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        known = torch.nan_to_num(rois, 0.0, 0.0, 0.0)
        known = images(known, lambda i: i.clamp(0, len(features) - 1))
        return op(features, known, **o) + 1

    return compute


def infected(features: Tensor) -> Tensor:
    """One NaN makes NaN of the whole batch."""
    return features + 0 * features.sum()


def needs_a_roi(op: Kernelled) -> Kernelled:
    """Fails without RoIs, as a reduction over them does."""

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        assert rois.max() is not None
        return op(features, rois, **o)

    return compute


def gradient_by(factor: float) -> Callable[[Kernelled], Kernelled]:
    """The fault of a gradient that is too large or small by a factor."""

    def faulty(op: Kernelled) -> Kernelled:
        def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
            out = op(features, rois, **o)
            return out.detach() + factor * (out - out.detach())

        return compute

    return faulty


def far_side_less(rois: Tensor, options: Any) -> Tensor:
    """The far side one feature pixel less."""
    less = torch.tensor([0, 0, 0, 1, 1], dtype=rois.dtype) / options["spatial_scale"]
    return rois - less


class _Moved(torch.autograd.Function):
    """The features themselves; their gradient goes to the next image."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].roll(1, 0)


class _Doubled(torch.autograd.Function):
    """The features and their gradient as they are, and twice its derivative."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (g,) = grads
        return g.detach() + 2 * (g - g.detach())


class _Cut(torch.autograd.Function):
    """The features and their gradient as they are, that without a history: as if computed in C."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        with torch.no_grad():
            return grads[0].clone()


def applied(function: type[torch.autograd.Function]) -> Callable[[Kernelled], Kernelled]:
    """The fault of a backward pass."""
    return features_by(lambda features: function.apply(features))  # type: ignore[no-untyped-call]


FAULTS: dict[str, Callable[[Kernelled], Kernelled]] = {
    "zeros": result_by(lambda out: 0 * out),
    "half a pixel off": rois_by(lambda r, o: corners(r, lambda x: x + 0.5, o["spatial_scale"])),
    "nearest pixel": rois_by(lambda r, o: corners(r, torch.round, o["spatial_scale"])),
    "floor": rois_by(lambda r, o: corners(r, torch.floor, o["spatial_scale"])),
    "half to even": rois_by(lambda r, o: corners(r, torch.round, o["spatial_scale"])),
    "whole image pixels": rois_by(lambda r, o: corners(r, torch.round)),
    "shift before scaling": rois_by(lambda r, o: corners(r, lambda x: x - 0.5)),
    "half coordinates": rois_by(lambda r, o: r.half().to(r.dtype)),
    "far side one less": rois_by(far_side_less),
    "axes swapped": rois_by(lambda r, o: r[:, [0, 2, 1, 4, 3]]),
    "first image only": rois_by(lambda r, o: images(r, lambda i: 0 * i)),
    "image modulo 2": rois_by(lambda r, o: images(r, lambda i: i % 2)),
    "RoIs sorted by image": rois_by(lambda r, o: r[r[:, 0].argsort(stable=True)]),
    "negative sides swapped": rois_by(sides_swapped),
    "clipped to the map": clipped,
    "scale ignored": options_by(spatial_scale=1.0),
    "one sample": options_by(sampling_ratio=1),
    "aligned ignored": options_by(aligned=True),
    "reduce ignored": options_by(reduce="mean"),
    "box ignored": options_by(box="inclusive"),
    "sampling ignored": options_by(sampling="regular"),
    "bins transposed": transposed_bins,
    "bins rolled": result_by(lambda out: out.roll(1, -1)),
    "last RoI dropped": result_by(last_dropped),
    "NaN for no samples": result_by(nan_where_zero),
    "first channel only": result_by(lambda out: out[:, :1].expand_as(out).clone()),
    "column in eight bits": wrapped_columns,
    "batch mean leaks": features_by(others_matter),
    "absolute features": features_by(torch.abs),
    "brighter to the right": features_by(brighter_right),
    "NaN swallowed": features_by(lambda f: torch.nan_to_num(f, 0.0)),
    "NaN infects the batch": features_by(infected),
    "nothing refused": nothing_refused,
    "fails without RoIs": needs_a_roi,
    "gradient doubled": gradient_by(2.0),
    "no gradient": features_by(lambda f: f.detach()),
    "gradient lost": gradient_by(0.0),
    "gradient of the next image": applied(_Moved),
    "second gradient doubled": applied(_Doubled),
    "second gradient lost": applied(_Cut),
    "doubled": result_by(lambda out: 2 * out),
    "one more": result_by(lambda out: out + 1),
    "squared": result_by(lambda out: out * out.abs()),
}


def of(operator: str, name: str) -> Kernelled:
    """The operator with that fault."""
    return FAULTS[name](right(operator))
