"""A pool: rounds of many sides, recorded once, on which the gate's decisions are tried again.

The sides are copies of the same code ("A1", "A2", ...) and copies with a slowdown planted ("S10":
10 %). `replay` cuts the rounds into disjoint runs and lets the unchanged `verdict.decide` judge
each pair of sides in each: how often it is right is counted, with exact intervals.
"""

import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.gate import rounds, verdict
from benchmarks.gate.rounds import Calibration, Samples, Slice, value
from benchmarks.gate.sides import Side, measuring
from benchmarks.gate.verdict import Verdict

BUSY = """
import os
block = bytearray(4 << 20)
parent = os.getppid()
while os.getppid() == parent:
    for i in range(2000):
        block[i * 2048] = (block[i * 2048] + sum(range(50))) % 256
"""
"""Work for a core that has nothing to do with ours, and ends with the process that started it."""
WORDS = ("FASTER", "SAME", "SLOWER", "UNSURE")


@contextmanager
def linked(folders: Mapping[str, Path]) -> Iterator[list[Side]]:
    """Sides in these folders, each behind a link whose path is as long as the others'."""
    for name, folder in folders.items():
        if not (folder / "kernels" / "op.py").is_file():
            raise ValueError(f"side {name}: {folder} is no checkout of this project")
    with TemporaryDirectory(prefix="pool-") as made:
        place = Path(made)
        code = measuring(place / "code", own=True)
        sides = []
        for number, (name, folder) in enumerate(folders.items()):
            link = place / f"s{number:03d}"
            link.symlink_to(folder.resolve(), target_is_directory=True)
            sides.append(Side(name=name, folder=link, revision=name, code=code))
        yield sides


@contextmanager
def loaded(cores: int) -> Iterator[None]:
    """So many cores kept busy by processes that are none of the measurement's."""
    with ExitStack() as stack:
        for _ in range(cores):
            busy = subprocess.Popen([sys.executable, "-c", BUSY])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        yield


def record(
    file: Path,
    sides: Sequence[Side],
    names: Sequence[str],
    count: int,
    *,
    condition: str = "quiet",
    load: int = 0,
    made_by: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    by: tuple[Callable[..., Calibration], Callable[..., rounds.Round]] = (
        rounds.calibrate,
        rounds.measure,
    ),
) -> int:
    """Go on until the file has `count` rounds of this condition; returns how many were added.

    load   cores that are kept busy meanwhile

    Raises ValueError for a file with other sides, and where a side fails: a pool has no gaps.
    """
    calibrate, measure = by
    header, done = read(file) if file.exists() else ({}, [])
    header = header or begun(sides, names, calibrate) | {"made_by": made_by or {}}
    if header["sides"] != [s.name for s in sides] or list(header["benchmarks"]) != list(names):
        raise ValueError(f"{file}: holds a pool of other sides or benchmarks; take another --out")
    rewritten(file, header, done)
    slices = {n: {k: Slice(**v) for k, v in s.items()} for n, s in header["slices"].items()}
    numbers = [r["round"] for r in done]
    have = sum(r["condition"] == condition for r in done)
    first = max(numbers, default=0) + 1
    with loaded(load):
        for number in range(first, first + max(count - have, 0)):
            started = time.time()
            one = measure(sides, slices, number)
            if one.failed:
                (name, side), why = next(iter(one.failed.items()))
                raise ValueError(f"round {number}, {name or 'all'} on {side}: {why}")
            line = {
                "round": number,
                "condition": condition,
                "started": started,
                "seconds": one.seconds,
                "disturbed": one.disturbed,
                "samples": brief(one.samples),
            }
            with file.open("a") as out:
                out.write(json.dumps(line) + "\n")
            say(f"round {number}, {condition}: {one.seconds:.1f} s")
    return max(count - have, 0)


def begun(
    sides: Sequence[Side], names: Sequence[str], calibrate: Callable[..., Calibration]
) -> dict[str, Any]:
    """The head of a new pool. Raises ValueError where a side cannot be measured."""
    found = calibrate(sides, lambda calibration: names)
    if found.failed:
        (name, side), why = next(iter(found.failed.items()))
        raise ValueError(f"{name} on {side}: {why}")
    return {
        "kind": "pool",
        "sides": [s.name for s in sides],
        "benchmarks": {n: found.lists[sides[0].name][n] for n in names},
        "slices": {n: {k: asdict(v) for k, v in s.items()} for n, s in found.slices.items()},
    }


def brief(samples: Any) -> Any:
    """Milliseconds to a nanosecond: the clock has no more."""
    if isinstance(samples, dict):
        return {name: brief(value) for name, value in samples.items()}
    return [brief(v) for v in samples] if isinstance(samples, list) else round(samples, 6)


def read(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head of a pool and its rounds; a last line that was cut off is left out.

    Raises ValueError for a file that is no pool.
    """
    found, lines = [], file.read_text().splitlines()
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    if not lines:
        return {}, []
    if not found or not isinstance(found[0], dict) or found[0].get("kind") != "pool":
        raise ValueError(f"{file}: is no pool; `python -m benchmarks pool` records one")
    return found[0], found[1:]


def rewritten(file: Path, header: Mapping[str, Any], done: Sequence[Mapping[str, Any]]) -> None:
    """The file with its whole lines alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".tmp")
    draft.write_text("".join(json.dumps(line) + "\n" for line in (header, *done)))
    draft.replace(file)


def planted(side: str) -> float | None:
    """The slowdown that a side's name tells of: 0.1 for "S10", 0 for "A1"; None for other names."""
    kind, rest = side[:1], side[1:]
    if kind == "A":
        return 0.0
    return float(rest) / 100 if kind == "S" and rest.isdecimal() else None


