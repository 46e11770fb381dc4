"""The gate from end to end on a toy repository: each way to fail has its exit code and its line."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gate import command as gate_command
from benchmarks.gate import verdict
from benchmarks.gate.rounds import BLOCKS, Calibration, Round, Slice
from benchmarks.gate.run import Found, Measuring, Plan, affordable, code, record, run
from benchmarks.gate.sides import Side, checked_out
from tests.benchmarks.toy import git, repository, suite, work

EQUAL = {"alpha": 5, "beta": 12, "gamma": 0.2}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return suite(tmp_path_factory.mktemp("measuring"))


def gated(root, toys, *, base="HEAD~1", head="HEAD", **more):
    """A gate run between two commits of a toy: its exit code, its lines and what it found."""
    found, said = Found(), []
    with checked_out(root, base=base, head=head, kernels="work.py") as sides:
        both = tuple(replace(side, code=toys) for side in sides.values())
        plan = Plan(sides=both, **{"most": 8, "patience_s": 20.0, **more})
        ended = run(plan, found, said.append)
    return ended, said + list(gate_command.lines(plan, found, ended)), found, plan


def changed(tmp_path, before, after):
    return repository(
        tmp_path / "toy", {"work.py": work(**before)}, {"work.py": work(**after), "new": "1"}
    )


def test_a_slowdown_is_exit_code_1_and_the_rest_is_the_same(tmp_path, toys):
    root = changed(tmp_path, EQUAL, EQUAL | {"beta": 13.2})
    ended, said, found, plan = gated(root, toys, most=16)
    words = {name: v.word for name, v in found.verdicts.items()}
    assert words == {"alpha": "SAME", "beta": "SLOWER", "gamma": "SAME"}
    assert ended == 1
    assert any(line.startswith("SLOWER    beta   1.") for line in said)
    assert said[-1] == "2 SAME, 1 SLOWER: exit code 1"
    kept = record(plan, found, ended)
    beta = next(row for row in kept["benchmarks"] if row["name"] == "beta")
    assert beta["low"] < 1.1 < beta["high"]
    assert beta["rounds"] == len(beta["values"])
    assert len(beta["samples"]) == 2 * BLOCKS * beta["rounds"]
    assert {s["side"] for s in beta["samples"]} == {"base", "head"}
    json.dumps(kept)


def test_a_comment_is_exit_code_0(tmp_path, toys):
    root = repository(
        tmp_path / "toy", {"work.py": work(**EQUAL)}, {"work.py": "# faster!\n" + work(**EQUAL)}
    )
    ended, said, *_ = gated(root, toys)
    assert ended == 0
    assert said[-1] == "3 SAME: exit code 0"


def test_a_gain_is_exit_code_0(tmp_path, toys):
    ended, said, *_ = gated(changed(tmp_path, EQUAL, EQUAL | {"beta": 9}), toys)
    assert ended == 0
    assert said[-1] == "2 SAME, 1 FASTER: exit code 0"


def test_what_can_be_found_is_said_before_what_was(tmp_path, toys):
    _, said, *_ = gated(changed(tmp_path, EQUAL, EQUAL), toys)
    first = next(i for i, line in enumerate(said) if "can find a change of" in line)
    assert [line.split()[-1] for line in said[first + 1 : first + 4]] == list(EQUAL)
    assert all("%" in line for line in said[first + 1 : first + 4])
    assert first < next(i for i, line in enumerate(said) if line.startswith("SAME"))


FAILURES = {
    "renamed": ({"delta": 3}, "delta", "head has no such benchmark: renamed or deleted? --gone"),
    "raises": ({"delta": "raise OSError(28, 'No space left on device')"}, "delta", "No space left"),
    "hangs": ({"delta": "import time; time.sleep(60)"}, "delta", "head: no answer within 2 s"),
    "segfaults": ({"delta": "import ctypes; ctypes.string_at(0)"}, "delta", "signal SIGSEGV"),
    "exits": (
        {"delta": "import os; os._exit(7)"},
        "delta",
        "head: its process ended with exit code 7",
    ),
    "is wrong": ({"delta": 3}, "delta", "head: AssertionError: delta answers 41"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_what_cannot_be_measured_is_exit_code_2_and_the_rest_is_judged(tmp_path, toys, how):
    delta, name, line = FAILURES[how]
    before, after = work(**EQUAL, delta=3), work(**(EQUAL | {"alpha": 10}), **delta)
    after += {"is wrong": "delta.answer = 41\n"}.get(how, "")
    after = work(**(EQUAL | {"alpha": 10}), epsilon=3) if how == "renamed" else after
    root = repository(tmp_path / "toy", {"work.py": before}, {"work.py": after})
    ended, said, found, _ = gated(root, toys, patience_s=2.0)
    assert ended == 2
    assert found.verdicts["alpha"].word == "SLOWER"
    assert found.verdicts["beta"].word == found.verdicts["gamma"].word == "SAME"
    assert line in found.errors[name]
    assert [s for s in said if s.startswith(f"{name}: not measured: ")] != []
    assert all("\n" not in s for s in said)
    assert said[-1] == "1 SLOWER, 2 SAME, 1 without a number: exit code 2"
    if how == "renamed":
        assert found.new == ["epsilon"]


def test_what_fails_in_a_later_round_is_exit_code_2(tmp_path, toys):
    """It crashes in its 30th call: after the calibration, which has fewer."""
    crash = "delta.calls = getattr(delta, 'calls', 0) + 1; spend(5)\n    "
    crash += "import os; os.path.exists('second') and delta.calls > 12 and os._exit(9)"
    root = repository(
        tmp_path / "toy",
        {"work.py": work(**EQUAL, delta=crash)},
        {"work.py": work(**EQUAL, delta=crash), "second": ""},
    )
    ended, said, found, _ = gated(root, toys)
    assert ended == 2
    assert found.errors["delta"] == "head: its process ended with exit code 9"
    assert said[-1] == "3 SAME, 1 without a number: exit code 2"


def test_what_may_go_goes_and_what_is_new_is_listed(tmp_path, toys):
    root = changed(tmp_path, EQUAL | {"delta": 3}, EQUAL | {"epsilon": 3})
    ended, said, found, _ = gated(root, toys, gone=("delta",))
    assert ended == 0
    assert found.gone == ["delta"]
    assert found.new == ["epsilon"]
    assert "epsilon: new, so not judged: base has no such benchmark" in said
    ended, said, found, _ = gated(root, toys, names=("alpha", "epsilon"))
    assert ended == 2
    assert "--new allows it" in found.errors["epsilon"]
    assert gated(root, toys, names=("alpha", "epsilon"), new=("epsilon",))[0] == 0


def test_what_base_cannot_run_may_be_new(tmp_path, toys):
    root = changed(
        tmp_path, EQUAL | {"delta": "raise KeyError('no such operator')"}, EQUAL | {"delta": 3}
    )
    ended, _, found, _ = gated(root, toys, names=("alpha", "delta"))
    assert ended == 2
    assert found.errors["delta"].startswith("base: KeyError")
    ended, said, found, _ = gated(root, toys, names=("alpha", "delta"), new=("delta",))
    assert ended == 0
    assert found.new == ["delta"]
    assert "delta: new, so not judged: KeyError: 'no such operator'" in said


def test_a_name_that_the_base_promised_is_not_lost_in_silence(tmp_path, toys):
    root = changed(tmp_path, EQUAL, EQUAL)
    ended, said, found, _ = gated(root, toys, names=("alpha",), promised=("alpha", "omega"))
    assert ended == 2
    assert "head has no such benchmark" in found.errors["omega"]
    assert gated(root, toys, names=("alpha",), promised=("omega",), gone=("omega",))[0] == 0


def test_a_name_that_nobody_has_is_an_error_at_once(tmp_path, toys):
    root = changed(tmp_path, EQUAL, EQUAL)
    with pytest.raises(ValueError, match="'alhpa' is no benchmark; did you mean 'alpha'"):
        gated(root, toys, names=("alhpa",))


def test_a_side_that_does_not_load_is_an_error_at_once(tmp_path, toys):
    root = repository(tmp_path / "toy", {"work.py": "import nothing_such"}, {"work.py": work(a=1)})
    with pytest.raises(ValueError, match="base: ModuleNotFoundError: .*nothing_such"):
        gated(root, toys)


def test_against_a_peer(tmp_path, toys):
    """The peer's toy takes 20 ms: "Pfour" must be four times as fast as that, others once."""
    root = changed(tmp_path, {}, {"Pfour": 4, "Pone": 10, "plain": 3})
    found, said = Found(), []
    with checked_out(root, base=None, head="HEAD", kernels="work.py") as sides:
        one, two = gate_command.compared({"head": replace(sides["head"], code=toys)}, "torchvision")
        plan = Plan(sides=(one, two), most=8, against="torchvision", patience_s=20.0)
        ended = run(plan, found, said.append)
    assert ended == 0
    assert {n: v.word for n, v in found.verdicts.items()} == {"Pfour": "AHEAD", "Pone": "AHEAD"}
    assert found.verdicts["Pfour"].ratio == pytest.approx(0.2, rel=0.05)


