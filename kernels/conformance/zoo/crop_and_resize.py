"""CropAndResize: wrong on purpose, and right in another way."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.conformance.declaration import Kernel
from kernels.conformance.zoo import Broken, faults
from kernels.conformance.zoo.rois import GIVES, broken

NAME = "crop_and_resize"
right = faults.right(NAME)


def zeros(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Nothing at all."""
    return 0 * right(features, rois, **o)


def half_a_bin_off(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Samples at the centres of bins, not from corner to corner."""
    rows, columns = o["output_size"]
    side = rois[:, 3:] - rois[:, 1:3]
    inset = side / torch.tensor([columns, rows]) / 2
    return right(
        features, torch.cat([rois[:, :1], rois[:, 1:3] + inset, rois[:, 3:] - inset], 1), **o
    )


def whole_map(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Coordinates times H, not H - 1."""
    h, w = features.shape[2:]
    more = torch.tensor(
        [1, w / max(w - 1, 1), h / max(h - 1, 1)] + [w / max(w - 1, 1), h / max(h - 1, 1)]
    )
    return right(features, rois * more.to(rois.dtype), **o)


def axes_swapped(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """TensorFlow's order: y before x."""
    return right(features, rois[:, [0, 2, 1, 4, 3]], **o)


def nearest_pixel_of_the_map(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Ends at the nearest of eight shares of the map, however large it is."""
    return right(features, torch.cat([rois[:, :1], (rois[:, 1:] * 8).round() / 8], 1), **o)


def extrapolation_ignored(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """0 outside, whatever is asked for."""
    return right(features, rois, **{**o, "extrapolation_value": 0.0})


def clamped(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """The border pixel outside."""
    return right(features, torch.cat([rois[:, :1], rois[:, 1:].clamp(0, 1)], 1), **o)


def sides_sorted(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """A mirrored box is turned back."""
    return right(
        features, faults.FAULTS["negative sides swapped"](lambda f, r, **k: r)(features, rois), **o
    )


def first_image_only(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """All RoIs of the first image."""
    return right(features, faults.images(rois, lambda i: 0 * i), **o)


def one_bin_at_the_start(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """The only row of one at its near end, not in the middle."""
    rows, columns = o["output_size"]
    x2 = rois[:, 1] if columns == 1 else rois[:, 3]
    y2 = rois[:, 2] if rows == 1 else rois[:, 4]
    return right(features, torch.stack([*rois[:, :3].unbind(1), x2, y2], 1), **o)


def border_left_out(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """A sample exactly on the last pixel counts as outside."""
    inner = torch.cat([rois[:, :1], torch.where(rois[:, 1:] == 1, 1 + 1e-6, rois[:, 1:])], 1)
    return right(features, inner, **o)


def needs_a_roi(*, features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Fails without RoIs, as a reduction over them does."""
    assert rois.max() is not None
    return right(features, rois, **o)


def by_grid_sample(
    *, features: Tensor, rois: Tensor, output_size: Any, extrapolation_value: float
) -> Tensor:
    """PyTorch's bilinear sampler with corners aligned, which is this operator's frame."""
    if not len(rois) or not features.numel():
        shape = (len(rois), features.shape[1], *output_size)
        return features.new_full(shape, extrapolation_value)
    x1, y1, x2, y2 = (2 * rois[:, 1:, None] - 1).unbind(1)

    def axis(low: Tensor, high: Tensor, n: int) -> Tensor:
        t = torch.linspace(0, 1, n, dtype=rois.dtype) if n > 1 else torch.full((1,), 0.5)
        return torch.where(t < 0.5, low + t * (high - low), high - (1 - t) * (high - low))

    y, x = axis(y1, y2, output_size[0]), axis(x1, x2, output_size[1])
    y, x = y[:, :, None].expand(-1, -1, x.shape[1]), x[:, None].expand(-1, y.shape[1], -1)
    inside = (y.abs() <= 1) & (x.abs() <= 1)
    maps = features[rois[:, 0].long()]
    grid = torch.stack([x, y], -1).to(features.dtype)
    read = F.grid_sample(maps, grid, "bilinear", "border", align_corners=True)
    return torch.where(inside[:, None], read, extrapolation_value)


def _broken(function: Callable[..., Any], killed_by: str) -> Broken:
    assert function.__doc__ is not None
    name = function.__name__.replace("_", "-")
    kernel = Kernel(operator=NAME, name=name, function=function)
    return Broken(kernel=kernel, fault=function.__doc__, killed_by=killed_by)


NAMED: dict[str, tuple[str, ...]] = {
    "plane": ("bins rolled",),
    "constant": ("doubled",),
    "zero-sized map": ("one more",),
    "linearity": ("squared", "absolute features"),
    "permutation": ("RoIs sorted by image", "last RoI dropped"),
    "batch": ("image modulo 2", "batch mean leaks"),
    "adjoint": ("gradient lost",),
    "gradient": ("no gradient", "gradient doubled", "gradient of the next image"),
    "double backward": ("second gradient doubled", "second gradient lost"),
}
"""The check that kills it -> faults that any RoI operator can have."""


BROKEN: tuple[Broken, ...] = (
    *(
        _broken(one, "values")
        for one in (
            zeros,
            half_a_bin_off,
            whole_map,
            axes_swapped,
            extrapolation_ignored,
            clamped,
            first_image_only,
            one_bin_at_the_start,
        )
    ),
    _broken(border_left_out, "branches"),
    _broken(nearest_pixel_of_the_map, "translation"),
    _broken(sides_sorted, "mirror"),
    _broken(needs_a_roi, "empty"),
    *(
        broken(NAME, name, check, faults.of(NAME, name), **GIVES.get(check, {}))
        for check, names in NAMED.items()
        for name in names
    ),
)
SOUND: tuple[Kernel, ...] = (
    Kernel(
        operator=NAME,
        name="grid-sample",
        function=by_grid_sample,
        dtypes=("float32", "float64"),
        grads=("features",),
    ),
)
