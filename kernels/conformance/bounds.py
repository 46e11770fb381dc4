"""How far from the definition a right RoI kernel may be: an error model, element by element.

A kernel that computes in epsilon e errs by e times what it adds up, and by e times its coordinate
times the slope of the map there; then it stores. One constant fits maps of any size and content,
which no fixed tolerance does: 1e-3 is loose at column 3 and too tight at column 800.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.op import operators

K = 4.0
"""Measured on torchvision: errors reach 1.14 of the model without it."""


def epsilons(dtype: str) -> tuple[float, float, float]:
    """Epsilon of computing (float32 at least) and of storing, and the least that can be stored."""
    storage = torch.finfo(getattr(torch, dtype))
    compute = torch.finfo(torch.promote_types(getattr(torch, dtype), torch.float32))
    return compute.eps, storage.eps, storage.smallest_normal * storage.eps


def slopes(features: Tensor) -> Tensor:
    """The steepest step to a neighbour anywhere near each pixel; one pixel off changes no more."""
    steps = torch.zeros_like(features)
    steps[:, :, :-1] += features.diff(dim=2).abs()
    steps[:, :, :, :-1] += features.diff(dim=3).abs()
    return F.max_pool2d(steps, 3, 1, 1) if steps.numel() else steps


def reach(rois: Tensor, spatial_scale: float) -> Tensor:
    """The largest coordinate of each RoI in feature pixels: what its rounding errors grow with."""
    return (rois[:, 1:] * spatial_scale).abs().amax(1) + 1


def samples(arguments: Mapping[str, Any]) -> Tensor:
    """About how many samples are added up in each bin, per RoI."""
    rois, ratio = arguments["rois"], arguments.get("sampling_ratio", 1)
    if ratio:
        return torch.full((len(rois),), float(ratio**2), dtype=torch.float64)
    size = torch.tensor(list(arguments["output_size"])[::-1])
    sides = (rois[:, 3:] - rois[:, 1:3]).abs() * arguments["spatial_scale"] + 1
    return (sides / size).ceil().clamp(min=1).prod(1).double()


def of_result(operator: str, arguments: Mapping[str, Any], expected: Tensor, dtype: str) -> Tensor:
    """The bound of each element of a result, from float64 arguments.

    RoIPool only chooses a pixel: its bound is 0.
    Source: our own measurements of torchvision's operators against float64.
    """
    if operator == "roi_pool":
        return torch.zeros_like(expected)
    compute, storage, least = epsilons(dtype)
    reference, features = operators()[operator].reference, arguments["features"]
    read = reference(**{**arguments, "features": features.abs()})
    slope = reference(**{**arguments, "features": slopes(features)})
    along = per_roi(reach(arguments["rois"], arguments["spatial_scale"]))
    added = per_roi(1 + samples(arguments) / 8)
    return K * compute * (read + along * slope) * added + storage * expected.abs() + least


def of_gradient(
    operator: str, arguments: Mapping[str, Any], grad: Tensor, expected: Tensor, dtype: str
) -> Tensor:
    """The bound of each element of the features' gradient, by the same model transposed.

    A coordinate that is off moves weight to neighbours, so that the bound reaches one pixel
    further than the gradient.
    """
    compute, storage, least = epsilons(dtype)
    received = pulled(operator, arguments, grad.abs())
    if operator == "roi_pool":
        moved = torch.zeros_like(received)
    else:
        along = per_roi(reach(arguments["rois"], arguments["spatial_scale"]))
        moved = 9 * F.avg_pool2d(pulled(operator, arguments, grad.abs() * along), 3, 1, 1)
    terms = float(grad[0, 0].numel() * len(grad)) if len(grad) else 1.0
    added = 1 + terms**0.5
    return K * compute * (received * added + 2 * moved) + storage * expected.abs() + least


def pulled(operator: str, arguments: Mapping[str, Any], grad: Tensor) -> Tensor:
    """The gradient of the features by the reference."""
    features = arguments["features"].detach().clone().requires_grad_()
    out = operators()[operator].reference(**{**arguments, "features": features})
    if not out.requires_grad:
        return torch.zeros_like(features)
    return torch.autograd.grad(out, features, grad, materialize_grads=True)[0]


def per_roi(values: Tensor) -> Tensor:
    """One number for each RoI, shaped to multiply a result."""
    return values[:, None, None, None]


def pair_of(size: Sequence[int]) -> tuple[int, int]:
    """An output size, however a case holds it."""
    return int(size[0]), int(size[1])
