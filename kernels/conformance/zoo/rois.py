"""Faults that RoI operators have in common, one broken kernel each."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from kernels.conformance.declaration import Kernel
from kernels.conformance.zoo import Broken, faults


def broken(
    operator: str, fault: str, killed_by: str, function: Callable[..., Any], **about: Any
) -> Broken:
    """A kernel with a fault, whose words are its name too. `about` is of Broken or of Kernel."""
    mine = {n: about.pop(n) for n in ("equivalent", "crashes") if n in about}
    kernel = Kernel(
        operator=operator, name=fault.replace(" ", "-"), function=called(function), **about
    )
    return Broken(kernel=kernel, fault=fault, killed_by=killed_by, **mine)


def called(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, taking any argument by name: so it takes all that the operator has."""

    def by_name(**arguments: Any) -> Tensor:
        return function(arguments.pop("features"), arguments.pop("rois"), **arguments)

    return by_name


BY_CHECK: dict[str, tuple[str, ...]] = {
    "values": (
        "zeros",
        "half a pixel off",
        "whole image pixels",
        "far side one less",
        "axes swapped",
        "bins transposed",
        "bins rolled",
        "first channel only",
        "column in eight bits",
    ),
    "batch": ("first image only", "image modulo 2", "batch mean leaks"),
    "permutation": ("RoIs sorted by image", "last RoI dropped"),
    "scale": ("scale ignored", "shift before scaling"),
    "outside": ("clipped to the map",),
    "degenerate": ("negative sides swapped",),
    "empty": ("fails without RoIs",),
    "nonfinite": ("nothing refused",),
    "NaN features": ("NaN swallowed", "NaN infects the batch"),
    "gradient": ("no gradient", "gradient doubled", "gradient of the next image"),
    "double backward": ("second gradient doubled", "second gradient lost"),
}
GRADIENTS: dict[str, Any] = {"grads": ("features",), "double_backward": True}
POLICY: dict[str, Any] = {"nonfinite": "raise", "bad_index": "raise"}

GIVES: dict[str, dict[str, Any]] = {
    "gradient": GRADIENTS,
    "double backward": GRADIENTS,
    "adjoint": GRADIENTS,
    "nonfinite": POLICY,
}
"""What the kernels declare that a check is to kill."""


def _common(operator: str) -> list[Broken]:
    found = []
    for check, names in BY_CHECK.items():
        about = GIVES.get(check, {})
        for name in names:
            function = faults.of(operator, name)
            found.append(broken(operator, name, check, function, **about))
    return found


BROKEN: tuple[Broken, ...] = tuple(
    one for operator in ("roi_align", "roi_pool", "roi_warp") for one in _common(operator)
)
