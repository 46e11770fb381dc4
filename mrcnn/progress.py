"""How far a run has come, line by line, for whoever watches it and for whoever resumes it."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

NOTHING: Mapping[str, Any] = {}


@runtime_checkable
class Show(Protocol):
    """Called at every step with the phase, the step, of how many, and what else is known."""

    def __call__(
        self, phase: str, step: int, of: int, more: Mapping[str, Any] = NOTHING
    ) -> None: ...


def silent(phase: str, step: int, of: int, more: Mapping[str, Any] = NOTHING) -> None:
    """Shows nothing."""


class Progress:
    """Appends to a JSON-lines file. Each line has the phase, the step, of how many, and seconds."""

    def __init__(self, path: Path, show: Show = silent, *, every_s: float = 0.5) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.show, self.every_s = path, show, every_s
        self._written = 0.0

    def __call__(self, phase: str, step: int, of: int, more: Mapping[str, Any] = NOTHING) -> None:
        """Note a step; at most one line per `every_s` seconds, and always the last step."""
        self.show(phase, step, of, more)
        now = time.monotonic()
        if step < of and now - self._written < self.every_s:
            return
        self._written = now
        line = json.dumps({"phase": phase, "step": step, "of": of, "time": time.time(), **more})
        with self.path.open("a") as file:
            file.write(line + "\n")

    def phase(self, name: str, of: int) -> "Phase":
        return Phase(self, name, of)

    def history(self, phase: str) -> list[dict[str, Any]]:
        """Every noted step of a phase, in order; the later of those noted twice."""
        steps: dict[int, dict[str, Any]] = {}
        for line in self.path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a line cut off by a kill; its step is noted again
            if entry["phase"] == phase:
                steps[entry["step"]] = {
                    k: v for k, v in entry.items() if k not in ("time", "phase")
                }
        return [steps[step] for step in sorted(steps)]


class Phase:
    """The report of one optimisation: notes the losses of each step and the time they took.

    seconds   spent in this phase over all its processes, interruptions excluded
    at        the step under way
    """

    def __init__(self, progress: Progress, name: str, of: int) -> None:
        self.progress, self.name, self.of, self.at = progress, name, of, 0
        self._last = time.monotonic()
        self.seconds = max((e.get("s", 0.0) for e in self._earlier()), default=0.0)

    def _earlier(self) -> list[dict[str, Any]]:
        return self.progress.history(self.name) if self.progress.path.exists() else []

    def __call__(self, step: int, losses: Mapping[str, float]) -> None:
        now = time.monotonic()
        self.seconds, self._last, self.at = self.seconds + now - self._last, now, step + 1
        rounded = {name: round(value, 5) for name, value in losses.items()}
        more = {"loss": round(sum(losses.values()), 5), "losses": rounded, "s": self.seconds}
        self.progress(self.name, step + 1, self.of, more)


@contextmanager
def on_terminal() -> Iterator[Show]:
    """Bars with the time left on a terminal; elsewhere a plain line at most every ten seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = ("{task.description:<10}", "{task.fields[loss]}")
    with Bars(
        TextColumn(columns[0]),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn(columns[1]),
        console=console,
    ) as bars:
        tasks: dict[str, Any] = {}

        def show(phase: str, step: int, of: int, more: Mapping[str, Any] = NOTHING) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=of, loss="")
            loss = f"loss {more['loss']:.3f}" if "loss" in more else ""
            bars.update(tasks[phase], completed=step, loss=loss)

        yield show


def _plain_lines(every_s: float = 10.0) -> Show:
    last = 0.0

    def show(phase: str, step: int, of: int, more: Mapping[str, Any] = NOTHING) -> None:
        nonlocal last
        if step == of or time.monotonic() - last > every_s:
            last = time.monotonic()
            loss = f"  loss {more['loss']:.3f}" if "loss" in more else ""
            print(f"{phase} {step}/{of}{loss}", file=sys.stderr, flush=True)

    return show
