"""The engine: what fails is shrunk and can be repeated; a check that cannot fail is no check."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st

import kernels
from kernels.conformance.call import Violation, direct, rounded
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.declaration import Kernel, Known, declared_in
from kernels.conformance.engine import check_kernel, run
from kernels.conformance.repro import explained, replayed
from kernels.conformance.worker import Isolated

ROOT = Path(__file__).resolve().parents[2]
IOU = kernels.operators()["box_iou"]


def iou_case(values):
    boxes = [[0, 0, v, v] for v in values]
    a = {"values": boxes, "shape": [len(boxes), 4]}
    return Case(operator="box_iou", tensors={"a": a, "b": {"values": [[0, 0, 2, 2]]}})


def compared(call, case, dtype, kernel):
    arguments = rounded(case.arguments(), dtype)
    found = call(arguments).result
    if not torch.allclose(found, IOU.reference(**arguments)):
        raise Violation("another value", {"at": 0})


CHECK = Check(
    name="like the reference",
    rule="IoU is intersection over union.",
    operators=("box_iou",),
    cases=lambda kernel, dtype: st.lists(st.integers(1, 50), max_size=6).map(iou_case),
    run=compared,
    wrong={"zeros": lambda a, b: torch.zeros(len(a), len(b))},
)


def tried(function, check=CHECK, **about):
    kernel = Kernel(operator="box_iou", name="tried", function=function, **about)
    return run(check, kernel, "float32", direct(function, (), kernel.takes), "ci")


def test_a_right_kernel_passes():
    outcome = tried(IOU.reference)
    assert outcome.verdict == "passed"
    assert outcome.cases > 5


def test_a_wrong_kernel_fails_with_the_smallest_case():
    """Wrong for boxes of 10 and more: the smallest is one box of 10."""
    outcome = tried(lambda a, b: IOU.reference(a, b) + (a[:, 2:3] >= 10))
    assert outcome.verdict == "failed"
    assert outcome.case == iou_case([10])
    assert outcome.worst == {"at": 0}
    assert "IoU is intersection over union" in explained(outcome, None)


def test_a_wrong_shape_is_a_failure_of_any_check():
    outcome = tried(lambda a, b: IOU.reference(b, a))
    assert outcome.verdict == "failed"
    assert "returned (1," in outcome.reason


def test_a_check_that_sees_nothing_has_no_power():
    """On boxes that never overlap zeros are right, so that the check proves nothing."""
    apart = replace(CHECK, cases=lambda kernel, dtype: st.just(iou_case([])))
    outcome = tried(IOU.reference, apart)
    assert outcome.verdict == "no power"
    assert outcome.bad
    assert "zeros" in outcome.reason


def test_known_failures_are_strict():
    known = (Known("like the reference", "see issue 12"),)
    assert tried(lambda a, b: IOU.reference(a, b) * 2, known=known).verdict == "known"
    outcome = tried(IOU.reference, known=known)
    assert outcome.verdict == "passes though known"
    assert outcome.bad


def test_a_kernel_that_errs_now_and_then_is_caught():
    calls = [0]

    def moody(a, b):
        calls[0] += 1
        return IOU.reference(a, b) + (calls[0] % 7 == 0)

    assert tried(moody).verdict == "failed"


def test_the_ci_profile_draws_the_same_cases_each_time():
    seen = []
    for _ in range(2):
        seen.append([])

        def noted(a, b, here=seen[-1]):
            here.append(a.tolist())
            return IOU.reference(a, b)

        tried(noted)
    assert seen[0] == seen[1]


def test_cases_travel_as_text():
    case = iou_case([3, 4])
    assert Case.from_token(case.token) == case
    with pytest.raises(ValueError, match="is no case"):
        Case.from_token(case.token[:-5])


THEIRS = """
import os, signal
import torch
from kernels.conformance import Known, kernel

@kernel("box_iou", name="plus-one", dtypes=["float32"])
def plus_one(a, b):
    one = torch.tensor([0, 0, 1.0, 1.0])
    return torch.ops.mrcnn_lab.box_iou(a + one, b + one, "reference")

@kernel("box_iou", name="fragile")
def fragile(a, b):
    if len(a) > 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return torch.ops.mrcnn_lab.box_iou(a, b, "reference")
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    file = tmp_path_factory.mktemp("kernels") / "theirs.py"
    file.write_text(THEIRS)
    return file


def test_a_printed_failure_can_be_repeated(theirs):
    plus_one = declared_in(theirs)[0]
    (outcome,) = check_kernel(plus_one, names=["values"])
    assert outcome.verdict == "failed"
    line = re.search(r"repro (\S+)", explained(outcome, theirs))[1]
    again = replayed(line.strip("'"), theirs)
    assert again.verdict == "failed"
    assert again.reason == outcome.reason


def test_what_crashes_is_shrunk_across_its_crashes(theirs, tmp_path):
    """It crashes on two boxes or more: two is the smallest. The case was on disk before each."""
    fragile = declared_in(theirs)[1]
    log = tmp_path / "last-case"
    lists = st.lists(st.just(2), min_size=1, max_size=3)  # each crash costs the start of a process
    small = replace(CHECK, examples=0.4, cases=lambda *_: lists.map(iou_case))
    with Isolated(fragile) as call:
        outcome = run(small, fragile, "float32", call, "ci", log)
    assert outcome.verdict == "failed"
    assert outcome.reason == "crashed: killed by SIGSEGV"
    assert len(outcome.case.tensors["a"]["values"]) == 2
    name, token = log.read_text().strip().split("@")
    assert name == "box_iou/fragile/float32/like the reference"
    assert Case.from_token(token).operator == "box_iou"


def pytest_run(folder, *arguments):
    """pytest in a process of its own, as one has it who installed the plugin."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def pytest_here(tmp_path, monkeypatch, capsys):
    """pytest in this process, which has loaded PyTorch: run(...) gives its exit code and output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = pytest.main(["-p", "no:cacheprovider", "-p", "no:jaxtyping", *map(str, arguments)])
        return code, capsys.readouterr().out

    return run


def test_the_plugin_collects_nothing_until_kernels_are_named(pytest_here):
    code, said = pytest_here()
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, said
    assert "collected 0 items" in said


def test_the_plugin_makes_an_item_of_each_check_and_prints_how_to_repeat_it(theirs, tmp_path):
    """Of kernels that the configuration names; test_lanes.py names some by --kernels."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nkernels = {theirs}\n")
    done = pytest_run(tmp_path, "-k", "plus-one and (values or symmetry)", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "box_iou/plus-one/float32/values FAILED" in done.stdout
    assert "box_iou/plus-one/float32/symmetry PASSED" in done.stdout
    assert "python -m kernels repro" in done.stdout
    assert "rule:" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_file_that_declares_nothing_is_named(pytest_here, tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    code, said = pytest_here("--kernels", "empty.py")
    assert code != 0
    assert "declares no kernel" in said
