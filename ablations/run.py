"""Fill the grid: whatever has no record is trained, and nothing is trained twice."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.grid import Cell
from ablations.watch import Watch
from ablations.worker import TRAINER, Worker, last_words, recorded, start, start_trial
from mrcnn.atomic import write_json
from mrcnn.spec import plain
from mrcnn.train import trunk_folder
from reports.record import FILE, Record, load_record

POLL_S = 0.25
PHASES = {"train": (0.0, 0.85), "evaluate": (0.85, 0.15)}
"""Where each phase of a trial begins and how much of its time it takes, about."""
PATIENCE_S = 20.0
"""How long an interrupted worker has to save its state before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """How trials are run on this machine.

    jobs      trials at a time, each with one thread: on few cores twice as fast as sharing them
    device    of every trial and of the pretraining, as PyTorch names it
    trainer   the command that stands before "train ...", and what to add behind
    """

    runs: Path
    jobs: int
    watch: Watch
    device: str = "cpu"
    trainer: Sequence[str] = TRAINER
    extra: Sequence[str] = ()

    def fill(self, cells: Sequence[Cell], *, accept_old_code: bool = False) -> list[Cell]:
        """Run every cell that needs it; returns those whose trial failed.

        Raises KeyboardInterrupt once the running trials have saved their state.
        Raises ValueError if shared work (data, trunk) cannot be done.
        """
        done = ("finished", "made by other code") if accept_old_code else ("finished",)
        states = {cell.id: cell.state() for cell in cells}
        waiting = list({c.id: c for c in cells if states[c.id] not in done}.values())
        self._announce(states, accept_old_code)
        for cell in waiting:
            self._prepare(cell)
        failed: list[Cell] = []
        running: dict[str, tuple[Cell, Worker]] = {}
        total, began = len(waiting), time.monotonic()
        with deferred_interrupt() as interrupted:
            while waiting or running:
                while waiting and len(running) < self.jobs and not interrupted():
                    cell = waiting.pop(0)
                    options = "--device", self.device, *self.extra
                    worker = start_trial(cell, self.runs, self.trainer, options)
                    running[f"{cell.row}, seed {cell.seed}"] = cell, worker
                failed += self._collect(running)
                finished = total - len(waiting) - len(running)
                notes = {name: worker.progress() for name, (_, worker) in running.items()}
                done_so_far = finished + sum(share(note) for note in notes.values())
                self.watch.show(notes, finished, total, time_left(began, done_so_far, total))
                if interrupted():
                    self._stop([worker for _, worker in running.values()])
                    self._collect(running, stopping=True)
                    raise KeyboardInterrupt
                time.sleep(POLL_S)
        return failed

    def _announce(self, states: dict[str, str], accept_old_code: bool) -> None:
        for state in sorted(set(states.values())):
            count = sum(s == state for s in states.values())
            then = {
                "finished": "kept",
                "failed": "tried again",
                "interrupted": "gone on with",
                "to do": "to run",
                "made by other code": "kept" if accept_old_code else "run again",
            }
            self.watch.say(f"{count} {state}: {then[state]}")

    def _collect(
        self, running: dict[str, tuple[Cell, Worker]], *, stopping: bool = False
    ) -> list[Cell]:
        """Make the records of the workers that have ended; returns the failed ones.

        stopping   a worker that was asked to stop may die of it, while it still starts: no failure
        """
        failed = []
        for name, (cell, worker) in list(running.items()):
            if worker.process.poll() is None:
                continue
            del running[name]
            code = worker.close()
            if code == 130 or (stopping and code != 0):
                continue
            record = recorded(cell, code)
            if record.error is None:
                took = time.monotonic() - worker.started
                self.watch.say(f"{name}: {summary(record)} ({took:.0f} s)")
            else:
                failed.append(cell)
                self.watch.say(f"{name}: failed, {record.error.splitlines()[0]}; the rest goes on")
        return failed

    def _stop(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.interrupt()
        deadline = time.monotonic() + PATIENCE_S
        while any(w.process.poll() is None for w in workers) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.kill()

    def _prepare(self, cell: Cell) -> None:
        """Draw the data and pretrain the trunk that the cell needs, unless they are there."""
        if cell.trial.pretraining is None:
            for split in ("train", "val"):
                cell.trial.data.open(split, self.runs / "data")  # type: ignore[arg-type]
            return
        folder = trunk_folder(cell.trial, self.runs)
        if (folder / "trunk.safetensors").exists() and (folder / FILE).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "trial.json", plain(cell.trial))
        options = ["--trial", str(folder / "trial.json"), "--runs", str(self.runs)]
        options += ["--device", self.device]
        self.watch.say("pretraining the trunk, once for all rows")
        worker = start(["pretrain", *options], folder, cores(), self.trainer)
        with deferred_interrupt() as interrupted:
            while worker.process.poll() is None:
                self.watch.show({"pretraining": worker.progress()}, 0, 1, "")
                if interrupted():
                    self._stop([worker])
                    raise KeyboardInterrupt
                time.sleep(POLL_S)
        if worker.close() != 0:
            words = last_words(folder).strip().splitlines()
            raise ValueError(f"pretraining failed: {words[-1] if words else 'without a word'}")
        record = pretraining_record(folder)
        self.watch.say(f"pretrained in {record.cost['train_s']:.0f} s")


def pretraining_record(folder: Path) -> Record:
    """The record of a pretrained trunk, made from what its worker left if it is not there yet."""
    if (folder / FILE).exists():
        return load_record(folder / FILE)
    result = json.loads((folder / "result.json").read_text())
    record = Record(
        kind="pretraining",
        id=result["id"],
        code_id=result["made_by"]["code_id"],
        config={"trunk": result["trunk"], "pretraining": result["config"]},
        cost=result["cost"],
        history=tuple(result["history"]),
        made_by=result["made_by"],
    )
    record.save(folder)
    return record


def summary(record: Record) -> str:
    """The two numbers a person waits for."""
    return ", ".join(
        f"{name} {record.metrics[name]:.1f}"
        for name in ("mask AP", "box AP")
        if name in record.metrics
    )


def share(note: Mapping[str, Any]) -> float:
    """How much of its trial a running worker has done, by its last note: 0 to 1."""
    begins, takes = PHASES.get(note.get("phase", ""), (0.0, 0.0))
    return begins + takes * note["step"] / note["of"] if takes else 0.0


def time_left(began: float, done: float, total: int) -> str:
    """The time to go in words, once enough has been seen to say."""
    if done < 0.15:
        return ""
    seconds = (time.monotonic() - began) * (total - done) / done
    return (
        f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
    )


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class deferred_interrupt:  # noqa: N801  (reads as a statement: with deferred_interrupt() as ...)
    """Within the block, Ctrl-C and SIGTERM are noted, not raised; call it to ask."""

    def __enter__(self) -> Callable[[], bool]:
        self.asked = False
        self.before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        return lambda: self.asked

    def _note(self, *_: object) -> None:
        self.asked = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
