"""What a person sees while trials run: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

PLAIN_EVERY_S = 15.0


class Watch(Protocol):
    """Shows how far the running trials are, and says things in between."""

    def say(self, line: str) -> None: ...

    def show(self, running: Mapping[str, Mapping[str, Any]], done: int, of: int, left: str) -> None:
        """running: name -> the worker's last progress note; left: the time to go, in words."""


@contextmanager
def watching() -> Iterator[Watch]:
    """Bars where there is a terminal, else a line every 15 seconds."""
    console = Console()
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=console
    ) as bars:
        yield Bars(bars)


class Lines:
    """For logs: what is running, once in a while."""

    def __init__(self, console: Console) -> None:
        self.console, self.last = console, 0.0

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def show(self, running: Mapping[str, Mapping[str, Any]], done: int, of: int, left: str) -> None:
        if time.monotonic() - self.last < PLAIN_EVERY_S:
            return
        self.last = time.monotonic()
        parts = [f"{done} of {of} done{left}"]
        for name, note in running.items():
            where = f"{note['phase']} {note['step']}/{note['of']}" if note else "starting"
            parts.append(f"{name}: {where}")
        self.say("; ".join(parts))


class Bars:
    """For people: one bar for all, one for each running trial."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.all: TaskID | None = None
        self.tasks: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        self.bars.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def show(self, running: Mapping[str, Mapping[str, Any]], done: int, of: int, left: str) -> None:
        if self.all is None:
            self.all = self.bars.add_task("all", total=of, note="")
        self.bars.update(self.all, completed=done, total=of, note=left.lstrip(", "))
        for name in set(self.tasks) - set(running):
            self.bars.remove_task(self.tasks.pop(name))
        for name, note in running.items():
            if name not in self.tasks:
                self.tasks[name] = self.bars.add_task(name, total=None, note="")
            if note:
                loss = (
                    f"{note['phase']}, loss {note['loss']:.2f}" if "loss" in note else note["phase"]
                )
                self.bars.update(
                    self.tasks[name], completed=note["step"], total=note["of"], note=loss
                )
