"""The rules of crop_and_resize: samples from corner to corner, and what lies outside."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.conformance import bounds
from kernels.conformance.admissible import ULPS, Answers, shaken
from kernels.conformance.call import Call, Violation, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks.gradients import towards
from kernels.conformance.checks.verdict import result, right, same
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import crop_and_resize as drawn
from kernels.conformance.zoo import crop_and_resize as zoo
from kernels.crop_and_resize.reference import crop_and_resize, sample_points


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
    h, w = wide["features"].shape[2:]
    sides = torch.tensor([w, h, w, h], dtype=torch.float64)
    return (wide["rois"][:, 1:] * (sides - 1)).abs().amax(1)


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


def values(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Any of the right answers, within the bound."""
    arguments = rounded(case.arguments(), dtype)
    found = answers(arguments, dtype, exact=False)
    right(result(call, arguments), found, "differs from the definition")


def branches(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The one right answer, where no coordinate is rounded."""
    arguments = rounded(case.arguments(), dtype)
    found = answers(arguments, dtype, exact=True)
    right(result(call, arguments), found, "took another side of the border than the definition")


def empty(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """An empty result of the right shape."""
    result(call, rounded(case.arguments(), dtype))


def zero_sized_map(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The extrapolation value everywhere."""
    recipe = case.tensors["features"]
    none = {"kind": "noise", "shape": [*recipe["shape"][:2], 0, recipe["shape"][3]]}
    made = replace(case, tensors={**case.tensors, "features": none})
    arguments = rounded(made.arguments(), dtype)
    got = result(call, arguments)
    value = torch.full_like(got, arguments["extrapolation_value"])
    same(got, value, torch.zeros_like(got), "a map without pixels is not the extrapolation value")


def gradient(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """That of the definition, within the bound of its transpose."""
    arguments = rounded(case.arguments(), dtype)
    wide, found = widened(arguments), answers(arguments, dtype, exact=False)
    grad = towards(found.nominal[0], arguments["features"].dtype)
    grad = grad.masked_fill(found.near[:, None, None, None], 0.0)
    got = call(arguments, grad=grad).grads.get("features")
    if got is None:
        raise Violation("gives no gradient, though it is declared to")
    g = grad.double()
    expected = bounds.pulled(drawn.NAME, wide, g)
    compute, storage, least = bounds.epsilons(dtype)
    received = bounds.pulled(drawn.NAME, wide, g.abs())
    moved = bounds.pulled(drawn.NAME, wide, g.abs() * bounds.per_roi(_reach(wide) + 1))
    spread = 9 * F.avg_pool2d(moved, 3, 1, 1)
    added = 1 + g[:, 0].numel() ** 0.5
    bound = bounds.K * compute * (received * added + 2 * spread) + storage * expected.abs() + least
    same(got, expected, bound, "the gradient differs from that of the definition")


def _check(
    name: str,
    rule: str,
    run: Callable[[Call, Case, str, Kernel], None],
    wrong: tuple[Any, ...],
    draw: Mapping[str, Any],
    **about: Any,
) -> Check:
    return Check(
        name=name,
        rule=rule,
        operators=(drawn.NAME,),
        cases=lambda kernel, dtype: drawn.cases(kernel, **draw),
        run=run,
        wrong={one.__name__.replace("_", " "): one for one in wrong},
        **about,
    )


def _no_grads(kernel: Kernel) -> str | None:
    return None if kernel.grads else "no gradients are declared"


CHECKS: tuple[Check, ...] = (
    _check(
        "values",
        "Samples run from corner to corner of the box, one per bin, read bilinearly; outside the"
        " map is the extrapolation value.",
        values,
        (zoo.zeros, zoo.half_a_bin_off, zoo.first_image_only),
        {},
        exact=drawn.exact(),
    ),
    _check(
        "branches",
        "A sample on the first or last pixel is inside, one beyond it by however little outside.",
        branches,
        (zoo.border_left_out, zoo.sides_sorted),
        {"exact": True},
        exact=drawn.branches(),
    ),
    _check(
        "empty",
        "No RoIs give an empty result.",
        empty,
        (zoo.needs_a_roi,),
        {"least": 0},
        examples=0.3,
    ),
    _check(
        "zero-sized map",
        "A map without pixels gives the extrapolation value.",
        zero_sized_map,
        (zoo.one_more,),
        {},
        examples=0.3,
    ),
    _check(
        "gradient",
        "The gradient reaches the pixels that a sample reads, by their weights.",
        gradient,
        (zoo.doubled_gradient, zoo.no_gradient),
        {"noise": True},
        skipped=_no_grads,
    ),
)
