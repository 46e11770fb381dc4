"""Checks of the RoI operators that compare with the definition: values, branches, odd RoIs."""

from collections.abc import Callable

from kernels.conformance.admissible import answers
from kernels.conformance.call import Call, rounded
from kernels.conformance.case import Case
from kernels.conformance.check import Check, Wrong
from kernels.conformance.checks.verdict import result, right
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import roi_exact
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.zoo import faults

OPERATORS = ("roi_align", "roi_pool", "roi_warp")


def values(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Any of the right answers, within the bound."""
    arguments = rounded(case.arguments(), dtype)
    found = answers(kernel.operator, arguments, dtype, exact=False)
    right(result(call, arguments), found, "differs from the definition")


def branches(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The one right answer, where no coordinate is rounded.

    A rounded box has sides of any number of pixels, and adaptive samples stand at thirds and fifths
    of one: there rounding decides at the border, and either answer is right.
    """
    arguments = rounded(case.arguments(), dtype)
    exact = kernel.operator != "roi_warp" or arguments["sampling_ratio"] > 0
    found = answers(kernel.operator, arguments, dtype, exact=exact)
    right(result(call, arguments), found, "took another branch than the definition")


def _each(make: Callable[[str], Check]) -> tuple[Check, ...]:
    return tuple(make(operator) for operator in OPERATORS)


def _wrong(operator: str, *names: str) -> dict[str, Wrong]:
    return {name: faults.of(operator, name) for name in names}


def _values(operator: str) -> Check:
    nearest = "nearest pixel" if operator == "roi_align" else "floor"
    return Check(
        name="values",
        rule="Every bin is the mean or maximum of its samples (roi_align, roi_warp) or pixels"
        " (roi_pool), as the operator's specification defines them.",
        operators=(operator,),
        cases=lambda kernel, dtype: drawn.cases(kernel),
        run=values,
        wrong=_wrong(operator, "zeros", "half a pixel off", nearest, "first image only"),
        exact=roi_exact.values(operator),
        covers=drawn.coverage,
    )


BRANCH = {
    "roi_align": "The number of adaptive samples is ceil(side / bins); a sample more than one"
    " pixel outside the centres reads 0, one exactly there the border pixel.",
    "roi_pool": "Corners are rounded, halves away from zero; bins cover pixels floor(i side / n)"
    " to ceil((i + 1) side / n) - 1.",
    "roi_warp": "Corners are rounded, halves away from zero, before anything is sampled.",
}


def _branches(operator: str) -> Check:
    jump = {"roi_align": "one sample", "roi_pool": "half to even", "roi_warp": "half to even"}
    return Check(
        name="branches",
        rule=BRANCH[operator],
        operators=(operator,),
        cases=lambda kernel, dtype: drawn.cases(kernel, exact=True, kinds=("steps", "noise")),
        run=branches,
        wrong=_wrong(operator, jump[operator], "far side one less"),
        exact=roi_exact.branches(operator),
    )


CHECKS: tuple[Check, ...] = (*_each(_values), *_each(_branches))
