"""Within a worker: it checks before and after, times in loops, and holds nothing longer."""

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.benchmark import Benchmark, Ready
from benchmarks.gate import worker
from benchmarks.gate.worker import Bench, calibrated, import_from, said, timed


def bench(events, *, right=lambda: True):
    def check():
        events.append("check")
        assert right(), "it is wrong"

    def prepare(folder):
        return Ready(
            run=lambda: events.append("run"),
            check=check,
            renew=lambda seed: events.append(f"seed {seed}"),
            close=lambda: events.append("close"),
        )

    made = Bench()
    made.known = {"x": Benchmark(name="x", prepare=prepare)}
    return made


def test_an_answer_is_checked_before_and_after_it_is_timed():
    events = []
    made = bench(events)
    made.answer({"do": "prepare", "name": "x", "seed": 7}, "", "")
    assert events == ["check", "seed 7", "run"]
    events.clear()
    made.answer({"do": "renew", "seed": 8}, "", "")
    found = made.answer({"do": "slice", "calls": 3, "samples": 2}, "", "")
    assert len(found["ms"]) == 2
    assert events == ["seed 8"] + ["run"] * (1 + 3 * (2 + found["disturbed"]))
    events.clear()
    made.answer({"do": "finish"}, "", "")
    assert events == ["check", "close"]


def test_a_wrong_answer_is_not_timed_and_what_was_held_is_given_back():
    events, answers = [], iter([False, True, False])
    made = bench(events, right=lambda: next(answers))
    ask = {"do": "prepare", "name": "x", "seed": 1}
    with pytest.raises(AssertionError, match="it is wrong"):
        made.answer(ask, "", "")
    assert "run" not in events
    made.answer(ask, "", "")
    assert events.count("close") == 1
    with pytest.raises(AssertionError):
        made.answer({"do": "finish"}, "", "")


def test_times_are_of_one_call():
    made = Ready(run=lambda: time.sleep(0.002), check=lambda: None, renew=lambda seed: None)
    for ms in timed(made, 3, 4)["ms"]:
        assert 2 <= ms < 20
    found = calibrated(made, 1)
    assert 2 <= found["call_ms"] < 20
    assert found["renew_ms"] < 20


def test_samples_in_which_the_core_was_taken_away_are_left_out_and_counted(monkeypatch):
    """Every second sample is interrupted, and takes longer; then all are."""
    spent, now = [0], [0]

    def run():
        spent[0] += 1
        now[0] += 5_000_000 if spent[0] % 2 else 1_000_000

    monkeypatch.setattr(worker, "interruptions", lambda: (spent[0] + 1) // 2)
    monkeypatch.setattr(worker.time, "perf_counter_ns", lambda: now[0])
    made = Ready(run=run, check=lambda: None, renew=lambda seed: None)
    assert timed(made, 1, 4) == {"ms": [1.0] * 4, "disturbed": 3}
    monkeypatch.setattr(worker, "interruptions", lambda: spent[0])
    found = timed(made, 1, 2)
    assert len(found["ms"]) == found["disturbed"] == 6


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a system that pins")
def test_slices_run_on_the_cores_they_are_told_and_all_else_where_it_may():
    every, seen = os.sched_getaffinity(0), []
    made = bench([])
    made.known["x"] = Benchmark(
        name="x",
        prepare=lambda folder: Ready(
            run=lambda: seen.append(os.sched_getaffinity(0)),
            check=lambda: None,
            renew=lambda seed: seen.append(os.sched_getaffinity(0)),
        ),
    )
    slice_ = {"do": "slice", "calls": 1, "samples": 1, "cores": [min(every)]}
    try:
        made.answer({"do": "prepare", "name": "x", "seed": 0}, "", "")
        assert seen == [every, every]
        made.answer(slice_, "", "")
        assert seen[-1] == {min(every)}
        made.answer({"do": "renew", "seed": 1}, "", "")
        assert seen[-1] == every
        made.answer(slice_ | {"cores": []}, "", "")
        assert seen[-1] == every
    finally:
        os.sched_setaffinity(0, every)


def test_code_that_comes_from_elsewhere_is_refused(tmp_path):
    import_from(str(tmp_path))
    import_from(str(Path(sys.modules["benchmarks"].__file__).parents[1]))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "op.py").write_text("")
    with pytest.raises(ImportError, match="not from the side measured"):
        import_from(str(tmp_path))


def test_errors_are_one_line():
    assert said(ValueError("two\n  lines")) == "ValueError: two lines"
    assert len(said(ValueError("x" * 1000))) == 400
