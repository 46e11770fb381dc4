"""A process of one side, asked over pipes; what crashes or hangs there is a finding here."""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from benchmarks.gate.sides import Side, ended

PATIENCE_S = 120.0
"""How long a process may take over one answer; a first one compiles."""
PINNED = {
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "",
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "MKL_DYNAMIC": "FALSE",
}
"""What could differ between processes for no reason of the code's; and threads that wait sleep."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
START = (
    "import sys; sys.path[:0] = sys.argv[1:3]; "
    "from benchmarks.gate.worker import main; main(*sys.argv[2:])"
)


class Failed(Exception):  # noqa: N818  (the work's failure, not an error of ours)
    """A side could not do what it was asked to; the text says why, in one line.

    dead   whether its process is gone as well
    """

    def __init__(self, text: str, *, dead: bool) -> None:
        super().__init__(text)
        self.dead = dead


class Worker:
    """A process of one side. Leaving it as a context ends the process.

    patience_s   how long it may take over an answer
    """

    def __init__(self, side: Side, *, threads: int, patience_s: float = PATIENCE_S) -> None:
        self.side, self.patience_s = side, patience_s
        self.words = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `end`)
        self.buffer = b""
        self.process = subprocess.Popen(
            [side.python, "-P", "-c", START, str(side.code), str(side.folder),
             side.kernels or "", "peer" if side.peer else ""],
            cwd=side.folder,
            env={**os.environ, **PINNED, **dict.fromkeys(THREADS, str(threads))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            start_new_session=True,  # Ctrl-C is for us: we end our processes
        )  # fmt: skip

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, **command: Any) -> None:
        """Send a command. A process that is gone is found when its answer is waited for."""
        assert self.process.stdin is not None
        with suppress(OSError, ValueError):  # it is gone, or we ended it
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()

    def wait(self) -> dict[str, Any]:
        """The answer. Raises Failed where there is none, or it says that the work failed."""
        line = self._line()
        if line is None:
            raise Failed(self._fate(), dead=True)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"], dead=False)
        return answer

    def call(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        self.ask(**command)
        return self.wait()

    def _line(self) -> bytes | None:
        """The next line, or None if the process ends or is late."""
        assert self.process.stdout is not None
        if self.process.stdout.closed:
            return None
        pipe, until = self.process.stdout.fileno(), time.monotonic() + self.patience_s
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            read = os.read(pipe, 65536)
            if not read:
                return None
            self.buffer += read
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _fate(self) -> str:
        """Why there is no answer; the process is ended where it still runs."""
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.end()
            return f"no answer within {self.patience_s:g} s"
        last = self._last_words() if code >= 0 else ""
        return f"its process ended with {ended(code)}" + (f": {last}" if last else "")

    def _last_words(self) -> str:
        self.words.seek(0, os.SEEK_END)
        self.words.seek(max(self.words.tell() - 4000, 0))
        lines = self.words.read().decode(errors="replace").strip().splitlines()
        return " ".join(lines[-1].split())[:400] if lines else ""

    def end(self) -> None:
        """End the process and what it started."""
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.words.close()


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """A cancelled job gets SIGTERM: it ends like one that was stopped by hand, tidily."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
