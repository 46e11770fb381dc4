"""A sweep on Ray: the same table, also where a worker is killed, and no folder in common."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.ablations.fake_run import Run
from tests.ablations.test_run import noted, table, wait_for

pytest.importorskip("ray", reason="needs Ray: pip install ray")
if not Path("/proc/self/cmdline").exists():
    pytest.skip("looks for Ray's workers under /proc", allow_module_level=True)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The sweep on this machine's own engine."""
    runs = tmp_path_factory.mktemp("here") / "runs"
    assert Run(runs, "mask_loss").finish()[0] == 0
    return runs


@pytest.fixture
def prepared(here, tmp_path):
    """The data, so that nothing has to be drawn."""
    runs = tmp_path / "runs"
    shutil.copytree(here / "data", runs / "data")
    return runs


def actors():
    """The processes of Ray's actors on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::Host"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_sweep_on_ray_ends_in_the_same_table(here, prepared):
    code, out, error = Run(prepared, "mask_loss", ray=True).finish()
    assert code == 0, error
    assert table(prepared, "mask_loss") == table(here, "mask_loss")
    work = prepared.parent / "scratch"
    assert len(noted(work)) == 2, "it trained elsewhere, in a folder of its own"
    assert len(noted(work, "evaluate")) == 1
    assert len(list(prepared.glob("*/model.safetensors"))) == 2, "weights came back as bytes"
    assert not list(work.glob("*/progress.jsonl")), "what came back is kept once"


@pytest.mark.slow
def test_a_killed_ray_worker_is_replaced_and_the_trial_goes_on(here, prepared):
    slow = {"FAKE_STEPS": "20", "FAKE_SLEEP": "0.3"}
    before = set(actors())
    run = Run(prepared, "mask_loss", ray=True, environment=slow)
    work = prepared.parent / "scratch"
    wait_for(lambda: len(list(work.glob("*/resume.pt"))) == 2, seconds=300)
    time.sleep(1)
    (victim, *_) = set(actors()) - before
    os.kill(victim, signal.SIGKILL)
    code, _, error = run.finish()
    assert code == 0, error
    assert table(prepared, "mask_loss") == table(here, "mask_loss")
    begun = noted(work)
    assert len(begun) == 3, "one of two trials was started again"
    again = next(name for name in begun if begun.count(name) == 2)
    lines = (prepared / again / "progress.jsonl").read_text().splitlines()
    assert len(lines) == 20, "it went on from its saved state"
