"""RoIAlign of a pyramid: wrong on purpose, and right in another way."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.declaration import Kernel
from kernels.conformance.zoo import Broken, faults
from kernels.conformance.zoo.rois import GIVES
from kernels.conformance.zoo.sampler import Sampler
from kernels.op import operators

NAME = "multilevel_roi_align"


def right(features: Sequence[Tensor], rois: Tensor, levels: Tensor, **options: Any) -> Tensor:
    """The reference, in float32 or wider."""
    wide = torch.promote_types(features[0].dtype, torch.float32)
    maps = [f.to(wide) for f in features]
    out = operators()[NAME].reference(maps, rois.to(wide), levels, **options)
    return out.to(features[0].dtype)


def zeros(*, features: Any, **o: Any) -> Tensor:
    """Nothing at all."""
    return 0 * right(features, **o)


def last_level_always(*, features: Any, levels: Tensor, **o: Any) -> Tensor:
    """A switch without breaks: every RoI falls through to the last level."""
    return right(features, levels=torch.full_like(levels, len(features) - 1), **o)


def level_names(*, features: Any, levels: Tensor, **o: Any) -> Tensor:
    """Levels taken for names that begin at 1."""
    return right(features, levels=(levels - 1).clamp(min=0), **o)


def first_scale_always(*, features: Any, spatial_scales: Any, **o: Any) -> Tensor:
    """The scale of the first map for all of them."""
    return right(features, spatial_scales=[spatial_scales[0]] * len(features), **o)


def scales_reversed(*, features: Any, spatial_scales: Any, **o: Any) -> Tensor:
    """Maps from fine to coarse, scales from coarse to fine."""
    return right(features, spatial_scales=list(spatial_scales)[::-1], **o)


def in_order_of_levels(*, features: Any, levels: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Results level by level, not put back."""
    order = levels.argsort(stable=True)
    return right(features, rois=rois[order], levels=levels[order], **o)


def put_back_twice(*, features: Any, levels: Tensor, **o: Any) -> Tensor:
    """Results put back by the order of levels, not by its inverse."""
    order = levels.argsort(stable=True)
    return right(features, levels=levels, **o)[order][order]


def first_image_only(*, features: Any, rois: Tensor, **o: Any) -> Tensor:
    """All RoIs of the first image."""
    return right(features, rois=faults.images(rois, lambda i: 0 * i), **o)


def half_a_pixel_off(*, features: Any, rois: Tensor, **o: Any) -> Tensor:
    """Corners off by half a pixel of the image."""
    return right(features, rois=faults.corners(rois, lambda x: x + 0.5), **o)


def needs_a_roi(*, features: Any, levels: Tensor, **o: Any) -> Tensor:
    """Fails without RoIs, as a reduction over them does."""
    assert levels.max() is not None
    return right(features, levels=levels, **o)


def every_level_used(*, features: Any, levels: Tensor, **o: Any) -> Tensor:
    """Fails where a level has no RoIs."""
    assert len(levels.unique()) in (0, len(features)), "a level without RoIs"
    return right(features, levels=levels, **o)


def first_map_without_gradient(*, features: Any, **o: Any) -> Tensor:
    """The first map is a constant."""
    return right([features[0].detach(), *features[1:]], **o)


def doubled_gradient(*, features: Any, **o: Any) -> Tensor:
    """Twice the gradient."""
    out = right(features, **o)
    return out + (out - out.detach())


def weighted_by_level(*, features: Any, levels: Tensor, **o: Any) -> Tensor:
    """Coarse levels count for less."""
    return right(features, levels=levels, **o) * (1 - 0.01 * levels)[:, None, None, None]


def level_by_level(single: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of one map, called for each level that has RoIs, and put back in order."""

    def compute(
        *, features: Any, rois: Tensor, levels: Tensor, spatial_scales: Any, **o: Any
    ) -> Tensor:
        parts, order = (
            [features[0].new_zeros(0, features[0].shape[1], *o["output_size"])],
            [levels[:0]],
        )
        for level in levels.unique().tolist():
            which = (levels == level).nonzero()[:, 0]
            order.append(which)
            parts.append(
                single(
                    features=features[level],
                    rois=rois[which],
                    spatial_scale=spatial_scales[level],
                    **o,
                )
            )
        return torch.cat(parts)[torch.cat(order).argsort()]

    return compute


def one_by_one(*, features: Any, rois: Tensor, levels: Tensor, **o: Any) -> Tensor:
    """RoI by RoI, sample by sample."""
    scales, out = o.pop("spatial_scales"), []
    for i, level in enumerate(levels.tolist()):
        out.append(Sampler()(features[level], rois[i : i + 1], spatial_scale=scales[level], **o))
    blank = features[0].new_zeros(0, features[0].shape[1], *o["output_size"])
    return torch.cat([blank + 0 * sum(f.sum() for f in features), *out])


def _broken(function: Callable[..., Any], killed_by: str) -> Broken:
    assert function.__doc__ is not None
    kernel = Kernel(
        operator=NAME,
        name=function.__name__.replace("_", "-"),
        function=function,
        grads=("features",) if killed_by == "gradient" else (),
    )
    return Broken(kernel=kernel, fault=function.__doc__, killed_by=killed_by)


def _named(fault: str, killed_by: str) -> Broken:
    kernel = Kernel(
        operator=NAME,
        name=fault.replace(" ", "-"),
        function=level_by_level(faults.of("roi_align", fault)),
        **GIVES.get(killed_by, {}),
    )
    return Broken(kernel=kernel, fault=fault, killed_by=killed_by)


NAMED: dict[str, tuple[str, ...]] = {
    "plane": ("nearest pixel", "bins rolled"),
    "constant": ("doubled",),
    "linearity": ("absolute features",),
    "translation": ("brighter to the right",),
    "scale": ("shift before scaling",),
    "batch": ("image modulo 2", "batch mean leaks"),
    "outside": ("clipped to the map",),
    "degenerate": ("negative sides swapped",),
    "nonfinite": ("nothing refused",),
    "NaN features": ("NaN swallowed", "NaN infects the batch"),
    "adjoint": ("gradient lost",),
    "double backward": ("second gradient doubled", "second gradient lost"),
}
"""The check that kills it -> faults of RoIAlign on each level."""

BROKEN: tuple[Broken, ...] = (
    *(
        _broken(one, "values")
        for one in (
            zeros,
            last_level_always,
            level_names,
            first_scale_always,
            scales_reversed,
            put_back_twice,
            first_image_only,
            half_a_pixel_off,
            every_level_used,
        )
    ),
    _broken(in_order_of_levels, "permutation"),
    _broken(weighted_by_level, "levels"),
    _broken(needs_a_roi, "empty"),
    _broken(first_map_without_gradient, "gradient"),
    _broken(doubled_gradient, "gradient"),
    *(_named(fault, check) for check, some in NAMED.items() for fault in some),
)
SOUND: tuple[Kernel, ...] = (
    Kernel(
        operator=NAME,
        name="one-by-one",
        function=one_by_one,
        dtypes=("float32", "float64"),
        grads=("features",),
    ),
)