def test_behind_a_peer_is_exit_code_1(tmp_path, toys):
    root = changed(tmp_path, {}, {"Pfour": 6, "Pone": 10})
    found = Found()
    with checked_out(root, base=None, kernels="work.py") as sides:
        both = gate_command.compared({"head": replace(sides["head"], code=toys)}, "torchvision")
        plan = Plan(sides=both, most=8, against="torchvision", ahead=3.0, patience_s=20.0)
        ended = run(plan, found, lambda line: None)
    assert ended == 1
    assert {n: v.word for n, v in found.verdicts.items()} == {"Pfour": "BEHIND", "Pone": "BEHIND"}


def by_nobody(ratios, noise, fail):
    """Rounds of given ratios, ten seconds each on a clock of their own, fewer for fewer of them."""
    rng, now = random.Random(1), [0.0]

    def calibrate(sides, wanted, **_):
        about = {"operator": "", "effect": 0.03, "ahead": None, "peer": False}
        found = Calibration(lists={s.name: dict.fromkeys(ratios, about) for s in sides})
        one = Slice(calls=1, samples=1, fresh=True)
        found.slices = {n: {s.name: one for s in sides} for n in wanted(found)}
        return found

    def measure(sides, slices, number, **_):
        now[0] += 10.0 * len(slices) / len(ratios)
        fail(number)
        base, head = (s.name for s in sides)
        drawn = {n: ratios[n] * (1 + rng.gauss(0, noise)) for n in slices}
        return Round(number, {n: {base: [[1.0]], head: [[x]]} for n, x in drawn.items()})

    return Measuring(calibrate=calibrate, measure=measure, clock=lambda: now[0])


