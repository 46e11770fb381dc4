"""Checks of the gradients of RoI operators: the transpose, the definition's, and the second."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kernels.conformance import bounds
from kernels.conformance.admissible import members
from kernels.conformance.call import Call, Violation, each_of, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks.verdict import every_answer, gradient_bound, same
from kernels.conformance.declaration import Kernel
from kernels.conformance.second import second, towards
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.zoo import faults
from kernels.op import operators
from kernels.roi_align.reference import sample_weights
from kernels.roi_warp.reference import rounded_boxes

LINEAR = {"reduce": ("mean",)}
MARGIN = 1e-3
"""A maximum is taken as the only one if the next is this much lower, as a share of the values."""


def adjoint(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """<op(f), g> = <f, gradient of g>."""
    arguments = rounded(case.arguments(), dtype)
    wide = widened(arguments)
    expected, bound = every_answer(kernel.operator, arguments, dtype).nominal
    grad = towards(expected, arguments["features"].dtype)
    out, got = _both(call, arguments, grad)
    g = grad.double()
    pulled = bounds.pulled(kernel.operator, wide, g)
    slack = gradient_bound(kernel.operator, wide, g, pulled, dtype)
    forward, backward = (out * g).sum(), (got * wide["features"]).sum()
    limit = (bound * g.abs()).sum() + (slack * wide["features"].abs()).sum()
    text = "the gradient is not the transpose of the forward pass"
    same(backward[None], forward[None], limit[None], text)


def _both(call: Call, arguments: Mapping[str, Any], grad: Tensor) -> tuple[Tensor, Tensor]:
    """Result and gradient in float64. Raises Violation for a gradient there is not."""
    answer = call(arguments, grad=grad)
    out, got = answer.result, answer.grads.get("features")
    if got is None:
        raise Violation("gives no gradient, though it is declared to")
    if got.shape != arguments["features"].shape:
        raise Violation(f"gives a gradient of shape {tuple(got.shape)}")
    return out.double(), got.double()


def gradient(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """That of the definition, of all bins whose maximum is one place; then slopes in float64."""
    arguments = rounded(case.arguments(), dtype)
    wide = widened(arguments)
    found = every_answer(kernel.operator, arguments, dtype)
    grad = towards(found.nominal[0], arguments["features"].dtype)
    unclear = found.near[:, None, None, None] | tied(kernel.operator, wide)
    grad = grad.masked_fill(unclear, 0.0)
    _, got = _both(call, arguments, grad)
    expected = bounds.pulled(kernel.operator, wide, grad.double())
    bound = gradient_bound(kernel.operator, wide, grad.double(), expected, dtype)
    same(got, expected, bound, "the gradient differs from that of the definition")
    if dtype == "float64":
        slopes(call, arguments, grad, [got], found.nominal[1])
    if kernel.operator == "roi_pool":
        _ties(call, arguments, found.near)


def slopes(
    call: Call, arguments: Mapping[str, Any], grad: Tensor, got: Sequence[Tensor], bound: Tensor
) -> None:
    """The kernel's own forward pass, a small step of all maps to either side."""
    step = 2.0**-18

    def moved(by: float) -> Tensor:
        def each(maps: Tensor) -> Tensor:
            return maps + by * towards(maps, torch.float64)

        return call({**arguments, "features": each_of(each, arguments["features"])}).result

    slope = (grad * (moved(step) - moved(-step))).sum() / (2 * step)
    along = torch.stack([(g * towards(g, torch.float64)).sum() for g in got]).sum()
    limit = (grad.abs() * bound).sum() / step + 1e-9
    same(along[None], slope[None], limit[None], "the gradient is not the slope of the forward pass")


