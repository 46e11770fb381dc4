"""Instructions in place of seconds: a count that a busy machine does not change.

A benchmark runs under valgrind's callgrind, which counts each instruction of one call; the count
of a call that does nothing is taken off. What this cannot see: caches, memory bandwidth, how many
instructions a core does at once, threads (one at a time runs, and only work of one thread is
counted), a GPU. Valgrind knows no AVX-512: PyTorch and Numba are told to do with AVX2, so what is
counted is not always the code that runs outside.

Calls of one process differ by hundredths of a percent, for Python's heap is not twice the same;
where a call is mostly Python's own work, two states of the code may differ by a few percent for
the same reason (seen: 3 % of a loop of 2,000 steps in Python). A kernel's own instructions do not.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.gate.counted_call import EMPTY, WORK
from benchmarks.gate.process import PINNED, THREADS
from benchmarks.gate.sides import Side, ended

CALLS = 3
PATIENCE_S = 1800.0
"""How long all of it may take: valgrind is some fifty times as slow as the machine."""
START = (
    "import sys; sys.path[:0] = sys.argv[1:3]; "
    "from benchmarks.gate.counted_call import main; main(*sys.argv[2:])"
)
NO_AVX512 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NUMBA_CPU_NAME": "haswell",  # the first with AVX2; LLVM's name
}


@dataclass(frozen=True, kw_only=True)
class Count:
    """Instructions of each call of one benchmark on one side, those of an empty call taken off."""

    name: str
    side: str
    calls: tuple[int, ...]

    @property
    def each(self) -> int:
        """Of one call: the median."""
        return round(median(self.calls))

    @property
    def spread(self) -> float:
        """The largest less the smallest call, as a share of one: what no change explains."""
        return (max(self.calls) - min(self.calls)) / max(self.each, 1)


def missing() -> str | None:
    """One line that says why instructions cannot be counted here, or None."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        return "instructions are counted on Linux on x86-64 alone"
    if shutil.which("valgrind") is None:
        return (
            "instructions are counted by valgrind, which is not installed"
            " (Debian, Ubuntu: apt-get install valgrind)"
        )
    return None


def instructions(
    names: Sequence[str],
    side: Side,
    *,
    calls: int = CALLS,
    seed: int = 1,
    patience_s: float = PATIENCE_S,
) -> dict[str, Count | str]:
    """Benchmark -> the instructions of a call on a side, or one line that says why there are none.

    One process counts all of them, for under valgrind its start takes a minute: PyTorch is large.
    Before, a process outside of valgrind checks the answers, and Numba compiles there, into the
    side's own cache.
    patience_s   for a process to end

    Raises ValueError where instructions cannot be counted here, and where the side does not load.
    """
    if (why := missing()) is not None:
        raise ValueError(why)

    def command(these: Sequence[str]) -> list[str]:
        text = [side.python, "-P", "-c", START, str(side.code), str(side.folder)]
        text += [side.kernels or "", "peer" if side.peer else "", json.dumps(list(these))]
        return [*text, str(calls), str(seed)]

    found: dict[str, Count | str] = {}
    while left := [name for name in names if name not in found]:
        answered, end = finished(command(left), side.name, side.folder, patience_s)
        found |= {name: why or "" for name, why in answered.items()}
        if missed := [name for name in left if name not in answered]:
            found[missed[0]] = f"its process ended with {end}"
    right = [name for name in names if found[name] == ""]
    if right:
        numbers = under_valgrind(command(right), side.name, side.folder, patience_s)
        for number, name in enumerate(right):
            counts = numbers.get(number, ())
            whole = len(counts) == calls
            said = f"{len(counts)} of {calls} calls counted"
            found[name] = Count(name=name, side=side.name, calls=counts) if whole else said
    return {name: found[name] for name in names}


def under_valgrind(
    command: list[str], said: str, folder: Path, patience_s: float
) -> dict[int, tuple[int, ...]]:
    """By `counted_call.count`'s number what each call took, an empty call less.

    Raises ValueError that begins with `said` where the command fails or takes too long.
    """
    with TemporaryDirectory() as made:
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "-q"]
        valgrind += [f"--callgrind-out-file={made}/out", f"--log-file={made}/log"]
        finished([*valgrind, *command], said, folder, patience_s)
        found = totals(Path(made))
    return {
        number: tuple(n - min(found[EMPTY, number]) for n in calls)
        for (mark, number), calls in found.items()
        if mark == WORK
    }


def environment() -> Mapping[str, str]:
    """Variables of a process that is counted: one thread, no AVX-512, nothing random."""
    return {**os.environ, **PINNED, **NO_AVX512, **dict.fromkeys(THREADS, "1")}


def finished(
    command: list[str], said: str, folder: Path, patience_s: float
) -> tuple[dict[str, str | None], str]:
    """Run a process to its end: what it answered, of one that crashed too, and how it ended.

    Raises ValueError in one line where it ended before it was ready, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience_s,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{said}: not counted after {patience_s:.0f} s") from None
    lines = done.stdout.splitlines()
    if done.returncode and not lines:
        last = done.stderr.strip().rpartition("\n")[2] or ended(done.returncode)
        raise ValueError(f"{said}: {last}")
    answers = [json.loads(line) for line in lines]
    return {name: why for one in answers for name, why in one.items()}, ended(done.returncode)


def totals(folder: Path) -> dict[tuple[str, int], tuple[int, ...]]:
    """What callgrind's dumps in a folder counted, by the mark that each was made with, in order."""
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    dumps = [p for p in folder.glob("out.*") if p.suffix[1:].isdigit()]
    for dump in sorted(dumps, key=lambda p: int(p.suffix[1:])):
        text = dump.read_text(errors="replace")
        mark = re.search(r"^desc: Trigger: Client Request: (\w+) (\d+)$", text, re.M)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
        if mark and total:
            key = mark[1], int(mark[2])
            found[key] = (*found.get(key, ()), int(total[1]))
    return found