def imagined(ratios, fail=lambda number: None, noise=0.002, **more):
    found, said = Found(), []
    sides = tuple(Side(name=n, folder=None) for n in ("base", "head"))
    plan = Plan(sides=sides, **more)
    ended = run(plan, found, said.append, by_nobody(ratios, noise, fail))
    return ended, said, found, plan


def test_the_budget_is_spent_where_it_is_unsure():
    ratios = {"a": 1.0, "b": 1.0, "c": 1.0, "noisy": 1.0}
    ended, _, found, _ = imagined({**ratios, "unsure": 1.032}, noise=0.008, budget_s=240.0)
    assert ended == 3
    rounds = {n: len(v) for n, v in found.values.items()}
    assert rounds["a"] == rounds["noisy"] == 12
    assert rounds["unsure"] > 24  # more than the budget has for all of them
    assert found.verdicts["unsure"].word == "UNSURE"
    assert imagined({"unsure": 1.0295}, noise=0.004, budget_s=240.0, unsure_passes=True)[0] == 0


def test_exit_codes_by_what_is_worst():
    assert imagined({"a": 1.0})[0] == 0
    assert imagined({"a": 0.5})[0] == 0
    assert imagined({"a": 1.0, "b": 1.5})[0] == 1
    assert imagined({"a": 1.029, "b": 1.5}, noise=0.004)[0] == 1
    ended, _, found, plan = imagined({"a": 1.029, "b": 1.5}, noise=0.004)
    assert found.verdicts["a"].word == "UNSURE"
    found.errors["a"] = "x"
    assert code(plan, found) == 2
    assert code(plan, Found()) == 2


