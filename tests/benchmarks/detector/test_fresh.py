"""In a process of its own: time from the start of Python, memory of that process alone."""

import subprocess
import sys

import pytest
import torch

from benchmarks.detector.first_result import memory_mb
from benchmarks.detector.fresh import WHO, fresh, in_a_process, write_inputs


def sound(row):
    """Whether the parts make up the whole, and the memory is that of a process with PyTorch."""
    assert sum(row["parts_s"].values()) == pytest.approx(row["first_result_s"])
    assert min(row["parts_s"].values()) > 0
    return 100 < row["before_mb"] <= row["peak_mb"] < 4000


def test_the_first_result_comes_later_where_kernels_are_compiled_first(tmp_path):
    write_inputs("small", tmp_path)
    cold, warm = (in_a_process("ours", "inference", 1, tmp_path) for _ in range(2))
    theirs = in_a_process("torchvision", "training step", 1, tmp_path)
    assert sound(cold)
    assert sound(warm)
    assert sound(theirs)
    assert cold["parts_s"]["the first result"] > 2 * warm["parts_s"]["the first result"]


def test_detectors_are_started_in_turn(monkeypatch):
    started = []

    def process(who, task, threads, folder):
        started.append((who, task))
        return {"first_result_s": 1.0}

    monkeypatch.setattr("benchmarks.detector.fresh.in_a_process", process)
    monkeypatch.setattr("benchmarks.detector.fresh.write_inputs", lambda scale, folder: None)
    rows = fresh("small", threads=2, repeats=2, tasks=("inference",))
    assert started == [("ours", "inference"), *[(who, "inference") for who in WHO] * 2]
    assert [row["compiled"] for row in rows] == [False, True, True, True, True]
    about = {"model": "R18-FPN, 128 x 192", "threads": 2, "first_result_s": 1.0}
    assert all(about.items() <= row.items() for row in rows)


@pytest.mark.slow
def test_every_detector_and_task_has_its_process():
    rows = fresh("small", repeats=1)
    assert len(rows) == 6
    assert all(sound(row) for row in rows)


def test_memory_is_of_this_program_and_not_of_its_parent():
    kept = torch.ones(400 * 2**18)  # 400 MiB that the parent holds as the child begins
    code = "from benchmarks.detector.first_result import memory_mb; print(memory_mb())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(told.stdout) < 300 < 400 < memory_mb()
    del kept


def test_a_process_that_fails_says_its_last_words(tmp_path):
    with pytest.raises(RuntimeError, match="inference of ours in a process of its own: .*scene"):
        in_a_process("ours", "inference", 1, tmp_path)