def pairs_of(sides: Sequence[str]) -> list[tuple[str, str]]:
    """Equal sides two by two, none of them twice; each slow side with an equal one in turn."""
    equal = [s for s in sides if planted(s) == 0]
    slow = [s for s in sides if planted(s)]
    if len(equal) < 2:
        raise ValueError("a pool that is replayed needs two sides A1, A2 of the same code at least")
    found = list(zip(equal[::2], equal[1::2], strict=False))
    return found + [(equal[i % len(equal)], s) for i, s in enumerate(slow)]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One benchmark's verdict in one replayed run, after so many rounds; `planted` is the slowdown,
    0.1 for 10 %.
    """

    condition: str
    run: int
    base: str
    head: str
    planted: float
    benchmark: str
    word: str
    ratio: float
    detectable: float
    rounds: int


Judged = Iterator[tuple[int, str, Verdict]]
"""(run, benchmark, what is said of it)."""


def together(
    values: Mapping[str, Sequence[float]], effects: Mapping[str, float], length: int
) -> Judged:
    """Runs of `length` rounds, one behind the other, of all benchmarks."""
    for run in range(min(map(len, values.values())) // length):
        part = {n: v[run * length : (run + 1) * length] for n, v in values.items()}
        for name, said in verdict.decide(part, effects).items():
            yield run, name, said


def as_needed(
    values: Mapping[str, Sequence[float]], effects: Mapping[str, float], length: int
) -> Judged:
    """Runs of each benchmark for itself, of at most `length` rounds: the next begins behind the
    round after which the last was decided, as the gate measures no more of what it has decided.

    A run that might lack rounds at the end of the pool does not begin: it would count where it was
    decided early and be lost where it was not. The correction is that of a gate run in which no
    other benchmark differs, the most that it can be.
    """
    for name, all_of_it in values.items():
        run = begin = 0
        while begin + length <= len(all_of_it):
            part = {name: all_of_it[begin : begin + length]}
            said = verdict.decide(part, effects, family=len(values))[name]
            yield run, name, said
            run, begin = run + 1, begin + said.rounds


def by_medians(
    values: Mapping[str, Sequence[float]], effects: Mapping[str, float], length: int
) -> Judged:
    """What `pytest --benchmark-compare-fail=median:5%` says of each round, for comparison: one
    process of either side, 5 % being the effect, SLOWER or not. `values` are of medians.
    """
    for name, all_of_it in values.items():
        for run, value_ in enumerate(all_of_it):
            ratio, effect = math.exp(value_), effects[name]
            yield run, name, Verdict(
                word="SLOWER" if ratio > 1 + effect else "SAME",
                ratio=ratio, low=ratio, high=ratio, band=effect, effect=effect,
                detectable=effect, rounds=1,
            )  # fmt: skip


def of_medians(samples: Samples, one: str, other: str) -> float:
    """log(time of `other` / time of `one`), of the medians of all their samples in a round."""
    middle = (float(np.median(np.concatenate(samples[side]))) for side in (other, one))
    return math.log(next(middle) / next(middle))


def decisions(
    header: Mapping[str, Any],
    done: Sequence[Mapping[str, Any]],
    length: int,
    cut: Callable[..., Judged] = together,
    *,
    number: Callable[[Samples, str, str], float] = value,
    effect: float | None = None,
) -> list[Decision]:
    """The verdicts of the gate on disjoint runs of `length` rounds, for each condition and pair.

    number   what is kept of a round
    effect   in place of those that the benchmarks declare

    A slowdown planted in the operators is looked for in the benchmarks of operators alone.
    """
    about = header["benchmarks"]
    effects = {n: effect or one["effect"] for n, one in about.items()}
    found = []
    for condition in dict.fromkeys(r["condition"] for r in done):
        of_it = [r["samples"] for r in done if r["condition"] == condition]
        for base, head in pairs_of(header["sides"]):
            size = planted(head) or 0.0
            values = {n: [number(s[n], base, head) for s in of_it] for n in about}
            found += [
                Decision(
                    condition=condition,
                    run=run,
                    base=base,
                    head=head,
                    planted=size,
                    benchmark=name,
                    word=said.word,
                    ratio=said.ratio,
                    detectable=said.detectable,
                    rounds=said.rounds,
                )
                for run, name, said in cut(values, effects, length)
                if about[name]["operator"] or not size
            ]
    return found


def counted(found: Sequence[Decision]) -> list[dict[str, Any]]:
    """How often each verdict was given, by condition and planted slowdown, with exact 95 % bounds.

    Slowdowns also for the benchmarks alone whose smallest detectable change is 3 % at most.
    Source: Clopper and Pearson 1934.
    """
    rows = []
    for condition in dict.fromkeys(d.condition for d in found):
        for size in sorted({d.planted for d in found}):
            for most in (None, 0.03):
                those = [d for d in found if d.condition == condition and d.planted == size]
                those = [d for d in those if most is None or d.detectable <= most]
                words = Counter(d.word for d in those)
                if those:
                    rows.append(
                        {
                            "condition": condition,
                            "planted": size,
                            "detectable_at_most": most,
                            "decisions": len(those),
                            "rounds": sum(d.rounds for d in those) / len(those),
                            "counts": {w: bounded(words[w], len(those)) for w in WORDS},
                        }
                    )
    return rows


def bounded(count: int, of: int) -> dict[str, float]:
    """A count, its share, and the exact 95 % interval of that."""
    interval = binomtest(count, of).proportion_ci(0.95, method="exact")
    low, high = float(interval.low), float(interval.high)
    return {"count": count, "share": count / of, "low": low, "high": high}
