"""Jobs as processes of this machine: started, watched, stopped. Nothing here loads PyTorch."""

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

from ablations.job import STALE, Job

TRAINER = (sys.executable, "-m", "mrcnn")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


@dataclass(frozen=True, kw_only=True)
class Local:
    """The engine of one machine.

    jobs      trials at a time: with one thread each, on few cores twice as fast as sharing them
    trainer   the command that stands before "train ..."; its first word is Python
    """

    runs: Path
    jobs: int
    trainer: Sequence[str] = TRAINER

    @property
    def threads(self) -> int:
        return cores()

    def start(self, job: Job) -> "Worker":
        """A process for the job; a former run's result goes first.

        Raises ValueError if another runner is at work in its folder.
        """
        folder = self.runs / job.place
        lock = locked(folder)
        for stale in STALE if job.verb == "train" else ():
            (folder / stale).unlink(missing_ok=True)
        (folder / "trial.json").write_text(json.dumps(job.trial, indent=1, sort_keys=True))
        threads_of = {n: str(job.threads) for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        python, *rest = self.trainer
        several = (*TORCHRUN, str(job.processes)) if job.processes > 1 else ()
        with (folder / "stderr.txt").open("wb") as errors:
            process = subprocess.Popen(
                [python, *several, *rest, *job.command(self.runs), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **threads_of, "PYTHONWARNINGS": "ignore"},
                start_new_session=True,
                pass_fds=[lock.fileno()],  # a worker that outlives its runner keeps the lock
            )
        return Worker(process, folder, lock)

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Worker:
    """A running process and the folder it works in. It has a process group of its own, so that
    Ctrl-C reaches the runner, which then asks each worker to save its state.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    lock: IO[str]

    def poll(self) -> int | None:
        return self.process.poll()

    def progress(self) -> Mapping[str, Any]:
        return last_note(self.folder)

    def interrupt(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.lock.close()


def last_note(folder: Path) -> Mapping[str, Any]:
    """The last line of progress that a run noted; empty before the first."""
    path = folder / "progress.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            continue
    return {}


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


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
