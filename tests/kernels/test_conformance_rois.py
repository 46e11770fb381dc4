"""The checks of RoI operators: each broken kernel falls to its check, no sound one is accused."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from kernels.conformance.call import Violation, direct
from kernels.conformance.case import Case
from kernels.conformance.checks.rois import CHECKS
from kernels.conformance.strategies import roi_exact
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.zoo import roi_align, roi_pool, roi_warp, rois, sound_rois

# The run-time type checker looks at items of lists at random, in strategies too.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module")
HERE = {(operator, check.name): check for check in CHECKS for operator in check.operators}
BROKEN = [one for m in (rois, roi_align, roi_pool, roi_warp) for one in m.BROKEN]
CALLED = [b for b in BROKEN if not b.crashes and (b.kernel.operator, b.killed_by) in HERE]


def cases_of(check, kernel, dtype, n):
    """The exact cases of a check, then n that are drawn, the same every time."""
    found = [case for case in check.exact if kernel.allows(case.options)]

    @settings(
        max_examples=n,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=check.cases(kernel, dtype))
    def collect(case):
        found.append(case)

    collect()
    return found


def violation(check, kernel, n):
    """The first violation over all dtypes, or None."""
    call = direct(kernel.function, kernel.grads, kernel.takes)
    for dtype in kernel.dtypes:
        for case in cases_of(check, kernel, dtype, n):
            try:
                check.run(call, case, dtype, kernel)
            except Violation as found:
                return found
    return None


def named(kernel):
    return f"{kernel.operator}-{kernel.name}"


@pytest.mark.parametrize("broken", CALLED, ids=lambda b: named(b.kernel))
def test_broken_kernel_falls_to_its_check(broken):
    check = HERE[broken.kernel.operator, broken.killed_by]
    found = violation(check, broken.kernel, 25)
    assert (found is None) == (broken.equivalent is not None), found


def test_the_zoo_is_large_and_its_names_are_its_own():
    names = [named(b.kernel) for b in BROKEN]
    assert len(set(names)) == len(names)
    assert len([b for b in BROKEN if b.equivalent is None]) >= 100
    assert len(sound_rois.SOUND) >= 8


@pytest.mark.parametrize("kernel", sound_rois.SOUND, ids=named)
def test_sound_kernel_is_not_accused(kernel):
    known = {k.check for k in kernel.known}
    for (operator, name), check in HERE.items():
        if operator == kernel.operator and name not in known and check.skipped(kernel) is None:
            found = violation(check, kernel, 3)
            assert found is None, (name, found, found and found.more)


@pytest.mark.parametrize("operator", ["roi_align", "roi_pool", "roi_warp"])
def test_exact_cases_hold_every_ingredient(operator):
    covered = drawn.coverage(roi_exact.values(operator))
    assert set(covered) == set(drawn.INGREDIENTS)
    assert all(covered.values()), covered


@pytest.mark.parametrize("operator", ["roi_align", "roi_pool", "roi_warp"])
def test_cases_travel_as_tokens(operator):
    for case in roi_exact.values(operator):
        again = Case.from_token(case.token)
        assert torch.equal(again.arguments()["features"], case.arguments()["features"])
        assert again.options == case.options
