"""A trial in a process of its own: started, watched, stopped; and the record made of its end."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ablations.grid import Cell
from mrcnn.atomic import write_json
from mrcnn.provenance import code_id, made_by
from mrcnn.spec import plain
from reports.record import FILE, Record

TRAINER = (sys.executable, "-m", "mrcnn")
TAIL = 4000
"""Characters of a failed worker's last words that its record keeps."""


@dataclass
class Worker:
    """A running process and the folder it works in. It has a process group of its own, so that
    Ctrl-C reaches the runner, which then asks each worker to save its state.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    lock: IO[str]
    started: float

    def progress(self) -> Mapping[str, Any]:
        """The last line the worker noted; empty before the first."""
        path = self.folder / "progress.jsonl"
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 2000))
                lines = file.read().decode().splitlines()
        except OSError:
            return {}
        for line in reversed(lines):
            try:
                return dict(json.loads(line))
            except ValueError:
                continue
        return {}

    def interrupt(self) -> None:
        """Ask it to save its state and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def close(self) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        code = self.process.wait()
        self.lock.close()
        return code


def start(
    command: Sequence[str], folder: Path, threads: int, trainer: Sequence[str] = TRAINER
) -> Worker:
    """Start `trainer command` in `folder` with so many threads.

    Raises ValueError if another runner is at work in that folder.
    """
    lock = locked(folder)
    threads_of = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with (folder / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(
            [*trainer, *command, "--threads", str(threads), "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **threads_of, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
            pass_fds=[lock.fileno()],  # a worker that outlives its runner keeps the lock
        )
    return Worker(process, folder, lock, time.monotonic())


def locked(folder: Path, patience_s: float = 30.0) -> IO[str]:
    """A lock on `folder` that lasts as long as this process or the worker that inherits it.

    Waits while only the worker of a runner that is gone is left: it stops at its next step.
    Raises ValueError naming the runner that holds the lock and lives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("a+")
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            if alive(holder) or time.monotonic() > deadline:
                lock.close()
                raise ValueError(
                    f"{folder}: process {holder} is at work here; wait for it"
                ) from None
            time.sleep(0.2)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def alive(process: str) -> bool:
    """Whether a process of that number is running."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def start_trial(
    cell: Cell, runs: Path, trainer: Sequence[str] = TRAINER, extra: Sequence[str] = ()
) -> Worker:
    """Train and evaluate a cell's trial with one thread; a former run's result goes first."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    for stale in (FILE, "result.json"):
        (cell.folder / stale).unlink(missing_ok=True)
    trial = cell.folder / "trial.json"
    write_json(trial, plain(cell.trial))
    options = ["--trial", str(trial), "--out", str(cell.folder), "--runs", str(runs), *extra]
    return start(["train", *options], cell.folder, 1, trainer)


def recorded(cell: Cell, code: int) -> Record:
    """The record, saved, of a trial whose worker ended with `code`: a crash is a record too."""
    path = cell.folder / "result.json"
    if code == 0 and path.exists():
        record = _success(cell, json.loads(path.read_text()))
    else:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}, no result"
        record = Record(
            kind="trial",
            id=cell.id,
            code_id=code_id(),
            config=plain(cell.trial),
            error=f"{how}\n{last_words(cell.folder)}".strip(),
            made_by=made_by("cpu", {}),
        )
    record.save(cell.folder)
    return record


def _success(cell: Cell, result: Mapping[str, Any]) -> Record:
    return Record(
        kind="trial",
        id=cell.id,
        code_id=result["made_by"]["code_id"],
        config=plain(cell.trial),
        data=result["data"],
        metrics={k: float("nan") if v is None else v for k, v in result["metrics"].items()},
        cost=result["cost"],
        history=tuple(result["history"]),
        made_by=result["made_by"],
    )


def last_words(folder: Path) -> str:
    """The end of what a worker wrote to standard error."""
    try:
        return (folder / "stderr.txt").read_text(errors="replace")[-TAIL:]
    except OSError:
        return ""
