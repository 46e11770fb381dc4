"""The checks of box and mask operators kill what is broken and accuse nothing that is right."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from kernels.conformance.call import Violation, direct
from kernels.conformance.certificate import certify, iou_error
from kernels.conformance.checks import boxes, masks, nms
from kernels.conformance.strategies import boxes as draws
from kernels.conformance.zoo import boxes as broken_boxes
from kernels.conformance.zoo import crops as broken_crops
from kernels.conformance.zoo import masks as broken_masks
from kernels.conformance.zoo import nms as broken_nms
from kernels.conformance.zoo import sound_boxes
from kernels.nms.reference import nms as right_nms

# The run-time type checker looks at items of lists at random, in strategies too.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module")

CHECKS = {(c.operators[0], c.name): c for c in (*boxes.CHECKS, *nms.CHECKS, *masks.CHECKS)}
MODULES = (broken_boxes, broken_nms, broken_masks, broken_crops)
BROKEN = [b for module in MODULES for b in module.BROKEN if not b.crashes]
"""Crashes need a process of their own; the engine's tests have it."""
GENERAL = {"inputs", "stale"}
"""Checks that every operator has; tested with the engine."""
DRAWN = {}
KILLED = [b for b in BROKEN if b.killed_by not in GENERAL]


def drawn(strategy, count):
    """Cases, the same ones each time."""
    found = []

    @settings(
        max_examples=max(count, 2),
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(case):
        found.append(case)

    collect()
    return found


def cases(check, kernel, dtype, count=24):
    """Those of a check. Drawn once for all kernels that are made for the same."""
    key = (check.operators, check.name, dtype, count, kernel.takes, kernel.nonfinite)
    key = (*key, tuple(sorted(kernel.domain.items())))
    if key not in DRAWN:
        exact = [case for case in check.exact if kernel.allows(case.options)]
        DRAWN[key] = exact + drawn(check.cases(kernel, dtype), round(count * check.examples))
    return DRAWN[key]


def called(kernel):
    return direct(kernel.function, kernel.grads, kernel.takes)


def named(value):
    return f"{value.kernel.operator}: {value.kernel.name}"


@pytest.mark.parametrize("broken", KILLED, ids=named)
def test_broken_kernel_is_killed_by_its_check(broken):
    kernel, check = broken.kernel, CHECKS[broken.kernel.operator, broken.killed_by]
    assert check.skipped(kernel) is None
    dtype = kernel.dtypes[0]
    tried = cases(check, kernel, dtype)
    assert any(fails(check, called(kernel), case, dtype, kernel) for case in tried)


@pytest.mark.parametrize("check", CHECKS, ids=": ".join)
def test_no_sound_kernel_is_accused(check):
    operator, _ = check
    check = CHECKS[check]
    ran = 0
    for kernel in sound_boxes.SOUND:
        if kernel.operator != operator or check.skipped(kernel) is not None:
            continue
        dtypes = kernel.dtypes if operator == "box_iou" else ("float64", "bfloat16")
        for dtype in dtypes:  # boxes of nms are float32 in all but the first
            for case in cases(check, kernel, dtype, 8):
                check.run(called(kernel), case, dtype, kernel)
                ran += 1
    assert ran


@pytest.mark.parametrize("name", CHECKS, ids=": ".join)
def test_each_check_sees_its_planted_errors(name):
    """In the dtype whose bounds are widest."""
    check, dtype = CHECKS[name], "bfloat16"
    kernel = next(
        k for k in sound_boxes.SOUND if k.operator == name[0] and check.skipped(k) is None
    )
    tried = cases(check, kernel, dtype)
    assert check.wrong or name[1] == "nonfinite"
    for what, wrong in check.wrong.items():
        assert any(
            fails(check, direct(wrong, kernel.grads), case, dtype, kernel) for case in tried
        ), what


def fails(check, call, case, dtype, kernel):
    try:
        check.run(call, case, dtype, kernel)
    except Violation:
        return True
    return False


def test_zoo_is_large_and_its_names_are_told_apart():
    names = [named(b) for b in BROKEN]
    assert len(set(names)) == len(names) >= 28
    assert len(sound_boxes.SOUND) >= 6


def test_boxes_give_nms_work():
    """In the middle case of many a third of the boxes goes."""
    shares = []
    for found in drawn(draws.boxes(10, 40), 60):
        kept = right_nms(torch.tensor(found).double(), torch.rand(len(found)), 0.4)
        shares.append(1 - len(kept) / len(found))
    assert sorted(shares)[len(shares) // 2] > 1 / 3


def test_cases_survive_their_token():
    for check in CHECKS.values():
        kernel = next(k for k in sound_boxes.SOUND if k.operator == check.operators[0])
        if check.skipped(kernel) is None and check.name != "nonfinite":
            case = cases(check, kernel, "float32", 2)[-1]
            assert case.from_token(case.token) == case


def test_certificate_takes_both_answers_at_a_tie_and_no_third():
    pair = torch.tensor([[0.0, 0, 3, 1], [1, 0, 4, 1]])  # IoU 1/2
    scores = torch.tensor([0.9, 0.8])
    for kept in ([0], [0, 1]):
        certify(torch.tensor(kept), pair, scores, 0.5)
    for kept in ([], [1], [1, 0], [0, 0], [0, 2]):
        with pytest.raises(Violation):
            certify(torch.tensor(kept, dtype=torch.long), pair, scores, 0.5)


def test_error_of_an_iou_grows_with_the_distance_from_the_origin():
    box = torch.tensor([[0.0, 0, 10, 10]])
    near, far = (iou_error(box + by, box + by + 1, torch.float32) for by in (0, 4000))
    assert 0 < near < 1e-5 < far < 1e-3
