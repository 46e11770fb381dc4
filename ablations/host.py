"""The other end of a Ray engine: what runs on the worker's machine. Nothing here loads PyTorch."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.job import WEIGHTS, Job
from ablations.local import Local, Worker

RESULTS = ("progress.jsonl", "stderr.txt", "trunk.safetensors", WEIGHTS)
LAST = ("predictions.json", "gallery.json", "matches.npz", "result.json")
"""What a job leaves behind; result.json is written last, for it says that the rest is there."""


class Host:
    """On the worker's machine: the job as a process in a folder there."""

    def __init__(self, scratch: str, trainer: list[str], cwd: str) -> None:
        if Path(cwd).is_dir():
            os.chdir(cwd)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self.runs = Path(tempfile.gettempdir()) / scratch  # which may be absolute
        self.trainer = [sys.executable, *trainer[1:]]
        self.worker: Worker | None = None

    def begin(self, job: Job, files: Mapping[str, bytes]) -> tuple[int | None, Mapping[str, Any]]:
        """Start the job; `files` by their places below the folder of all runs."""
        for place, content in files.items():
            write(self.runs / place, content)
        self.worker = Local(runs=self.runs, jobs=1, trainer=self.trainer).start(job)
        return self.look()

    def look(self) -> tuple[int | None, Mapping[str, Any]]:
        """Exit code, or None while it runs, and the last note of progress."""
        assert self.worker is not None
        return self.worker.poll(), self.worker.progress()

    def interrupt(self) -> None:
        """Ask the job to save its state and end."""
        assert self.worker is not None
        self.worker.interrupt()

    def results(self) -> list[tuple[str, bytes]]:
        """What the job left, in the order to write it in."""
        assert self.worker is not None
        folder = self.worker.folder
        there = [name for name in (*RESULTS, *LAST) if (folder / name).exists()]
        return [(name, (folder / name).read_bytes()) for name in there]

    def forget(self) -> None:
        """Clear the job's folder: what it left lies elsewhere by now."""
        assert self.worker is not None
        self.worker.close()
        shutil.rmtree(self.worker.folder, ignore_errors=True)


def write(path: Path, content: bytes) -> None:
    """A file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(content)
    os.replace(draft, path)
