"""Fill the grid: whatever has no record is trained, and nothing is trained twice."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablations.budget import PHASES, Budget, Times, share, time_left, times_of
from ablations.grid import Cell
from ablations.job import STOPPED, Engine, Handle
from ablations.outcome import adopt, recorded
from ablations.setting import Setting
from ablations.sharing import Waiting, in_turn, trainings
from ablations.trunks import Trunks
from ablations.watch import Watch
from reports.record import Record

POLL_S = 0.25
PATIENCE_S = 20.0
"""How long an interrupted worker has to save its state before it is killed."""
UNLIMITED = Budget()


@dataclass
class Outcome:
    """What a filling came to.

    failed   cells whose trial failed: their records say how
    left     cells that were not begun, or not finished, because the time was over
    """

    failed: list[Cell] = field(default_factory=list)
    left: list[Cell] = field(default_factory=list)


@dataclass
class Running:
    """A started cell. `trains`: it does not only evaluate."""

    cell: Cell
    handle: Handle
    trains: bool
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """Rows of several tables may have one name, so the trial's own comes first."""
        return f"{self.cell.id[:4]} {self.cell.row}, seed {self.cell.seed}"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Fills grids, with an engine that it knows nothing of.

    setting           how every trial runs
    accept_old_code   keep what other code made
    budget            start nothing that would not end within it; what runs at its end is stopped
                      with its state saved
    """

    runs: Path
    engine: Engine
    watch: Watch
    setting: Setting = Setting()
    accept_old_code: bool = False
    budget: Budget = UNLIMITED

    def fill(self, cells: Sequence[Cell]) -> Outcome:
        """Run every cell that needs it, in the order given.

        Raises KeyboardInterrupt once the running trials have saved their state.
        Raises ValueError if shared work (data, trunk) cannot be done.
        """
        done = ("finished", "made by other code") if self.accept_old_code else ("finished",)
        adopted = sum(adopt(cell) for cell in cells)
        states = {cell.id: cell.state() for cell in cells}
        self._announce(states, adopted)
        todo = [cell for cell in in_turn(cells, states) if states[cell.id] not in done]
        if not todo:
            return Outcome()
        found = trainings(self.runs, accept_old_code=self.accept_old_code)
        waiting = Waiting(todo, found)
        with deferred_interrupt() as interrupted:
            training = [cell for cell in todo if waiting.source(cell) is None]
            for data in dict.fromkeys(cell.trial.data for cell in training):
                for split in ("train", "val"):
                    data.open(split, self.runs / "data")  # type: ignore[arg-type]
            trunks = Trunks.of(training, self.runs)
            return self._work(waiting, trunks, times_of(cells), interrupted)

    def _work(
        self, waiting: Waiting, trunks: Trunks, times: Times, interrupted: Callable[[], bool]
    ) -> Outcome:
        outcome, running = Outcome(), list[Running]()
        total, began = len(waiting.cells), time.monotonic()
        weights = weighed(waiting)
        if trunks.missing:
            count = f"{len(trunks.missing)} trunks" if len(trunks.missing) > 1 else "a trunk"
            self.watch.say(f"pretraining {count}, once for all rows that start from it")
        while waiting.cells or running:
            while not interrupted() and not self.budget.over:
                if not self._start_next(running, waiting, trunks, times):
                    break
            if not running and not trunks.running and not interrupted():
                break  # the rest would not end in time
            if interrupted() or self.budget.over:
                end(trunks.handles)
                for handle in trunks.handles:
                    handle.close()
                outcome.left += self._stop(running, waiting, outcome)
                if interrupted():
                    raise KeyboardInterrupt
                break
            self._collect(running, waiting, times, outcome)
            self._collect_trunks(running, trunks)
            notes = {one.cell.id: one.handle.progress() for one in running}
            ahead = sum(weights[cell.id] for cell in waiting.cells)
            ahead += sum(weights[id] * (1 - share(note)) for id, note in notes.items())
            everything = sum(weights.values())
            left = time_left(began, everything - ahead, everything)
            named = trunks.progress() | {one.name: notes[one.cell.id] for one in running}
            self.watch.show(named, total - len(waiting.cells) - len(running), total, left)
            time.sleep(POLL_S if running or trunks.running else 0)
        outcome.left += waiting.cells
        return outcome

    def _start_next(
        self, running: list[Running], waiting: Waiting, trunks: Trunks, times: Times
    ) -> bool:
        """Start a trunk, or else a cell whose trunk is there, if a place is free; whether it did.

        Trunks come first: cells wait for them.
        """
        if len(running) + len(trunks.running) >= self.engine.jobs:
            return False
        if trunks.missing:
            trunks.start(self.engine, self.setting)
            return True

        def fits(cell: Cell) -> bool:
            trained = waiting.source(cell) is not None
            here = trained or trunks.ready(cell)
            return here and self.budget.allows(times.expected(cell, trained=trained))

        cell = waiting.take(fits)
        if cell is not None:
            running.append(self._start(cell, waiting))
        return cell is not None

    def _collect_trunks(self, running: list[Running], trunks: Trunks) -> None:
        """Say which trunks are ready. If one failed, all else is stopped, with its state saved."""
        try:
            for record in trunks.collect():
                self.watch.say(f"pretrained {record.id[:4]} in {record.cost['train_s']:.0f} s")
        except ValueError:
            handles = [*trunks.handles, *(one.handle for one in running)]
            end(handles)
            for handle in handles:
                handle.close()
            raise

    def _start(self, cell: Cell, waiting: Waiting) -> Running:
        source = waiting.source(cell)
        job = self.setting.trial(cell, self.runs, source)
        return Running(cell, self.engine.start(job), trains=source is None)

    def _announce(self, states: dict[str, str], adopted: int) -> None:
        if adopted:
            self.watch.say(f"{adopted} had a result and no record yet: recorded")
        for state in sorted(set(states.values())):
            count = sum(s == state for s in states.values())
            then = {
                "finished": "kept",
                "failed": "tried again",
                "interrupted": "gone on with",
                "to do": "to run",
                "made by other code": "kept" if self.accept_old_code else "run again",
            }
            self.watch.say(f"{count} {state}: {then[state]}")

    def _collect(
        self, running: list[Running], waiting: Waiting, times: Times, outcome: Outcome
    ) -> None:
        """Make the records of the workers that have ended."""
        for one in list(running):
            code = one.handle.poll()
            if code is None:
                continue
            running.remove(one)
            if code == STOPPED:  # somebody else asked it to
                outcome.left.append(one.cell)
                waiting.ended(one.cell, well=False)
            else:
                self._record(one, code, waiting, outcome)
                times.note(one.cell, one.cell.record)  # type: ignore[arg-type]
            one.handle.close()

    def _record(self, one: Running, code: int, waiting: Waiting, outcome: Outcome) -> None:
        record = recorded(one.cell, code)
        waiting.ended(one.cell, well=record.error is None)
        if record.error is not None:
            outcome.failed.append(one.cell)
            self.watch.say(f"{one.name}: failed, {record.error.splitlines()[0]}; the rest goes on")
            return
        took = time.monotonic() - one.started
        how = f"{took:.0f} s" if one.trains else f"{took:.0f} s, trained by {record.trained_by}"
        self.watch.say(f"{one.name}: {summary(record)} ({how})")

    def _stop(self, running: list[Running], waiting: Waiting, outcome: Outcome) -> list[Cell]:
        """End what runs, with its state saved; returns the cells that were not finished.

        A worker that was asked to stop may die of it, while it still starts: that is no failure.
        """
        ended = end([one.handle for one in running])
        left = []
        for one, code in zip(running, ended, strict=True):
            if code == 0:
                self._record(one, code, waiting, outcome)
            else:
                left.append(one.cell)
            one.handle.close()
        running.clear()
        return left


def weighed(waiting: Waiting) -> dict[str, float]:
    """Cell id -> its share of the work: 1, or what evaluating takes where another one trains."""
    seen, weights = set(waiting.trained), {}
    for cell in waiting.cells:
        weights[cell.id] = PHASES["evaluate"][1] if cell.training in seen else 1.0
        seen.add(cell.training)
    return weights


def end(handles: Sequence[Handle]) -> list[int]:
    """Ask all to save their state and end, kill those that do not; their exit codes."""
    for handle in handles:
        handle.interrupt()
    deadline = time.monotonic() + PATIENCE_S
    while any(h.poll() is None for h in handles) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for handle in handles:
        if handle.poll() is None:
            handle.kill()
    return [-signal.SIGKILL if (code := handle.poll()) is None else code for handle in handles]


def summary(record: Record) -> str:
    """The two numbers a person waits for."""
    return ", ".join(
        f"{name} {record.metrics[name]:.1f}"
        for name in ("mask AP", "box AP")
        if name in record.metrics
    )


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