def test_a_budget_that_is_too_small_is_said_and_not_kept_secret():
    ended, said, found, _ = imagined({"a": 1.0}, budget_s=15.0)
    assert ended == 0
    assert found.looks == [verdict.FEWEST]
    assert "a budget of 15 s is too small: 8 rounds are taken" in said


def test_ctrl_c_keeps_what_was_decided():
    def stop(number):
        if number == 15:
            raise KeyboardInterrupt

    ended, said, found, plan = imagined({"a": 1.0, "b": 1.0285}, stop, noise=0.004, budget_s=240.0)
    assert ended == 130
    assert found.verdicts["a"].word == "SAME"
    assert found.errors == {"b": "stopped after 14 rounds"}
    assert record(plan, found, ended)["exit_code"] == 130


def test_rounds_are_as_many_as_there_is_time_for():
    plan = Plan(sides=(None, None), budget_s=100.0, most=20)
    assert affordable(plan, 10.0, 10.0, 1) == 10
    assert affordable(plan, 10.0, 1.0, 1) == 20
    assert affordable(plan, 99.0, 50.0, 1) == verdict.FEWEST


def command(root, *options, **more):
    """`python -m benchmarks gate` in a repository, as a user has it."""
    started = [sys.executable, "-m", "benchmarks", "gate", *options]
    path = str(Path(__file__).resolve().parents[3])
    return subprocess.run(
        started,
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        **more,
    )


def test_wrong_options_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    from kernels.command import command_line

    def gate(*options):
        monkeypatch.setattr(sys, "argv", ["gate", *options])
        from benchmarks.__main__ import app

        with pytest.raises(SystemExit) as ended:
            command_line(app)
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1, shown
        return ended.value.code, shown

    monkeypatch.chdir(tmp_path)
    assert gate("gate", "--base", "x") == (
        2,
        f"error: {tmp_path}: not a git repository, so it has no revisions\n",
    )
    root = repository(tmp_path / "toy", {"work.py": work(a=1)})
    monkeypatch.chdir(root)
    for options, line in {
        ("--base", "nowhere"): "unknown revision 'nowhere' in toy",
        (): "name what to compare with: --base REVISION, or --against torchvision",
        ("--base", "HEAD", "--budget", "10"): "--budget must be a time such as 90s, 30m or 2h",
        ("--base", "HEAD", "--on-unsure", "ask"): "--on-unsure must be pass or fail, got 'ask'",
        ("--against", "mmcv"): "--against must be torchvision, got 'mmcv'",
        ("--base", "HEAD", "--build", "false"): "does not build: 'false' ended with exit code 1",
        ("--base", "HEAD", "--kernels", "/etc/hosts"): "does not lie in the repository toy",
    }.items():
        ended, shown = gate("gate", *options)
        assert ended == 2
        assert line in shown
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "worktree", "list").count("\n") == 0


