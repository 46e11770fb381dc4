"""The runner loses nothing: every trial once, failures as rows, any interruption gone on from."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(runs, seeds=1, *more, **environment):
    runs.mkdir(exist_ok=True)
    settings = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **environment}
    command = [sys.executable, str(Path(__file__).with_name("fake_run.py")), str(runs), str(seeds)]
    return subprocess.Popen(
        [*command, *more],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate(timeout=60)
    return process.returncode, out, error


def trained(runs):
    log = runs / "trained.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if line.startswith("train ")]


def pages(runs):
    folder = runs / "pages" / "roi_layer"
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def table(runs):
    return (runs / "pages/roi_layer/table.csv").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    code, _, error = finish(start(runs, 2))
    assert code == 0, error
    return runs


def test_each_trial_runs_once_and_the_second_time_none(whole):
    assert len(trained(whole)) == 10
    before = pages(whole)
    code, out, _ = finish(start(whole, 2))
    assert code == 0
    assert "10 finished: kept" in out
    assert len(trained(whole)) == 10
    assert pages(whole) == before


def test_more_seeds_train_only_what_is_new(whole, tmp_path):
    import shutil

    runs = tmp_path / "runs"
    shutil.copytree(whole, runs)
    assert finish(start(runs, 3))[0] == 0
    assert len(trained(runs)) == 15


def test_the_trunk_is_pretrained_once(whole):
    lines = (whole / "trained.log").read_text().splitlines()
    assert sum(line.startswith("pretrain ") for line in lines) == 1


@pytest.mark.parametrize("how", ["FAKE_CRASH", "FAKE_KILL"])
def test_a_failure_is_a_row_and_the_rest_goes_on(tmp_path, how):
    runs = tmp_path / "runs"
    code, out, _ = finish(start(runs, 1, **{how: "RoIWarp"}))
    assert code == 1
    assert "0 of 1, 1 failed" in table(runs)
    assert table(runs).count("1 of 1") == 3
    page = (runs / "pages/roi_layer/report.html").read_text()
    said = "out of memory in RoIWarp" if how == "FAKE_CRASH" else "killed by signal 9"
    assert said in page
    code, out, _ = finish(start(runs))
    assert code == 0
    assert "2 failed: tried again" in out
    assert len(trained(runs)) == 7
    assert "failed" not in table(runs)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_an_interrupted_run_ends_in_the_same_table(whole, tmp_path, number, after):
    runs = tmp_path / "runs"
    slow = {"FAKE_STEPS": "3", "FAKE_SLEEP": "0.15"}
    process = start(runs, 2, **slow)
    wait_for(lambda: len(trained(runs)) >= after)
    time.sleep(random.Random(after).uniform(0, 0.4))
    process.send_signal(number)
    code, _, error = finish(process)
    assert code == (-9 if number == signal.SIGKILL else 130), error
    done = {p.parent.name for p in runs.glob("*/record.json")}
    first = len(trained(runs))
    code, _, error = finish(start(runs, 2, **slow))
    assert code == 0, error
    again = {Path(line.split()[1]).parent.name for line in trained(runs)[first:]}
    assert not again & done, "a finished trial was trained again"
    assert table(runs) == table(whole)


def test_other_code_runs_again_unless_accepted(tmp_path):
    runs = tmp_path / "runs"
    assert finish(start(runs, 1, FAKE_CODE="0ld"))[0] == 0
    code, out, _ = finish(start(runs, 1, "--accept"))
    assert "5 made by other code: kept" in out
    assert len(trained(runs)) == 5
    code, out, _ = finish(start(runs))
    assert code == 0
    assert "5 made by other code: run again" in out
    assert len(trained(runs)) == 10


def test_a_folder_in_use_is_refused_by_name(tmp_path):
    runs = tmp_path / "runs"
    first = start(runs, 1, FAKE_STEPS="100000")
    wait_for(lambda: len(trained(runs)) >= 1)
    code, _, error = finish(start(runs, 1))
    assert code == 2
    assert f"process {first.pid} is at work here" in error
    first.send_signal(signal.SIGINT)
    assert finish(first)[0] == 130


def test_the_time_left_counts_both_phases_of_a_trial():
    from ablations.run import share

    def note(phase, step):
        return {"phase": phase, "step": step, "of": 10}

    halves = [share(note("train", 5)), share(note("train", 10)), share(note("evaluate", 5))]
    assert 0 < halves[0] < halves[1] < halves[2] < share(note("evaluate", 10)) == 1
    assert share({}) == 0
