"""Trunks are made once each, and hold back no trial that needs another one."""

import json
from dataclasses import dataclass, field

import pytest

from ablations.grid import cells, named
from ablations.setting import Setting
from ablations.trunks import Trunks


@dataclass
class Made:
    """A job that ends when it is told to."""

    job: object
    code: int | None = None

    def poll(self):
        return self.code

    def progress(self):
        return {"phase": "pretrain", "step": 1, "of": 2}

    def close(self):
        pass


@dataclass
class Machine:
    jobs: int = 2
    threads: int = 2
    started: list = field(default_factory=list)

    def start(self, job):
        self.started.append(Made(job))
        return self.started[-1]


@pytest.fixture
def grid(tmp_path):
    return cells(named("backbones"), "smoke", 1, tmp_path)


def finish(runs, handle, code=0):
    """What the worker of a trunk leaves."""
    folder = runs / handle.job.place
    folder.mkdir(parents=True, exist_ok=True)
    handle.code = code
    if code:
        (folder / "stderr.txt").write_text("error: the disk is full\n")
        return
    result = {"id": folder.name, "made_by": {"code_id": "c"}, "trunk": {}, "config": {}}
    (folder / "result.json").write_text(
        json.dumps(result | {"cost": {"train_s": 3.0}, "history": []})
    )
    (folder / "trunk.safetensors").write_bytes(b"")


def test_a_trunk_is_made_once_for_all_that_start_from_it(grid, tmp_path):
    trunks, machine = Trunks.of(grid, tmp_path), Machine()
    assert len(trunks.missing) == 3  # 50 layers, 101, and 101 in groups; for C4 and FPN alike
    while trunks.missing:
        trunks.start(machine, Setting())
    assert len({made.job.place for made in machine.started}) == 3
    for made in machine.started:
        finish(tmp_path, made)
    assert [record.kind for record in trunks.collect()] == ["pretraining"] * 3
    assert not Trunks.of(grid, tmp_path).missing


def test_a_trial_waits_for_its_own_trunk_and_no_other(grid, tmp_path):
    trunks, machine = Trunks.of(grid, tmp_path), Machine()
    trunks.start(machine, Setting())
    trunks.start(machine, Setting())
    assert not any(trunks.ready(cell) for cell in grid)
    finish(tmp_path, machine.started[0])
    assert len(trunks.collect()) == 1
    assert [cell.row for cell in grid if trunks.ready(cell)] == ["ResNet-50-C4", "ResNet-50-FPN"]
    assert list(trunks.progress()) == [f"pretraining {next(iter(trunks.running)).name[:4]}"]


def test_a_trunk_has_all_threads_if_it_is_the_only_one(grid, tmp_path):
    machine = Machine()
    trunks = Trunks.of(grid, tmp_path)
    trunks.start(machine, Setting())
    Trunks.of(grid[:1], tmp_path).start(machine, Setting())
    assert [made.job.threads for made in machine.started] == [1, 2]


def test_one_that_fails_is_said_with_its_last_words(grid, tmp_path):
    trunks, machine = Trunks.of(grid, tmp_path), Machine()
    trunks.start(machine, Setting())
    finish(tmp_path, machine.started[0], code=1)
    with pytest.raises(ValueError, match="^pretraining failed: error: the disk is full$"):
        trunks.collect()
