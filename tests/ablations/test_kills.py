"""The real trainer, killed again and again: nothing is lost, and nothing comes out differently."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ablations.test_run import children

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
SWEEP = ("mask_loss", "--scale", "smoke", "--set", "train.steps=60")


def start(runs):
    command = [sys.executable, "-m", "ablations", "run", *SWEEP, "--runs", str(runs)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "COLUMNS": "200"}
    with (runs.parent / "out.txt").open("w") as out:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment)


def started(process, runs, *, at_work):
    """Wait until the runner has a worker, one that has noted something if `at_work`, or has ended;
    its workers.
    """
    began = time.time()

    def noted():
        return any(p.stat().st_mtime > began for p in runs.glob("**/progress.jsonl"))

    while process.poll() is None and not (children(process.pid) and (noted() or not at_work)):
        time.sleep(0.05)
    return children(process.pid)


def outcome(runs):
    """The table, and of each trial what must be the same to the bit."""
    found = {"table": without_cost((runs / "pages/mask_loss-smoke/table.csv").read_text())}
    for path in sorted(runs.glob("*/record.json")):
        record = json.loads(path.read_text())
        found[record["id"]] = record["metrics"], record["trained_by"]
        for name in ("model.safetensors", "predictions.json", "matches.npz"):
            file = path.parent / name
            found[record["id"], name] = file.read_bytes() if file.exists() else None
    return found


def without_cost(text):
    """The columns of a table that are not times."""
    rows = list(csv.reader(text.splitlines()))
    kept = [i for i, head in enumerate(rows[0]) if "cost" not in head]
    return [[row[i] for i in kept] for row in rows]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers under /proc")
def test_kills_at_random_moments_end_in_what_an_uninterrupted_sweep_gives(tmp_path):
    """Of the runner, and every third time of a worker as well."""
    chance, kills, ended = random.Random(0), 0, 0
    whole, broken = tmp_path / "whole/runs", tmp_path / "broken/runs"
    for runs in (whole, broken):
        runs.mkdir(parents=True)
    assert start(whole).wait(900) == 0
    while kills < KILLS:
        process = start(broken)
        workers = started(process, broken, at_work=kills % 4 > 0)
        time.sleep(chance.uniform(0, 3))
        if process.poll() is not None:
            ended += 1
            (broken / "pages/mask_loss-smoke/table.csv").unlink()
            for path in broken.glob("*/re*.json"):
                path.unlink()  # it was all done: once more from the start
            continue
        if workers and kills % 3 == 2:
            os.kill(workers[0], signal.SIGKILL)
            time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert start(broken).wait(900) == 0, (broken.parent / "out.txt").read_text()
    assert outcome(broken) == outcome(whole)
    print(f"{kills} kills; the sweep had ended before {ended} more")
