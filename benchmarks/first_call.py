"""The first call of an operator in a process: with nothing compiled yet, and from the cache."""

import json
import os
import subprocess
import sys
import tempfile

import kernels
from benchmarks.family import MEMBERS

OPERATORS = {
    operator: next(name for name, m in MEMBERS.items() if m.workload.operator == operator)
    for operator in kernels.operators()
}
"""Operator -> the name of the first benchmark of it."""


def first_calls() -> dict[str, dict[str, float]]:
    """Operator -> seconds of the first call in a fresh process, imports aside, in which Numba
    compiles, and in one that finds the compiled code in its cache.

    Raises RuntimeError with its last words where a process fails.
    """
    found = {}
    for operator, name in OPERATORS.items():
        with tempfile.TemporaryDirectory() as cache:
            compiles, cached = (_in_a_process(name, cache) for _ in range(2))
        found[operator] = {"compiles_s": compiles, "cached_s": cached}
    return found


def _in_a_process(name: str, cache: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_call", name],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the first call of {name}: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout)["seconds"])


def main(name: str) -> None:
    """Time the first call in this process and print it."""
    import time

    import numba  # noqa: F401  (an import, not part of the first call)

    workload, place = MEMBERS[name].workload, MEMBERS[name].place()
    arguments = workload.arguments(place, 1, few=True)
    start = time.perf_counter()
    workload.run(workload.ours("numba"), arguments)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(sys.argv[1])
