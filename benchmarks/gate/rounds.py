"""A round: one fresh process of each side, asked in turn for slices of samples, never two at once.

Sides take turns within a tenth of a second, forth and back (A B, B A, B A, A B), so that a machine
that slows down or speeds up does so for both; which side begins changes with the round. All run on
the same cores, in the next round on others: what else uses a machine makes its cores unlike, and a
process would stay on the one that it began on.
"""

import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.gate.process import PATIENCE_S, Failed, Worker
from benchmarks.gate.sides import Side

BLOCKS = 8
SLICE_MS = 15.0
SHORT_MS = 0.3
"""Calls shorter than this are timed in loops that are not: no sample is so long that a process
which wants the core would interrupt most of them."""
Samples = dict[str, list[list[float]]]
"""Side -> milliseconds per call of each sample, block by block."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """How a benchmark is sampled, the same on every side and in every round.

    samples   of a slice, each of so many `calls`
    fresh     whether inputs are made anew for each block, or for each round: where that takes
              longer than a slice
    """

    calls: int
    samples: int
    fresh: bool

    @staticmethod
    def of(call_ms: float, renew_ms: float, *, short_ms: float = SHORT_MS) -> "Slice":
        """For a call of that length and inputs made in that time."""
        calls = max(1, round(short_ms / max(call_ms, 1e-6)))
        samples = math.ceil(SLICE_MS / (calls * max(call_ms, 1e-6)))
        return Slice(calls=calls, samples=samples, fresh=renew_ms <= SLICE_MS)


@dataclass
class Round:
    """What came out of a round.

    samples   benchmark -> side -> blocks of samples
    disturbed   benchmark -> samples in which a core was taken away, of all sides
    failed    (benchmark, side) -> why there are none; benchmark "" stands for all of them
    seconds   that it took
    """

    number: int
    samples: dict[str, Samples] = field(default_factory=dict)
    disturbed: dict[str, int] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    seconds: float = 0.0


class Team:
    """The processes of a round, one for each side.

    names   all that will be measured; none: not known yet
    """

    def __init__(
        self,
        sides: Sequence[Side],
        *,
        threads: int,
        patience_s: float,
        names: Collection[str] = (),
    ) -> None:
        self.sides, self.threads, self.patience_s = sides, threads, patience_s
        self.names = list(names)
        self.workers: dict[str, Worker] = {}
        self.lists: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.end()

    def start(self) -> None:
        """Start those that do not run, side by side. Raises Failed, naming the side."""
        missing = [s for s in self.sides if s.name not in self.workers]
        for side in missing:
            made = Worker(side, threads=self.threads, patience_s=self.patience_s)
            self.workers[side.name] = made
            made.ask(do="list", names=self.names)
        for side in missing:
            try:
                self.lists[side.name] = self.workers[side.name].wait()
            except Failed as failed:
                raise Failed(f"{side.name}: {failed}", dead=True) from None

    def each(self, names: Iterable[str], **command: Any) -> dict[str, dict[str, Any]]:
        """Send one command to several sides at once and wait for all. Raises FailedOn."""
        for name in names:
            self.workers[name].ask(**command)
        answers, failed = {}, {}
        for name in names:
            try:
                answers[name] = self.workers[name].wait()
            except Failed as error:
                failed[name] = error
        if failed:
            raise FailedOn(failed)
        return answers

    def drop(self, name: str) -> None:
        """End the process of a side."""
        self.workers.pop(name).end()


class FailedOn(Exception):  # noqa: N818
    """What failed, by side."""

    def __init__(self, sides: Mapping[str, Failed]) -> None:
        super().__init__("; ".join(f"{name}: {error}" for name, error in sides.items()))
        self.sides = sides


def measure(
    sides: Sequence[Side],
    slices: Mapping[str, Mapping[str, Slice]],
    number: int,
    *,
    threads: int = 1,
    patience_s: float = PATIENCE_S,
    step: Callable[[str], None] = lambda name: None,
) -> Round:
    """One round of these benchmarks. What fails on one side is named and the rest is measured.

    number   of the round: it decides the seeds of the inputs, and which side begins
    step     called with the name of each benchmark before it is measured
    """
    found = Round(number)
    started = time.monotonic()
    with Team(sides, threads=threads, patience_s=patience_s, names=slices) as team:
        for name, how in slices.items():
            step(name)
            try:
                team.start()
            except Failed as failed:
                found.failed["", str(failed).partition(":")[0]] = str(failed)
                break
            try:
                found.samples[name], found.disturbed[name] = sampled(team, name, how, number)
            except FailedOn as failed_on:
                note(found, team, name, failed_on)
    found.seconds = time.monotonic() - started
    return found


def note(found: Round, team: Team, name: str, failed: FailedOn) -> None:
    """Keep what failed. Processes that are gone, or hold something unfinished, are started anew."""
    for side, error in failed.sides.items():
        found.failed[name, side] = str(error)
        if error.dead:
            team.drop(side)


def sampled(team: Team, name: str, how: Mapping[str, Slice], number: int) -> tuple[Samples, int]:
    """The samples of one benchmark in one round, its answer checked before and after; and how many
    were disturbed.
    """
    names, cores = [s.name for s in team.sides], cores_of(number, team.threads)
    turned = names[number % len(names) :] + names[: number % len(names)]
    team.each(names, do="prepare", name=name, seed=seed_of(number, 0))
    kept: Samples = {side: [] for side in names}
    fresh, disturbed = all(one.fresh for one in how.values()), 0
    for block in range(BLOCKS):
        if block and fresh:
            team.each(names, do="renew", seed=seed_of(number, block))
        back = block % 4 in (1, 2)
        for side in reversed(turned) if back else turned:
            calls, samples = how[side].calls, how[side].samples
            answer = team.each([side], do="slice", calls=calls, samples=samples, cores=cores)
            kept[side].append(answer[side]["ms"])
            disturbed += answer[side]["disturbed"]
    team.each(names, do="finish")
    return kept, disturbed


def cores_of(number: int, threads: int) -> list[int]:
    """The cores that a round's slices run on, as many as threads; none where all are needed, or
    where a process cannot be held to some.
    """
    every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if threads >= len(every):
        return []
    first = number * threads % len(every)
    return (every + every)[first : first + threads]


def seed_of(number: int, block: int) -> int:
    """The seed of a block's inputs."""
    return BLOCKS * number + block + 1


