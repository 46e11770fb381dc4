"""The gate: two sides measured round by round until every benchmark has a verdict or time is up."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.benchmark import named
from benchmarks.gate import rounds, verdict
from benchmarks.gate.process import PATIENCE_S
from benchmarks.gate.rounds import Calibration, Round, Slice, value
from benchmarks.gate.sides import Side
from benchmarks.gate.verdict import Verdict

MOST = 64
"""Rounds, however large the budget: more would find effects that nobody asked for."""
UNKNOWN: dict[str, Any] = {"operator": "", "effect": None, "ahead": None}
FINE, SLOWER, UNMEASURED, UNSURE, STOPPED = 0, 1, 2, 3, 130


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a gate run is asked to do.

    sides       the one compared with, then the one judged
    names       benchmarks to measure; None: all there are
    gone, new   names that only base, or only head, may have
    budget_s    for all rounds
    most        rounds at most
    unsure_passes   whether UNSURE is fine
    against     the peer that head is compared with, in place of base; None: base
    ahead       how many times as fast as the peer a benchmark that declares nothing must be
    promised    names that base's own suite has: head may not lose them in silence
    """

    sides: tuple[Side, Side]
    names: tuple[str, ...] | None = None
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    budget_s: float = 600.0
    most: int = MOST
    unsure_passes: bool = False
    against: str | None = None
    ahead: float = 1.0
    promised: tuple[str, ...] = ()
    threads: int = 1
    patience_s: float = PATIENCE_S