def _ties(call: Call, arguments: Mapping[str, Any], near: Tensor) -> None:
    """Of one bin, whose maxima are made many: one unit of gradient, on these alone."""
    coarse = {**arguments, "features": arguments["features"].round()}
    shape = (len(near), coarse["features"].shape[1], *arguments["output_size"])
    for row in (~near).nonzero()[:2, 0].tolist():
        grad = torch.zeros(shape, dtype=arguments["features"].dtype)
        grad[row, 0, shape[2] // 2, shape[3] // 2] = 1
        _, got = _both(call, coarse, grad)
        expected = bounds.pulled("roi_pool", widened(coarse), grad.double())
        lost = (got * (expected == 0)).abs().sum() + got.clamp(max=0).abs().sum()
        if float(lost) > 0:
            raise Violation("a bin's gradient goes to a pixel that is not its maximum")
        total = expected.sum()[None]
        same(got.sum()[None], total, 0.01 * total, "a bin's gradient is not passed on whole")


def tied(operator: str, wide: Mapping[str, Any]) -> Tensor:
    """Bins (k, c, p, q) whose maximum is, or nearly is, in more than one place; none of a mean."""
    largest = MARGIN * max(1.0, float(wide["features"].abs().max()))
    if operator == "roi_pool":
        rows, columns = members(wide)
        maps = wide["features"][wide["rois"][:, 0].long()][:, :, None, None]
        where = (rows[:, :, None, :, None] & columns[:, None, :, None, :])[:, None]
        best = maps.masked_fill(~where, -torch.inf).flatten(4).sort(4, descending=True).values
        if best.shape[4] == 1:
            return torch.zeros_like(best[..., 0], dtype=torch.bool)
        return best[..., 0] - best[..., 1] < largest
    if wide.get("reduce", "mean") == "mean" or wide.get("sampling") == "mnc":
        return torch.zeros(len(wide["rois"]), 1, 1, 1, dtype=torch.bool)
    samples = _samples(operator, wide)
    if not samples.shape[4]:
        return torch.zeros_like(samples.sum(4), dtype=torch.bool)
    best = samples.amax(4, keepdim=True)
    other = samples.masked_fill(samples == best, -torch.inf).amax(4)  # equal ones read the same
    return best[..., 0] - other < largest


def _samples(operator: str, wide: Mapping[str, Any]) -> Tensor:
    """The samples of each bin (k, c, p, q, i); those of no use are lower than all others."""
    rois, scale = wide["rois"], wide["spatial_scale"]
    if operator == "roi_warp":
        rois, scale = rounded_boxes(rois, scale, wide["box"]), 1.0
    features = wide["features"]
    ratio, aligned = wide["sampling_ratio"], wide.get("aligned", True)
    wy, wx, (y, x) = sample_weights(features, rois, wide["output_size"], scale, ratio, aligned)
    maps = features[rois[:, 0].long()]
    every = torch.einsum("kpih,kchw,kqjw->kcpqij", wy, maps, wx)
    used = (y[:, :, None] & x[:, None, :])[:, None, None, None]
    return every.masked_fill(~used, -1e30).flatten(4)


def double_backward(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The gradient of <gradient of g, v> is the operator of v, with the choices made for f.

    Without a second derivative asking for it raises; it may not be lost without a word.
    """
    arguments = rounded(case.arguments(), dtype)
    wide, features = widened(arguments), arguments["features"]
    found = every_answer(kernel.operator, arguments, dtype)
    answer = call(arguments, grad=towards(found.nominal[0], features.dtype), mode="double")
    is_linear = linear(kernel.operator, wide)
    if answer.out is None:
        if kernel.double_backward and is_linear:
            raise Violation(f"no gradient of a gradient: {answer.error}")
        return
    clear = ~(found.near[:, None, None, None] | tied(kernel.operator, wide)).expand_as(answer.out)
    there = {**arguments, "features": towards(features, features.dtype)}
    expected, bound = every_answer(kernel.operator, there, dtype).nominal
    if not is_linear:
        reference, anything = operators()[kernel.operator].reference, torch.ones_like(expected)
        expected = second(reference, wide, ("features",), anything, features.dtype).detach()
    text = "the gradient of the gradient is wrong and does not raise"
    same(answer.out.double()[clear], expected[clear], 2 * bound[clear], text)


def linear(operator: str, wide: Mapping[str, Any]) -> bool:
    """Whether the operator is linear in the features with these options."""
    op = operators()[operator]
    return bool(op.linear(**{n: wide[n] for n in op.definition.names}))


def no_grads(kernel: Kernel) -> str | None:
    """Why a check of gradients does not apply."""
    return None if kernel.grads else "no gradients are declared"


def _no_mean(kernel: Kernel) -> str | None:
    if drawn.lacks(kernel, "reduce", "mean"):
        return "it is not made for the mean, of which this law is"
    return no_grads(kernel)


def _checks(operator: str) -> tuple[Check, ...]:
    def wrong(*names: str) -> dict[str, Any]:
        return {name: faults.of(operator, name) for name in names}

    by_definition = Check(
        name="gradient",
        rule="The gradient reaches the features that a bin reads, by the weight it reads them with;"
        " of a maximum, the one sample or pixel that it is.",
        operators=(operator,),
        cases=lambda kernel, dtype: drawn.cases(kernel, kinds=("noise",)),
        run=gradient,
        skipped=no_grads,
        wrong=wrong("gradient doubled", "no gradient", "gradient of the next image"),
    )
    again = Check(
        name="double backward",
        rule="A gradient has a gradient where that is declared; elsewhere asking for it raises.",
        operators=(operator,),
        cases=lambda kernel, dtype: drawn.cases(kernel, kinds=("noise",), only=LINEAR),
        run=double_backward,
        skipped=no_grads,
        wrong=wrong("second gradient doubled", "second gradient lost"),
        examples=0.5,
    )
    if operator == "roi_pool":
        return by_definition, again
    transpose = Check(
        name="adjoint",
        rule="The backward pass of a linear map is its transpose.",
        operators=(operator,),
        cases=lambda kernel, dtype: drawn.cases(kernel, only=LINEAR),
        run=adjoint,
        skipped=_no_mean,
        wrong=wrong("gradient doubled", "gradient lost", "gradient of the next image"),
    )
    return transpose, by_definition, again


CHECKS: tuple[Check, ...] = tuple(
    check for operator in ("roi_align", "roi_pool", "roi_warp") for check in _checks(operator)
)