def test_a_full_disk_at_the_end_is_one_line_after_the_verdicts(tmp_path, monkeypatch, capsys):
    root = changed(tmp_path, EQUAL, EQUAL)
    monkeypatch.chdir(root)

    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    def ran(plan, found, say, by):
        found.about["a"] = {"operator": "", "effect": 0.03, "ahead": None}
        found.verdicts["a"] = verdict.decide({"a": [0.0] * 6}, {"a": 0.03})["a"]
        return 0

    monkeypatch.setattr(gate_command, "write_json", full)
    monkeypatch.setattr(gate_command.gates, "run", ran)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gate", "--base", "HEAD", "--out", "out"])
    from benchmarks.__main__ import app
    from kernels.command import command_line

    with pytest.raises(SystemExit) as ended:
        command_line(app)
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert shown.err == "error: out/gate.json: No space left on device\n"
    assert "1 SAME: exit code 0" in shown.out


KERNELS = '''
"""Kernels of somebody else."""
import torch
import torchvision
from kernels.conformance import kernel

SLOW = {slow}


@kernel("box_iou", name="mine")
def mine(a, b):
    for _ in range(SLOW):
        torchvision.ops.box_iou(a, b)
    return torchvision.ops.box_iou(a, b)


@kernel("nms", name="{name}")
def sorted_first(boxes, scores, *, iou_threshold):
    return torchvision.ops.nms(boxes, scores, iou_threshold)
'''


@pytest.mark.slow
def test_a_kernel_of_somebody_else_from_end_to_end(tmp_path):
    first, second = (KERNELS.format(slow=s, name=n) for s, n in ((0, "theirs"), (1, "renamed")))
    root = repository(tmp_path / "toy", {"mine.py": first}, {"mine.py": second})
    done = command(
        root, "--base", "HEAD~1", "--head", "HEAD", "--kernels", "mine.py", "--rounds-max", "8",
        "--junit", "gate.xml", "--summary", "gate.md", "--comment", "c.md", "--history", "history",
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "SLOWER    box_iou/mine/10k/float32/contiguous/forward" in done.stdout
    assert "NO NUMBER nms/theirs/1k/float32/contiguous/forward" in done.stdout
    kept = json.loads((root / "reports/runs/gate/gate.json").read_text())
    rows = {row["name"]: row for row in kept["benchmarks"]}
    assert 1.5 < rows["box_iou/mine/10k/float32/contiguous/forward"]["ratio"] < 2.6
    assert "<testsuite" in (root / "gate.xml").read_text()
    assert "SLOWER" in (root / "gate.md").read_text()
    assert (root / "history").is_dir()


@pytest.mark.slow
def test_a_stopped_gate_leaves_no_worktree_and_no_process(tmp_path):
    root = repository(tmp_path / "toy", {"mine.py": KERNELS.format(slow=0, name="theirs")})
    options = ["--base", "HEAD", "--kernels", "mine.py"]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "gate", *options],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        next(line for line in started.stdout if "calibrating" in line)
        time.sleep(2)
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=60) == 130
    assert git(root, "worktree", "list").count("\n") == 0
    assert json.loads((root / "reports/runs/gate/gate.json").read_text())["exit_code"] == 130


def test_a_run_keeps_the_options_that_it_needs_again(monkeypatch):
    asked = []
    monkeypatch.setattr(gate_command, "run", asked.append)
    gate_command.gate(base="main", budget="20m", on_unsure="pass")
    gate_command.gate(base="main", rounds_max=16, only=["a b", "nms"], count="instructions")
    assert [gate_command.repeated(one) for one in asked] == [
        [],
        ["--rounds-max 16", "--only 'a b'", "--only nms", "--count instructions"],
    ]


def test_a_file_of_kernels_lies_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gate_command.within(tmp_path, Path("a/../mine.py")) == "mine.py"
    with pytest.raises(ValueError, match="does not lie in the repository"):
        gate_command.within(tmp_path, Path("../mine.py"))
