"""What an engine runs: a command of `mrcnn` and the folder it works in; and what an engine is.

Nothing here loads PyTorch: a process that only watches another one starts in no time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

STOPPED = 130
"""Exit code of a command that was asked to stop and has saved its state."""
WEIGHTS = "model.safetensors"
STALE = ("record.json", "result.json")
"""What a former run of the same trial has left, which goes before the next one."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One process, or several by torchrun, that train and evaluate a trial or pretrain its trunk.

    Places are relative to the folder of all runs, so that a job can be done under another one.

    place     the folder it works in
    trial     in plain values
    threads   of each process
    trained   the run whose weights are evaluated instead of training
    needs     files that it reads beside the trial, where they are there already
    options   further words of the command
    """

    verb: Literal["train", "pretrain"]
    place: str
    trial: Mapping[str, Any]
    threads: int
    processes: int = 1
    trained: str | None = None
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def command(self, runs: Path) -> list[str]:
        """The words behind `python -m mrcnn`."""
        folder = runs / self.place
        words = [self.verb, "--trial", str(folder / "trial.json"), "--runs", str(runs)]
        words += ["--out", str(folder)] if self.verb == "train" else []
        words += ["--trained", str(runs / self.trained / WEIGHTS)] if self.trained else []
        return [*words, "--threads", str(self.threads), *self.options]


class Handle(Protocol):
    """A job that was started."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal, once its files are there; None while it runs."""

    def progress(self) -> Mapping[str, Any]:
        """The last line it noted; empty before the first."""

    def interrupt(self) -> None:
        """Ask it to save its state and end."""

    def kill(self) -> None:
        """End it at once."""

    def close(self) -> None:
        """Let its folder go; called once its end was seen, and its record made."""


class Engine(Protocol):
    """Where jobs run.

    jobs      how many at a time
    threads   that a job can use which runs alone
    """

    @property
    def jobs(self) -> int: ...

    @property
    def threads(self) -> int: ...

    def start(self, job: Job) -> Handle:
        """Start a job. Raises ValueError if another runner is at work in its folder."""

    def close(self) -> None:
        """Let go of what the engine holds, its jobs having ended."""
