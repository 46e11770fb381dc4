"""One size of one law in a process of its own, under a limit of memory and of time.

Processes are forked from one that has imported PyTorch and run nothing (multiprocessing's
forkserver): each is fresh, and starts in milliseconds.
"""

import ctypes
import gc
import multiprocessing
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from benchmarks.benchmark import Ready

GIB = 2**30
SHORTEST_MS = 1.0
"""A call that takes less is timed in a loop: a sample must be long against the clock's steps."""
MOST = 25
"""Samples of one process."""
SPARE = GIB
"""Memory that is left to the machine beside what a process may take."""
End = Literal["measured", "memory", "time", "wrong", "failed"]
NO_MEMORY = re.compile(
    r"can(no|.)t allocate memory|not enough memory|out of memory|bad_alloc", re.I
)


@dataclass(frozen=True, kw_only=True)
class Law:
    """Work whose size is one number.

    what       is measured, and on what else it depends; unique together with the variable
    variable   what the number counts: "RoIs", "boxes", "image px", "classes", "threads", ...
    values     the sizes, rising
    prepare    (size) -> the work, ready; a function of a module or a partial of one, so that
               another process can have it
    threads    that it runs on, where the variable is not "threads"
    note       what else a reader must know
    """

    what: str
    variable: str
    values: tuple[int, ...]
    prepare: Callable[[int], Ready]
    threads: int = 1
    note: str = ""

    def threads_at(self, value: int) -> int:
        """How many threads the work of this size runs on."""
        return value if self.variable == "threads" else self.threads


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one process ended.

    ms        of its samples, each the mean of a loop of calls where one is short
    peak_mb   the most memory that was resident during the first call less what was resident before
              inputs were made: inputs, result and all between
    seconds   from its start to its end
    said      one line where nothing was measured
    """

    end: End
    seconds: float
    ms: tuple[float, ...] = ()
    peak_mb: float = 0.0
    said: str = ""

    @property
    def middle(self) -> float:
        """The median of its samples, in milliseconds."""
        return median(self.ms)


def processed(
    law: Law, value: int, *, limit: int, longest_s: float, sample_s: float = 0.3, seed: int = 1
) -> Outcome:
    """Measure one size in a fresh process.

    limit       bytes that the work may allocate; more ends the process alone. 0: no limit
    longest_s   after which the process is ended
    sample_s    for how long samples are taken; 0: one call, for its memory

    Raises ValueError where the machine has not that much memory to spare.
    """
    enough(limit)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.growth.laws"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_child, args=(theirs, law, value, limit, sample_s, seed), daemon=True
    )
    began = time.perf_counter()
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = {"end": "time", "said": f"not done after {longest_s:.0f} s"}
        if ours.poll(longest_s):
            found = ours.recv()
            process.join(longest_s)
    except EOFError:
        process.join(longest_s)
        found = {"end": "failed", "said": f"the process ended with code {process.exitcode}"}
    finally:
        process.kill()
        process.join()
        ours.close()
    return Outcome(seconds=time.perf_counter() - began, **found)


def enough(limit: int) -> None:
    """Raises ValueError where less memory is free than a process may take and the machine needs."""
    free = available()
    if free is not None and free < limit + SPARE:
        raise ValueError(
            f"a limit of {limit / GIB:.1f} GiB needs {(limit + SPARE) / GIB:.1f} GiB of free"
            f" memory, and {free / GIB:.1f} GiB are free: give a lower --limit-gib"
        )


def available() -> int | None:
    """Bytes that can be taken before the machine swaps or kills; None where it does not say."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _child(pipe: Connection, law: Law, value: int, limit: int, sample_s: float, seed: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process, and says so
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if one must go, then this one
    try:
        found = measured(law, value, limit, sample_s, seed)
    except AssertionError as error:
        found = {"end": "wrong", "said": _line(error)}
    except Exception as error:
        short = isinstance(error, MemoryError) or bool(NO_MEMORY.search(str(error)))
        found = {"end": "memory" if short else "failed", "said": _line(error)}
    pipe.send(found)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


def measured(law: Law, value: int, limit: int, sample_s: float, seed: int) -> dict[str, Any]:
    """Time and memory of one size in this process, the fields of an `Outcome` by name.

    The smallest size runs first, with its answer checked: what is compiled and loaded once is no
    part of the measurement. The answer is checked again after the last sample.
    """
    torch.set_num_threads(law.threads_at(value))
    warm = law.prepare(law.values[0])
    warm.renew(seed)
    warm.check()
    warm.run()
    warm.close()
    del warm
    before = at_rest()
    with limited(limit):
        ready = law.prepare(value)
        ready.renew(seed)
        forget_peak()
        start = time.perf_counter()
        ready.run()
        first = time.perf_counter() - start
        peak = peak_memory() - before
        ms = [1e3 * first] if first > sample_s else _samples(ready.run, first, sample_s)
    if sample_s:
        ready.check()
    ready.close()
    return {"end": "measured", "ms": tuple(ms), "peak_mb": max(peak, 0) / 1e6}


def _samples(run: Callable[[], object], first: float, sample_s: float) -> list[float]:
    found: list[float] = []
    loop = max(1, round(SHORTEST_MS / max(1e3 * first, 1e-3)))
    end = time.perf_counter() + sample_s
    while not found or (len(found) < MOST and time.perf_counter() < end):
        start = time.perf_counter()
        for _ in range(loop):
            run()
        took = 1e3 * (time.perf_counter() - start)
        if took < SHORTEST_MS / 2 and not found:
            loop *= 2 + int(SHORTEST_MS / max(took, 1e-3))  # the first call was slower than others
        else:
            found.append(took / loop)
    return found


def at_rest() -> int:
    """Bytes resident in this process after what it no longer needs was given back."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc; elsewhere the heap stays as it is
    return _status("VmRSS") if sys.platform == "linux" else peak_memory()


def forget_peak() -> None:
    """Let the peak start at what is resident now, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most bytes that were resident since `forget_peak`, or since this process started."""
    if sys.platform == "linux":
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, f"the system does not say {name}"
    return int(found[1]) * 1024


@contextmanager
def limited(limit: int) -> Iterator[None]:
    """Within the block this process may allocate so many bytes more than it has; 0: any number.

    By RLIMIT_DATA, which counts what was allocated whether it is touched or not. Linux alone.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if limit and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
