"""The checks of RoI operators: each broken kernel falls to its check, no sound one is accused."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FlakyFailure

from kernels.conformance.call import Violation, direct
from kernels.conformance.case import Case
from kernels.conformance.checks import deep
from kernels.conformance.checks.rois import CHECKS
from kernels.conformance.declaration import Kernel
from kernels.conformance.origin import specimen
from kernels.conformance.own import own
from kernels.conformance.strategies import roi_exact
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.worker import Isolated
from kernels.conformance.zoo import (
    crop_and_resize,
    multilevel,
    roi_align,
    roi_pool,
    roi_warp,
    rois,
    sound_rois,
)

# The run-time type checker looks at items of lists at random, in strategies too.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module")
HERE = {
    (operator, check.name): check
    for check in CHECKS
    for operator in check.operators
    if check.name != deep.NAME
}
ZOO = (rois, roi_align, roi_pool, roi_warp, multilevel, crop_and_resize)
BROKEN = [one for module in ZOO for one in module.BROKEN]
SOUND = (*sound_rois.SOUND, *multilevel.SOUND, *crop_and_resize.SOUND)
CALLED = [b for b in BROKEN if not b.crashes and (b.kernel.operator, b.killed_by) in HERE]


def violation(check, kernel, dtypes, n):
    """The first violation of the exact cases, then of n drawn ones, in these dtypes; or None."""
    call = direct(kernel.function, kernel.grads, kernel.takes)
    for dtype in dtypes:
        try:
            for case in check.exact:
                if kernel.allows(case.options):
                    check.run(call, case, dtype, kernel)
            drawn_by(check, kernel, dtype, n)(
                lambda case, d=dtype: check.run(call, case, d, kernel)
            )
        except (Violation, FlakyFailure) as found:
            return found
    return None


def drawn_by(check, kernel, dtype, n):
    """Runs a function on n drawn cases, the same every time."""

    def on_each(run):
        @settings(
            max_examples=n,
            database=None,
            derandomize=True,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=check.cases(kernel, dtype))
        def law(case):
            run(case)

        law()

    return on_each


def named(kernel):
    return f"{kernel.operator}-{kernel.name}"


@pytest.mark.parametrize("broken", CALLED, ids=lambda b: named(b.kernel))
def test_broken_kernel_falls_to_its_check(broken):
    check = HERE[broken.kernel.operator, broken.killed_by]
    found = violation(check, broken.kernel, broken.kernel.dtypes, 20)
    assert (found is None) == (broken.equivalent is not None), found


def test_the_zoo_is_large_and_its_names_are_its_own():
    names = [named(b.kernel) for b in BROKEN]
    assert len(set(names)) == len(names)
    assert len([b for b in BROKEN if b.equivalent is None]) >= 100
    assert len(SOUND) >= 8


@pytest.mark.parametrize("kernel", SOUND, ids=named)
def test_sound_kernel_is_not_accused(kernel):
    known = {k.check for k in kernel.known}
    for (operator, name), check in HERE.items():
        if operator == kernel.operator and name not in known and check.skipped(kernel) is None:
            found = violation(check, kernel, kernel.dtypes[:1], 2)
            assert found is None, (name, found)


@pytest.mark.parametrize("operator", sorted({operator for operator, _ in HERE}))
def test_reference_obeys_the_laws(operator):
    """Most of them share no code with it."""
    kernel = next(k for k in own() if k.operator == operator and k.lane == "reference")
    for (of, name), check in HERE.items():
        if of == operator and check.skipped(kernel) is None:
            found = violation(check, kernel, ("float64",), 4)
            assert found is None, (name, found)


def test_options_of_a_pyramid_are_drawn_together():
    """So that a kernel's combinations are left out, and the rest of each option is not."""
    without = {"reduce": "max", "sampling_ratio": 0}
    kernel = Kernel(
        operator="multilevel_roi_align",
        name="sparing",
        function=multilevel.one_by_one,
        excludes=(without,),
    )
    seen = []
    drawn_by(HERE["multilevel_roi_align", "values"], kernel, "float32", 60)(seen.append)
    assert all(kernel.allows(case.options) for case in seen)
    for name, value in without.items():
        assert any(case.options[name] == value for case in seen)


def test_second_derivatives_are_judged_across_a_process_border():
    check = HERE["roi_align", "double backward"]
    lost = next(b.kernel for b in BROKEN if b.kernel.name == "second-gradient-lost")
    with Isolated(specimen("rois", lost.name)) as call:
        case = drawn_by(check, lost, "float32", 1)
        with pytest.raises(Violation, match="wrong and does not raise"):
            case(lambda one: check.run(call, one, "float32", lost))


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
