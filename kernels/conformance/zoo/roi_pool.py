"""RoIPool that is wrong on purpose."""

import math
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.zoo import Broken, faults
from kernels.conformance.zoo.pooler import Pooler
from kernels.conformance.zoo.roi_align import gradient_of
from kernels.conformance.zoo.rois import GRADIENTS, broken

RIGHT = faults.right("roi_pool")
LEAST = torch.finfo(torch.float32).min


def bilinear(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """The maximum of bilinear samples: RoIWarp's."""
    warp = {"sampling_ratio": 2, "reduce": "max", "box": "inclusive", "sampling": "regular"}
    return faults.right("roi_warp")(features, rois, **o, **warp)


def swallowed(pixels: Tensor) -> Tensor:
    """A maximum that starts at the least float: no comparison with NaN is true."""
    return torch.nan_to_num(pixels, LEAST).amax((1, 2))


def to_every_maximum(pixels: Tensor) -> Tensor:
    """The maximum, whose gradient goes to each pixel that is equal to it, whole."""
    best = pixels.amax((1, 2)).detach()
    ones = (pixels == best[:, None, None]).to(pixels)
    return best + (pixels * ones).sum((1, 2)) - (pixels * ones).sum((1, 2)).detach()


def _pooled(fault: str, killed_by: str, pooler: Pooler, **about: Any) -> Broken:
    return broken("roi_pool", fault, killed_by, pooler, **about)


def _exclusive(i: int, side: int, bins: int) -> tuple[int, int]:
    return i * side // bins, max((i + 1) * side // bins, i * side // bins + 1)


def _rounded_edges(i: int, side: int, bins: int) -> tuple[int, int]:
    return round(i * side / bins), round((i + 1) * side / bins)


BROKEN: tuple[Broken, ...] = (
    _pooled("halves to even", "branches", Pooler(whole=round)),
    _pooled("halves up", "branches", Pooler(whole=lambda x: math.floor(x + 0.5))),
    _pooled("floor of corners", "values", Pooler(whole=math.floor)),
    _pooled("far pixel left out", "values", Pooler(beyond=0)),
    _pooled("no least size", "degenerate", Pooler(least=0)),
    _pooled("bins that share nothing", "values", Pooler(edges=_exclusive)),
    _pooled("bin edges rounded", "values", Pooler(edges=_rounded_edges)),
    _pooled("cut to the map before it is divided", "values", Pooler(cut=True)),
    _pooled(
        "maximum from 0 up", "values", Pooler(most=lambda pixels: pixels.amax((1, 2)).clamp(min=0))
    ),
    _pooled("mean of pixels", "values", Pooler(most=lambda pixels: pixels.mean((1, 2)))),
    _pooled("least float for an empty bin", "outside", Pooler(missing=LEAST)),
    _pooled("NaN below every float", "NaN features", Pooler(most=swallowed)),
    _pooled("gradient to every maximum", "gradient", Pooler(most=to_every_maximum), **GRADIENTS),
    broken("roi_pool", "bilinear", "values", bilinear),
    broken(
        "roi_pool",
        "gradient to all pixels of a bin",
        "gradient",
        gradient_of(RIGHT, Pooler(most=lambda pixels: pixels.mean((1, 2)))),
        **GRADIENTS,
    ),
)
