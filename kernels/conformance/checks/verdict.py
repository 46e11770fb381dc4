"""How the checks of RoI operators call a kernel and say what is wrong with its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.conformance import bounds
from kernels.conformance.admissible import Answers, answers, error_over_bound
from kernels.conformance.call import Call, Violation
from kernels.conformance.checks import resized


def shape_of(arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape that a result must have."""
    features, rois = arguments["features"], arguments["rois"]
    return (len(rois), features.shape[1], *arguments["output_size"])


def result(call: Call, arguments: Mapping[str, Any]) -> Tensor:
    """The kernel's result in float64. Raises Violation for an error or another shape."""
    return shaped(call(arguments).result, shape_of(arguments)).double()


def shaped(got: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The result itself. Raises Violation for another shape."""
    if tuple(got.shape) != shape:
        raise Violation(f"gave shape {tuple(got.shape)}, not {shape}")
    return got


def judged(got: Tensor, ratio: Tensor, expected: Tensor, bound: Tensor, text: str) -> None:
    """Raises Violation showing the worst element where any error exceeds its bound."""
    if not ratio.numel() or not bool((ratio > 1).any()):
        return
    at = tuple(int(i) for i in torch.unravel_index(ratio.argmax(), ratio.shape))
    more = {
        "at": at,
        "got": float(got[at]),
        "expected": float(expected[at]),
        "bound": float(bound[at]),
        "error / bound": float(ratio[at]),
    }
    raise Violation(text, more)


def same(got: Tensor, other: Tensor, bound: Tensor, text: str) -> None:
    """Raises Violation where two tensors differ by more than a bound."""
    got, other, bound = got.double(), other.double(), bound.expand_as(got)
    judged(got, error_over_bound(got, other, bound), other, bound, text)


def right(got: Tensor, found: Answers, text: str) -> None:
    """Raises Violation where a result is none of the right answers."""
    expected, bound = found.nominal
    judged(got, found.ratio(got), expected, bound, text)


def every_answer(
    operator: str, arguments: Mapping[str, Any], dtype: str, *, exact: bool = False
) -> Answers:
    """What a right kernel of an operator of one map may give; `exact` where nothing is rounded."""
    if operator == resized.NAME:
        return resized.answers(arguments, dtype, exact=exact)
    return answers(operator, arguments, dtype, exact=exact)


def gradient_bound(
    operator: str, wide: Mapping[str, Any], g: Tensor, expected: Tensor, dtype: str
) -> Tensor:
    """The bound of each element of the features' gradient of an operator of one map."""
    if operator == resized.NAME:
        return resized.gradient_bound(wide, g, expected, dtype)
    return bounds.of_gradient(operator, wide, g, expected, dtype)


@dataclass(frozen=True)
class Settled:
    """What a law compares: a result, its bound, and the RoIs with one right answer."""

    got: Tensor
    bound: Tensor
    clear: Tensor


def settled(call: Call, arguments: Mapping[str, Any], dtype: str, operator: str) -> Settled:
    """The kernel's result with what is needed to compare it with another of its own.

    A law holds of RoIs near a jump only up to that jump: they are left out of it.
    """
    found = every_answer(operator, arguments, dtype)
    return Settled(result(call, arguments), found.nominal[1], ~found.near)
