"""The runner loses nothing: every trial once, failures as rows, any interruption gone on from."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.ablations.fake_run import Run

SLOW = {"FAKE_STEPS": "3", "FAKE_SLEEP": "0.15"}


def noted(runs, verb="train"):
    """The trials that the fake trainer was called for."""
    log = runs / "trained.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [Path(line.split()[1]).parent.name for line in lines if line.startswith(f"{verb} ")]


def pages(runs):
    files = (p for p in sorted((runs / "pages").rglob("*")) if p.is_file())
    return {str(p.relative_to(runs)): p.read_bytes() for p in files}


def table(runs, name="roi_layer"):
    return (runs / f"pages/{name}-smoke/table.csv").read_text()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole") / "runs"
    code, _, error = Run(runs, seeds=2, pages=True).finish()
    assert code == 0, error
    return runs


@pytest.fixture
def prepared(whole, tmp_path):
    """A folder of runs with the data and the trunks, and nothing trained."""
    runs = tmp_path / "runs"
    for name in ("data", "trunks"):
        shutil.copytree(whole / name, runs / name)
    return runs


def test_the_same_command_twice_trains_nothing_and_writes_the_same_bytes(whole):
    assert len(noted(whole)) == 10
    before = pages(whole)
    code, out, _ = Run(whole, seeds=2, pages=True).finish()
    assert code == 0
    assert "10 finished: kept" in out
    assert len(noted(whole)) == 10
    assert pages(whole) == before
    assert {"pages/roi_layer-smoke/report.html", "pages/index.html"} <= set(before)


def test_more_seeds_train_only_what_is_new(whole, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(whole, runs)
    assert Run(runs, seeds=3).finish()[0] == 0
    assert len(noted(runs)) == 15


def test_the_trunk_is_pretrained_once(whole):
    assert len(noted(whole, "pretrain")) == 1


@pytest.mark.parametrize("how", ["FAKE_CRASH", "FAKE_KILL"])
def test_a_failure_is_a_row_and_the_rest_goes_on(prepared, how):
    code, out, _ = Run(prepared, environment={how: "RoIWarp"}, pages=True).finish()
    assert code == 1
    assert "0 of 1, 1 failed" in table(prepared)
    assert table(prepared).count("1 of 1") == 3
    page = (prepared / "pages/roi_layer-smoke/report.html").read_text()
    said = "out of memory in RoIWarp" if how == "FAKE_CRASH" else "killed by signal 9"
    assert said in page
    code, out, _ = Run(prepared).finish()
    assert code == 0
    assert "2 failed: tried again" in out
    assert len(noted(prepared)) == 7
    assert "failed" not in table(prepared)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_run_ends_in_the_same_table(whole, prepared, number, after):
    run = Run(prepared, seeds=2, environment=SLOW)
    wait_for(lambda: len(noted(prepared)) >= after)
    time.sleep(random.Random(after).uniform(0, 0.4))
    os.kill(run.pid, number)
    code, _, error = run.finish()
    assert code == (-9 if number == signal.SIGKILL else 130), error
    done = {p.parent.name for p in prepared.glob("*/record.json")}
    first = len(noted(prepared))
    code, _, error = Run(prepared, seeds=2, environment=SLOW).finish()
    assert code == 0, error
    assert not set(noted(prepared)[first:]) & done, "a finished trial was trained again"
    assert table(prepared) == table(whole)


def children(process):
    """The numbers of its child processes."""
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def test_twenty_kills_end_in_the_same_table(whole, prepared):
    """Of the runner at random moments, and of the workers: the state is on disk at any time."""
    chance = random.Random(0)
    steps = {"FAKE_STEPS": "30", "FAKE_SLEEP": "0.04"}
    kills = 0
    while kills < 20:
        run = Run(prepared, seeds=2, environment=steps)
        time.sleep(chance.uniform(0, 0.5))
        workers = children(run.pid)
        victim = chance.choice([run.pid, *workers[:1]])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass
        else:
            kills += 1
        if victim != run.pid:
            time.sleep(0.1)
            os.kill(run.pid, signal.SIGKILL)
        run.finish()
        assert kills == 20 or not (prepared / "pages").exists(), "it had ended before"
    code, _, error = Run(prepared, seeds=2, environment=steps).finish()
    assert code == 0, error
    assert table(prepared) == table(whole)


def test_a_result_without_a_record_is_recorded_and_not_trained_again(whole, tmp_path):
    """The runner was killed between the two."""
    runs = tmp_path / "runs"
    shutil.copytree(whole, runs)
    lost = sorted(runs.glob("*/record.json"))[:3]
    for path in lost:
        path.unlink()
    code, out, _ = Run(runs, seeds=2).finish()
    assert code == 0
    assert "3 had a result and no record yet: recorded" in out
    assert len(noted(runs)) == 10
    assert table(runs) == table(whole)


def test_other_code_runs_again_unless_accepted(prepared):
    assert Run(prepared, environment={"FAKE_CODE": "0ld"}).finish()[0] == 0
    code, out, _ = Run(prepared, accept=True).finish()
    assert "5 made by other code: kept" in out
    assert len(noted(prepared)) == 5
    code, out, _ = Run(prepared).finish()
    assert code == 0
    assert "5 made by other code: run again" in out
    assert len(noted(prepared)) == 10


def test_a_folder_in_use_is_refused_by_name_and_left_alone(prepared):
    first = Run(prepared, environment={"FAKE_STEPS": "100000"})
    wait_for(lambda: len(noted(prepared)) >= 2)
    time.sleep(0.1)
    before = {p: p.stat().st_mtime for p in prepared.glob("*/trial.json")}
    code, _, error = Run(prepared).finish()
    assert code == 2
    assert f"process {first.pid} is at work here" in error
    assert {p: p.stat().st_mtime for p in prepared.glob("*/trial.json")} == before
    os.kill(first.pid, signal.SIGINT)
    assert first.finish()[0] == 130


@pytest.fixture(scope="module")
def shared(whole, tmp_path_factory):
    """Table 2b: two of its rows differ in how masks are decoded."""
    runs = tmp_path_factory.mktemp("shared") / "runs"
    shutil.copytree(whole / "data", runs / "data")
    code, out, error = Run(runs, "mask_loss", 2).finish()
    assert code == 0, error
    return runs, out


def test_rows_that_only_predict_differently_train_once(shared):
    runs, out = shared
    assert len(noted(runs)) == 4
    assert len(noted(runs, "evaluate")) == 2
    assert out.count("trained by") == 2


def test_a_training_of_another_ablation_serves_too(shared, tmp_path):
    """The other rows' records are gone: the weights of what is left are found by their record."""
    runs = tmp_path / "runs"
    shutil.copytree(shared[0], runs)
    before = noted(runs)
    for name in noted(runs, "evaluate"):
        shutil.rmtree(runs / name)
    assert Run(runs, "mask_loss", 2).finish()[0] == 0
    assert noted(runs) == before
    assert len(noted(runs, "evaluate")) == 4
    assert table(runs, "mask_loss") == table(shared[0], "mask_loss")


def test_a_budget_says_what_it_left_and_the_same_command_goes_on(whole, prepared):
    code, out, _ = Run(prepared, seeds=2, budget=1.5, environment=SLOW).finish()
    assert code == 0
    assert "the time is over" in out
    assert "the same command goes on" in out
    assert "missing" in table(prepared)
    assert Run(prepared, seeds=2, environment=SLOW).finish()[0] == 0
    assert table(prepared) == table(whole)
