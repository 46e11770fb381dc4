"""One process of one side: it prepares, checks and times what it is told to, and else sleeps.

Commands come as JSON lines on standard input and are answered one line each on what was standard
output; whatever the work itself prints goes to standard error.
"""

import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark, Ready


def main(folder: str, kernels: str, peer: str) -> None:
    """Answer commands until there are none.

    folder    where the side lies, and `kernels` must come from unless the code that measures
              brings its own
    kernels   the side's file of kernels; "" for the suite
    peer      "peer" to measure the peers' work
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    commands = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    bench = Bench(peer == "peer")
    with tempfile.TemporaryDirectory() as made:
        bench.folder = Path(made)
        for line in commands:
            try:
                answer = bench.answer(json.loads(line), folder, kernels)
            except KeyboardInterrupt:
                return
            except BaseException as error:  # SystemExit of the work is a finding as well
                answer = {"error": said(error)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        with suppress(Exception):
            bench.close()


def said(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


class Bench:
    """What is being measured in this process: at most one benchmark at a time."""

    def __init__(self, peer: bool = False) -> None:
        self.peer = peer
        self.cores = list(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.folder = Path()
        self.known: Mapping[str, Benchmark] = {}
        self.ready: Ready | None = None

    def answer(self, given: dict[str, Any], folder: str, kernels: str) -> dict[str, Any]:
        """Do what is asked for. Raises what the work raises."""
        kind = given["do"]
        hold(given.get("cores") or self.cores)
        if kind == "list":
            return self.listed(folder, kernels, given.get("names", []))
        if kind == "prepare":
            return self.prepare(given["name"], given["seed"], given.get("calibrate", False))
        assert self.ready is not None
        if kind == "renew":
            self.ready.renew(given["seed"])
        if kind == "slice":
            return timed(self.ready, given["calls"], given["samples"])
        if kind == "finish":
            self.ready.check()
            self.close()
        return {}

    def listed(self, folder: str, kernels: str, names: Sequence[str] = ()) -> dict[str, Any]:
        """What there is to measure: name -> operator, effect, ahead; modules that do not load.

        names   where these are all that will be asked for

        Raises ImportError if the side's own code is not what was imported.
        """
        from benchmarks import suite

        import_from(folder)
        file = Path(folder) / kernels
        found = suite.of_kernels(file) if kernels else suite.everything(names)
        self.known = found
        return {
            "benchmarks": {
                name: {"operator": b.operator, "effect": b.effect, "ahead": b.ahead,
                       "peer": b.peer is not None, "threads": b.threads, "device": b.device}
                for name, b in found.items()
            },
            "broken": {} if kernels else dict(suite.BROKEN),
        }  # fmt: skip

    def prepare(self, name: str, seed: int, calibrate: bool) -> dict[str, Any]:
        """Make ready, check the answer, and warm up. With `calibrate`, how long a call takes."""
        import torch

        if name not in self.known:
            raise LookupError(f"there is no benchmark {name!r}")
        one = self.known[name]
        prepare = one.peer if self.peer else one.prepare
        if prepare is None:
            raise LookupError(f"{name} has no peer")
        torch.set_num_threads(one.threads)
        self.close()
        self.ready = prepare(self.folder)
        self.ready.check()
        self.ready.renew(seed)
        self.ready.run()
        gc.collect()
        gc.freeze()  # what is loaded by now is not looked through before every slice: 0.25 s each
        return calibrated(self.ready, seed) if calibrate else {}

    def close(self) -> None:
        """Give back what the last benchmark held."""
        held, self.ready = self.ready, None
        if held is not None:
            held.close()
        gc.collect()


def hold(cores: Sequence[int]) -> None:
    """Let all threads of this process run on these cores alone; without any, leave them as they
    are.
    """
    for thread in os.listdir("/proc/self/task") if cores else ():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread), cores)


def import_from(folder: str) -> None:
    """Raises ImportError unless `kernels` comes from this folder, where it has one."""
    import kernels

    mine = Path(folder) / "kernels"
    found = Path(str(kernels.__file__)).parent
    if (mine / "op.py").exists() and not found.samefile(mine):
        raise ImportError(f"kernels was imported from {found}, not from the side measured")


def timed(ready: Ready, calls: int, samples: int) -> dict[str, Any]:
    """Milliseconds per call of each sample, of so many calls. A call before them is not timed, but
    where there is one sample alone: that is long, and little of it is to fetch what it reads.

    Samples in which the core was taken away from us are left out, counted, and taken again, up to
    twice as many more; where all are such, all are kept.
    """
    run, clock = ready.run, time.perf_counter_ns
    gc.collect()
    gc.disable()
    whole: list[float] = []
    cut: list[float] = []
    try:
        if samples > 1:
            run()
        while len(whole) < samples and len(whole) + len(cut) < 3 * samples:
            before = interruptions()
            start = clock()
            for _ in range(calls):
                run()
            took = (clock() - start) / 1e6 / calls
            (cut if interruptions() > before else whole).append(took)
    finally:
        gc.enable()
    return {"ms": whole or cut, "disturbed": len(cut)}


def interruptions() -> int:
    """How often a thread of this process was stopped for somebody else's sake."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def calibrated(ready: Ready, seed: int) -> dict[str, Any]:
    """Milliseconds of a call, the least of some, and of new inputs."""
    run, clock = ready.run, time.perf_counter
    spent, count, least = 0.0, 0, float("inf")
    while count < 3 or (spent < 0.05 and count < 200):
        start = clock()
        run()
        took = clock() - start
        spent, count, least = spent + took, count + 1, min(least, took)
    start = clock()
    ready.renew(seed)
    return {"call_ms": 1e3 * least, "renew_ms": 1e3 * (clock() - start)}


if __name__ == "__main__":
    main(*sys.argv[1:])
