"""pytest-benchmark's own front: its JSON and comparison work, and no wrong answer is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import operators

ROOT = Path(__file__).resolve().parent.parent.parent
WRONG = """
def pytest_collection_finish(session):
    import kernels  # not before its types are to be checked

    right = kernels.nms
    kernels.nms = lambda *a, backend=None, **k: right(*a, backend=backend, **k).flip(
        0 if backend == "numba" else ()
    )
"""
NMS = "cpu/nms/1k/float32/contiguous/forward"


def run(*options, folder):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks/operators.py",
        "-k",
        "nms/1k and not batched",
    ]
    command += ["--benchmark-only", f"--benchmark-storage={folder}", "-p", "no:cacheprovider"]
    paths = os.pathsep.join([str(folder), str(ROOT)])
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}  # not of xdist
    return subprocess.run(
        [*command, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**alone, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    options = ("--benchmark-json", str(folder / "out.json"), "--benchmark-save=first")
    return folder, run(*options, "--benchmark-min-rounds=7", folder=folder)


def test_the_json_is_pytest_benchmarks_and_says_how_near_the_limit_each_is(first):
    folder, done = first
    assert done.returncode == 0, done.stdout
    found = json.loads((folder / "out.json").read_text())["benchmarks"]
    assert [b["group"] for b in found] == [NMS, NMS]
    assert [b["extra_info"]["backend"] for b in found] == ["numba", "torchvision"]
    for one in found:
        assert len(one["stats"]["data"]) == one["stats"]["rounds"] == 7
        about = one["extra_info"]
        least = max(about["bytes"] / about["roof"], about["operations"] / about["flops_roof"])
        assert about["of_light"] == pytest.approx(least / one["stats"]["median"])
        assert 0 < about["of_roof"] <= about["of_light"] < 1
        assert about["made_by"]["code_id"]


def test_a_wrong_answer_fails_and_has_no_time_and_the_rest_is_compared_with_a_saved_run(first):
    folder, _ = first
    (folder / "wrong_kernel.py").write_text(WRONG)
    out = folder / "wrong.json"
    options = ("-p", "wrong_kernel", f"--benchmark-json={out}", "--benchmark-compare=0001")
    done = run(*options, folder=folder)
    assert done.returncode == 1
    assert "numba is wrong, so it is not timed" in done.stdout
    backends = [b["extra_info"]["backend"] for b in json.loads(out.read_text())["benchmarks"]]
    assert backends == ["torchvision"]
    assert "(0001_first)" in done.stdout
    assert "(NOW)" in done.stdout


class Event:
    """A CUDA event of a GPU whose clock the test moves."""

    now = 0.0
    waited = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Event.now

    def synchronize(self):
        Event.waited += 1

    def elapsed_time(self, other):
        return other.at - self.at


def test_the_gpus_clock_counts_what_lies_between_two_calls_and_nothing_else(monkeypatch):
    monkeypatch.setattr(operators.torch.cuda, "Event", Event)
    operators._events.clear()
    for took in (5.0, 7.0):
        Event.now += 100.0  # a flush, of which nothing is counted
        start = operators.gpu_seconds()
        assert Event.waited == (0 if took == 5.0 else 1)
        Event.now += took
        assert operators.gpu_seconds() - start == pytest.approx(took / 1e3)


def test_every_side_of_the_family_has_its_case():
    sides = [param.id for param in operators._cases()]
    assert len(set(sides)) == len(sides)
    assert sum(name.startswith("cpu/") and name.endswith("-ours") for name in sides) == 376
    assert f"{NMS}-torchvision" in sides
    assert not any("bfloat16" in name and name.endswith("-torchvision") for name in sides)