@dataclass
class Found:
    """What a gate run has found so far.

    about     benchmark -> its operator, effect and ahead, for those of the plan
    values    benchmark -> log(head / base) of each round
    samples   benchmark -> what is kept of each round
    disturbed   benchmark -> samples that were left out, for a core was taken away in them
    errors    benchmark -> why it has no number
    said      one-line messages, in order
    """

    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    verdicts: dict[str, Any] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    disturbed: dict[str, int] = field(default_factory=dict)
    slices: dict[str, dict[str, Slice]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    stopped: bool = False

    @property
    def open(self) -> list[str]:
        """Benchmarks that more rounds could decide."""
        closed = {n for n, v in self.verdicts.items() if v.decided}
        return [n for n in self.slices if n not in closed and n not in self.errors]


Say = Callable[[str], None]


@dataclass(frozen=True)
class Measuring:
    """How rounds are measured: by processes, or, in tests of the decisions, by nobody.

    judge   what takes the place of rounds altogether
    """

    calibrate: Callable[..., Calibration] = rounds.calibrate
    measure: Callable[..., Round] = rounds.measure
    clock: Callable[[], float] = time.monotonic
    step: Callable[[str, str], None] = lambda phase, name: None
    judge: Callable[[Plan, Found, Say], None] | None = None


BY_PROCESSES = Measuring()


def run(plan: Plan, found: Found, say: Say, by: Measuring = BY_PROCESSES) -> int:
    """Measure and judge; what is found is in `found` at any time. Returns the exit code.

    Raises ValueError where nothing can be measured: a side does not start, no such benchmark.
    """

    def tell(line: str) -> None:
        found.said.append(line)
        say(line)

    try:
        prepare(plan, found, tell, by)
        if found.slices and by.judge is not None:
            by.judge(plan, found, tell)
        elif found.slices:
            judged(plan, found, tell, by)
    except KeyboardInterrupt:
        found.stopped = True
        decided = {n for n, v in found.verdicts.items() if v.decided}
        for name in found.about.keys() - decided - found.errors.keys():
            found.errors[name] = f"stopped after {len(found.values.get(name, []))} rounds"
        tell("stopped: what was decided before is kept")
    return code(plan, found)


def prepare(plan: Plan, found: Found, tell: Say, by: Measuring) -> None:
    """Find what there is, name what is not, compile and calibrate the rest."""

    def wanted(calibration: Calibration) -> list[str]:
        return planned(plan, found, calibration, tell)

    tell("compiling and calibrating")
    calibration = by.calibrate(
        plan.sides, wanted, threads=plan.threads, patience_s=plan.patience_s,
        step=lambda name: by.step("calibrating", name),
    )  # fmt: skip
    found.slices = calibration.slices
    for name in [n for n in plan.new if (n, plan.sides[0].name) in calibration.failed]:
        if found.about.pop(name, None) is not None:  # base lacks what it needs, as --new allows
            found.new.append(name)
            tell(
                f"{name}: new, so not judged: {calibration.failed.pop((name, plan.sides[0].name))}"
            )
    failures(found, calibration.failed, tell)
    if not found.about:
        tell("nothing to compare: no benchmark is on both sides")


def planned(plan: Plan, found: Found, calibration: Calibration, tell: Say) -> list[str]:
    """The benchmarks that both sides have; those that one lacks are named.

    Raises ValueError for a name that neither has.
    """
    one, other = (s.name for s in plan.sides)
    base, head = calibration.lists[one], calibration.lists[other]
    every = {**base, **head}
    try:
        names = named(["*"] if plan.names is None else plan.names, every)
    except ValueError as error:
        raise ValueError(f"{error}{broken(calibration, other)}") from None
    if plan.against is not None:
        names = [n for n in names if every[n].get("peer")]
    for name in dict.fromkeys((*names, *plan.promised)):
        if name in base and name in head:
            found.about[name] = head[name]
            continue
        lacks = one if name in head else other
        unloaded = broken(calibration, lacks)
        why = f"{lacks} has no such benchmark{unloaded}"
        if name in head and (name in plan.new or (plan.names is None and not unloaded)):
            found.new.append(name)
            tell(f"{name}: new, so not judged: {why}")
        elif name not in head and name in plan.gone:
            found.gone.append(name)
            tell(f"{name}: gone, as --gone allows")
        else:
            found.about[name] = every.get(name, UNKNOWN)
            option = "--new" if name in head else "--gone"
            found.errors[name] = f"{why}: renamed or deleted? {option} allows it"
            tell(f"{name}: not measured: {found.errors[name]}")
    return [n for n in found.about if n not in found.errors]


def broken(calibration: Calibration, side: str) -> str:
    """Which modules of benchmarks a side could not load, to be put behind a sentence."""
    found = calibration.broken.get(side, {})
    return "".join(f"; {module} does not load there: {why}" for module, why in found.items())


def failures(found: Found, failed: Mapping[tuple[str, str], str], tell: Say) -> None:
    """Name what failed; it is not measured again."""
    for (name, side), reason in failed.items():
        for one in [name] if name else found.open:
            if one not in found.errors:
                found.errors[one] = f"{side}: {reason}" if name else reason
                tell(f"{one}: not measured: {found.errors[one]}")


def judged(plan: Plan, found: Found, tell: Say, by: Measuring) -> None:
    """Rounds and looks, until all is decided or the budget is spent."""
    started = by.clock()
    looks: tuple[int, ...] = ()
    number = place = 0
    while found.open:
        number += 1
        names, before = found.open, by.clock()
        by.step(f"round {number}" + (f" of {looks[-1]}" if looks else ""), "")
        one_round(plan, found, tell, by, number, names)
        took, spent = by.clock() - before, by.clock() - started
        if number == 1:
            looks = verdict.looks(affordable(plan, spent, took, number))
            if looks[-1] * took > 1.2 * plan.budget_s:
                tell(f"a budget of {plan.budget_s:g} s is too small: {looks[-1]} rounds are taken")
        over = spent + took > plan.budget_s and number >= verdict.FEWEST
        if number < looks[place] and not over:
            continue
        place = len(looks) - 1 if over else place
        look(plan, found, tell, looks, place)
        place += 1
        if place == len(looks):
            return
        if place == len(looks) - 1 and found.open:  # what is decided leaves time for the rest
            last = affordable(plan, spent, took * len(found.open) / len(names), number)
            looks = (*looks[:-1], max(looks[-1], last))


def one_round(
    plan: Plan, found: Found, tell: Say, by: Measuring, number: int, names: Sequence[str]
) -> None:
    """One round of the benchmarks that are open."""
    slices = {n: found.slices[n] for n in names}
    round_ = by.measure(
        plan.sides, slices, number, threads=plan.threads, patience_s=plan.patience_s,
        step=lambda name: by.step("", name),
    )  # fmt: skip
    failures(found, round_.failed, tell)
    one, other = (s.name for s in plan.sides)
    for name, samples in round_.samples.items():
        found.values.setdefault(name, []).append(value(samples, one, other))
        more = round_.disturbed.get(name, 0)
        found.disturbed[name] = found.disturbed.get(name, 0) + more
        found.samples.setdefault(name, []).extend(
            {"round": number, "block": b, "side": side, "ms": ms}
            for side, blocks in samples.items()
            for b, ms in enumerate(blocks)
        )


def affordable(plan: Plan, spent: float, round_s: float, number: int) -> int:
    """How many rounds there can be in all, `number` of them over, by the time that one takes."""
    more = math.floor((plan.budget_s - spent) / max(round_s, 1e-3))
    return min(max(number + more, verdict.FEWEST), max(plan.most, verdict.FEWEST))


def look(plan: Plan, found: Found, tell: Say, looks: Sequence[int], place: int) -> None:
    """Judge what is open, after saying what could be found."""
    spent = verdict.shares(len(looks))
    values = {n: found.values[n] for n in found.open}
    if not values:
        return
    rounds_ = max(len(v) for v in values.values())
    planned_ = rounds_ if place == len(looks) - 1 else looks[-1]
    last = (planned_, spent[-1])
    family, share = len(found.about), spent[place]
    said: dict[str, Verdict] = {}
    if plan.against is not None:
        for name, v in values.items():
            ahead = found.about[name]["ahead"] or plan.ahead
            said[name] = verdict.contest(v, ahead, share=share, family=family, last=last)
    else:
        effects = {n: found.about[n]["effect"] for n in values}
        left = family - verdict.differing({n: v for n, v in found.verdicts.items() if v.decided})
        said = verdict.judge(values, effects, share=share, family=left, last=last)
    if not found.looks:
        tell(f"by the noise of {rounds_} rounds, {planned_} rounds can find a change of")
        for name, one in said.items():
            tell(f"  {100 * one.detectable:5.1f} %  {name}")
    found.looks.append(rounds_)
    found.verdicts |= said


def code(plan: Plan, found: Found) -> int:
    """The exit code: could not measure before slower before unsure."""
    words = [v.word for v in found.verdicts.values()]
    if found.stopped:
        return STOPPED
    if found.errors or not found.about or len(words) < len(found.about):
        return UNMEASURED
    if "SLOWER" in words or "BEHIND" in words:
        return SLOWER
    return FINE if plan.unsure_passes or "UNSURE" not in words else UNSURE


def record(plan: Plan, found: Found, exit_code: int) -> dict[str, Any]:
    """A gate run as it is written."""
    base, head = plan.sides

    def of_side(side: Side) -> dict[str, Any]:
        return {"revision": side.revision, "commit": side.commit, "dirty": side.dirty}

    return {
        "kind": "gate",
        "base": of_side(base),
        "head": of_side(head),
        "against": plan.against,
        "budget_s": plan.budget_s,
        "looks": found.looks,
        "exit_code": exit_code,
        "benchmarks": [row(found, name) for name in found.about],
        "new": found.new,
        "gone": found.gone,
        "said": found.said,
    }


def row(found: Found, name: str) -> dict[str, Any]:
    """One benchmark's part of the record; what it has no number for is None."""
    empty = dict.fromkeys(Verdict.__dataclass_fields__)
    said = found.verdicts.get(name)
    judged_ = asdict(said) if said is not None else empty
    return {
        "name": name,
        "operator": found.about[name]["operator"],
        "verdict": judged_.pop("word"),
        **judged_,
        "effect": found.about[name]["effect"],
        "ahead": found.about[name]["ahead"],
        "rounds": len(found.values.get(name, [])),
        "error": found.errors.get(name),
        "disturbed": found.disturbed.get(name, 0),
        "values": found.values.get(name, []),
        "samples": found.samples.get(name, []),
    }