@dataclass
class Calibration:
    """What there is to measure and how, found in a round that is not counted.

    lists    side -> benchmark -> its operator, effect and the like
    broken   side -> module of benchmarks -> why it does not load there
    slices   benchmark -> side -> how it is sampled
    failed   as in a round
    """

    lists: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    broken: dict[str, dict[str, str]] = field(default_factory=dict)
    slices: dict[str, dict[str, Slice]] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)


def calibrate(
    sides: Sequence[Side],
    wanted: Callable[[Calibration], Sequence[str]],
    *,
    threads: int = 1,
    patience_s: float = PATIENCE_S,
    step: Callable[[str], None] = lambda name: None,
) -> Calibration:
    """Compile, check and time everything once, all sides at a time: nothing of it is kept.

    wanted   (the calibration, with its lists) -> the names to measure, of those all sides have

    Raises ValueError, naming the side, if one does not start.
    """
    found, round_ = Calibration(), Round(0)
    with Team(sides, threads=threads, patience_s=patience_s) as team:
        _start(team)
        found.lists = {side: answer["benchmarks"] for side, answer in team.lists.items()}
        found.broken = {side: answer["broken"] for side, answer in team.lists.items()}
        names = [s.name for s in sides]
        for name in wanted(found):
            step(name)
            _start(team)
            try:
                team.each(names, do="prepare", name=name, seed=0)  # compiles, side by side
                found.slices[name] = calibrated(team, name)
                team.each(names, do="finish")
            except FailedOn as failed_on:
                note(round_, team, name, failed_on)
    found.failed = round_.failed
    return found


def calibrated(team: Team, name: str) -> dict[str, Slice]:
    """How each side is sampled: all as the first is, unless some of them are a peer's."""
    found: dict[str, Slice] = {}
    for side in team.sides:
        if len(found) and len({s.peer for s in team.sides}) == 1:
            found[side.name] = found[team.sides[0].name]
            continue
        ask = {"do": "prepare", "name": name, "seed": 0, "calibrate": True}
        took = team.each([side.name], **ask)[side.name]
        found[side.name] = Slice.of(took["call_ms"], took["renew_ms"])
    return found


def _start(team: Team) -> None:
    try:
        team.start()
    except Failed as failed:
        raise ValueError(f"{failed}") from None


def value(samples: Samples, one: str, other: str) -> float:
    """The round's number: log(time of `other` / time of `one`), of the lower quartiles of all their
    samples.

    Whoever wants the core as well makes samples longer, never shorter, and on a busy machine more
    than half of them, for blocks on end: a lower quartile stands still where a median has moved.
    Their slices take turns, so that both quartiles are of the same moments.
    """
    return math.log(quartile(samples[other]) / quartile(samples[one]))


def quartile(blocks: Sequence[Sequence[float]]) -> float:
    """The lower quartile of the samples of all blocks."""
    return float(np.quantile(np.concatenate(blocks), 0.25))
