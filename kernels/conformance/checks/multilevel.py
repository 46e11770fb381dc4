"""The rules of multilevel_roi_align: RoIAlign on the map of each level, in the order of RoIs."""

from collections.abc import Mapping
from typing import Any

import torch

from kernels.conformance import bounds
from kernels.conformance.admissible import Answers, answers
from kernels.conformance.call import Call, Violation, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks import gradients, roi_edges, roi_laws, roi_values
from kernels.conformance.checks.gradients import no_grads, slopes, tied
from kernels.conformance.checks.making import Maker
from kernels.conformance.checks.one_level import on_one_level
from kernels.conformance.checks.verdict import right, same, shaped
from kernels.conformance.declaration import Kernel
from kernels.conformance.second import towards
from kernels.conformance.strategies import levels as drawn
from kernels.conformance.zoo import multilevel as zoo

SHARED = ("output_size", "sampling_ratio", "aligned", "reduce")


def of_level(arguments: Mapping[str, Any], level: int) -> tuple[dict[str, Any], torch.Tensor]:
    """The RoIAlign of one level, and which RoIs it is of."""
    which = (arguments["levels"] == level).nonzero()[:, 0]
    single = {
        "features": arguments["features"][level],
        "rois": arguments["rois"][which],
        "spatial_scale": arguments["spatial_scales"][level],
        **{name: arguments[name] for name in SHARED},
    }
    return single, which


def shape_of(arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape that a result must have."""
    channels = arguments["features"][0].shape[1]
    return (len(arguments["rois"]), channels, *arguments["output_size"])


def answers_of_all(arguments: Mapping[str, Any], dtype: str) -> Answers:
    """The right answers of all levels, those of the RoIs as given first and in order."""
    shape = shape_of(arguments)
    expected, bound = torch.zeros(2, *shape, dtype=torch.float64)
    near = torch.zeros(shape[0], dtype=torch.bool)
    more: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for level in range(len(arguments["features"])):
        single, which = of_level(arguments, level)
        found = answers("roi_align", single, dtype, exact=False)
        k = len(which)
        expected[which], bound[which] = found.nominal
        near[which] = found.near
        more.append((found.expected[k:], found.bound[k:], which[found.owner[k:]]))
    return Answers(
        torch.cat([expected, *(m[0] for m in more)]),
        torch.cat([bound, *(m[1] for m in more)]),
        torch.cat([torch.arange(shape[0]), *(m[2] for m in more)]),
        near,
    )


def values(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Any of the right answers of each level, within the bound."""
    arguments = rounded(case.arguments(), dtype)
    got = shaped(call(arguments).result, shape_of(arguments)).double()
    right(got, answers_of_all(arguments, dtype), "differs from RoIAlign on the RoI's own level")


def permutation(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """RoIs and levels in another order give the same results in that order."""
    arguments = rounded(case.arguments(), dtype)
    bound = 2 * answers_of_all(arguments, dtype).nominal[1]
    turned = {n: arguments[n].flip(0) for n in ("rois", "levels")}
    got, other = call(arguments).result, call({**arguments, **turned}).result
    shaped(got, shape_of(arguments))
    shaped(other, shape_of(arguments))
    same(other.flip(0), got, bound, "RoIs in another order give other results")


def levels(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The pyramid upside down, then each of its maps alone."""
    arguments = rounded(case.arguments(), dtype)
    bound = 2 * answers_of_all(arguments, dtype).nominal[1]
    got = shaped(call(arguments).result, shape_of(arguments))
    count = len(arguments["features"])
    turned = {n: arguments[n][::-1] for n in ("features", "spatial_scales")}
    turned["levels"] = count - 1 - arguments["levels"]
    other = shaped(call({**arguments, **turned}).result, shape_of(arguments))
    same(other, got, bound, "maps, scales and levels in another order give another result")
    for level in arguments["levels"].unique().tolist():
        which = (arguments["levels"] == level).nonzero()[:, 0]
        alone = {n: [arguments[n][level]] for n in ("features", "spatial_scales")}
        rois = {"rois": arguments["rois"][which], "levels": torch.zeros_like(which)}
        other = shaped(call({**arguments, **alone, **rois}).result, (len(which), *got.shape[1:]))
        same(other, got[which], bound[which], "a map alone gives another result than among others")


def empty(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """An empty result of the right shape."""
    arguments = rounded(case.arguments(), dtype)
    shaped(call(arguments).result, shape_of(arguments))


def gradient(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Of each map that of RoIAlign with its RoIs; zeros where there are none; slopes in float64."""
    arguments = rounded(case.arguments(), dtype)
    wide, found = widened(arguments), answers_of_all(arguments, dtype)
    grad = towards(found.nominal[0], arguments["features"][0].dtype)
    grad[found.near] = 0
    count = range(len(arguments["features"]))
    for level in count:
        single, which = of_level(wide, level)
        grad[which] = grad[which].masked_fill(tied("roi_align", single), 0.0)
    answer = call(arguments, grad=grad)
    shaped(answer.result, shape_of(arguments))
    every = []
    for level in count:
        single, which = of_level(wide, level)
        g = grad[which].double()
        expected = bounds.pulled("roi_align", single, g)
        got = answer.grads.get(f"features[{level}]")
        if got is None:
            raise Violation(f"gives no gradient of level {level}, though it is declared to")
        bound = bounds.of_gradient("roi_align", single, g, expected, dtype)
        text = f"the gradient of level {level} differs from that of the definition"
        same(shaped(got, tuple(expected.shape)), expected, bound, text)
        every.append(got)
    if dtype == "float64":
        slopes(call, arguments, grad, every, found.nominal[1])


_check = Maker(drawn.NAME, drawn.cases)
OF_ALL: tuple[Check, ...] = (
    _check(
        "values",
        "Row i is RoIAlign of RoI i on the map of its level, at that map's scale.",
        values,
        *(zoo.zeros, zoo.last_level_always, zoo.first_scale_always),
        exact=drawn.exact(),
    ),
    _check(
        "permutation",
        "Results are in the order of the RoIs, whatever their levels.",
        permutation,
        zoo.in_order_of_levels,
        draw={"least": 3},
        exact=drawn.exact()[:1],
    ),
    _check(
        "levels",
        "A level is a place in the list of maps and no more: its RoIs get the same of any list.",
        levels,
        *(zoo.last_level_always, zoo.first_scale_always, zoo.weighted_by_level),
        draw={"least": 3},
        exact=drawn.exact()[:1],
        examples=0.5,
    ),
    _check(
        "empty",
        "No RoIs give an empty result.",
        empty,
        zoo.needs_a_roi,
        draw={"least": 0, "most": 0},
        examples=0.3,
    ),
    _check(
        "gradient",
        "Every map gets the gradient of its own RoIs; one that no RoI is read from gets zeros.",
        gradient,
        *(zoo.first_map_without_gradient, zoo.doubled_gradient),
        draw={"kinds": ("noise",)},
        skipped=no_grads,
    ),
)
CHECKS: tuple[Check, ...] = (
    *OF_ALL,
    *(
        on_one_level(check)
        for check in (*roi_values.CHECKS, *roi_laws.CHECKS, *roi_edges.CHECKS, *gradients.CHECKS)
        if "roi_align" in check.operators and check.name not in {own.name for own in OF_ALL}
    ),
)
