"""How time and memory grow: laws measured round by round, within a budget, none of it lost."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log
from statistics import median
from typing import Any

from benchmarks.growth.fit import growth, in_words
from benchmarks.growth.process import GIB, Law, Outcome, processed

Run = Callable[..., Outcome]
CALLS = 3
"""Of long work in one process: the first, and the check of the answer; and its inputs."""
SHARE, LEAST_S = 0.03, 3.0
"""How much of the budget the process of one size may be foretold to take, but always LEAST_S."""
LATE = 4
"""A process that takes so many times as long is ended."""
OVER = "the budget was over"


@dataclass(kw_only=True)
class Found:
    """What has been seen of a law so far.

    outcomes   size -> what its processes measured, one a round
    left_out   size -> why it has no number
    failed     one line where a process crashed or gave a wrong answer: not a limit, a fault
    """

    law: Law
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    failed: str = ""

    @property
    def round_s(self) -> float:
        """Seconds that its last processes took, one of each size."""
        return sum(one[-1].seconds for one in self.outcomes.values())


def measured(
    laws: Sequence[Law],
    found: list[Found],
    *,
    budget_s: float,
    rounds: int,
    limit: int,
    sample_s: float = 0.2,
    run: Run = processed,
) -> Iterator[Found]:
    """Measure the laws, adding to `found`; yields each law when one round of it is done.

    In the first round sizes rise, and one is left out where those before it foretell that it takes
    too long. In later rounds laws and sizes come in another order each time, and a law whose round
    would end after the budget does not begin. limit: bytes that a process may allocate.
    """
    end = time.monotonic() + budget_s
    longest_s = max(LEAST_S, SHARE * budget_s)
    at: dict[str, Any] = {"limit": limit, "sample_s": sample_s, "longest_s": longest_s, "run": run}
    for law in laws:
        found.append(Found(law=law))
        if time.monotonic() >= end:
            found[-1].left_out = dict.fromkeys(law.values, OVER)
        else:
            first_round(found[-1], **at)
        yield found[-1]
    for number in range(1, rounds):
        order = random.Random(number)
        for one in order.sample(found, len(found)):
            if one.outcomes and not one.failed and time.monotonic() + one.round_s < end:
                another_round(one, number, order, **at)
            yield one


def first_round(one: Found, *, limit: int, sample_s: float, longest_s: float, run: Run) -> None:
    """Sizes from the smallest on, until one takes too much memory or would take too long."""
    for value in one.law.values:
        if (ahead := foretold(one, value)) > longest_s:
            one.left_out[value] = f"would take {ahead:.0f} s"
            continue
        outcome = run(one.law, value, limit=limit, longest_s=LATE * longest_s, sample_s=sample_s)
        if outcome.end == "measured":
            one.outcomes[value] = [outcome]
        elif outcome.end == "memory":
            one.left_out[value] = f"needs more than {limit / GIB:g} GiB"
        elif outcome.end == "time":
            one.left_out[value] = outcome.said
        else:
            one.failed = f"{one.law.what}, {value:,} {one.law.variable}: {outcome.said}"
            return


def another_round(
    one: Found, number: int, order: random.Random, *, longest_s: float, run: Run, **at: Any
) -> None:
    """One more process of each size, in a random order; kept if all of them were measured."""
    values = order.sample(list(one.outcomes), len(one.outcomes))
    again: dict[int, Outcome] = {}
    for value in values:
        again[value] = run(one.law, value, longest_s=LATE * longest_s, seed=number + 1, **at)
        if again[value].end != "measured":
            said = again[value].said
            one.failed = f"{one.law.what}, {value:,} {one.law.variable}, again: {said}"
            return
    for value in values:
        one.outcomes[value].append(again[value])


def foretold(one: Found, value: int) -> float:
    """Seconds that the process of the next size will take, from the last two; 0 where unknown."""
    if len(one.outcomes) < 2:
        return 0.0
    (n, a), (m, b) = list(one.outcomes.items())[-2:]
    local = log(b[0].middle / a[0].middle) / log(m / n)
    return CALLS * b[0].middle / 1e3 * (value / m) ** max(local, 0.0)


def row(one: Found, limit: int) -> dict[str, Any]:
    """A law as it is written: every process's median and samples, the exponent, and in words."""
    values = list(one.outcomes)
    ms = [[o.middle for o in one.outcomes[v]] for v in values]
    law = growth(values, ms)
    notes = [one.law.note, in_words(law, values, ms), *left_out(one)]
    return {
        "what": one.law.what,
        "variable": one.law.variable,
        "threads": None if one.law.variable == "threads" else one.law.threads,
        "values": values,
        "ms": ms,
        "samples": [[list(o.ms) for o in one.outcomes[v]] for v in values],
        "peak_mb": [median(o.peak_mb for o in one.outcomes[v]) for v in values],
        "exponent": law.exponent,
        "low": law.low,
        "high": law.high,
        "from": law.start,
        "holds": law.holds,
        "off": law.off,
        "local": list(law.local),
        "rounds": law.rounds,
        "limit_gib": limit / GIB,
        "note": "; ".join(n for n in notes if n),
        "error": one.failed or None,
    }


def left_out(one: Found) -> list[str]:
    """Why sizes have no number, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    for value, why in one.left_out.items():
        reasons.setdefault(why, []).append(f"{value:,}")
    return [f"left out: {', '.join(values)} ({why})" for why, values in reasons.items()]


def line(found: dict[str, Any]) -> str:
    """One law in words."""
    text = f"{found['what']:<34} {found['variable']:<9}"
    if found["error"]:
        return f"{text} no number: {found['error']}"
    if found["exponent"] is None:
        return f"{text} no number: {found['note']}"
    spread = "one round, no interval" if found["low"] is None else ""
    spread = spread or f"{found['low']:.2f} to {found['high']:.2f}, {found['rounds']} rounds"
    last = found["values"][-1]
    text += f" n^{found['exponent']:5.2f} ({spread}) from {found['from']:,}"
    text += f"; {last:,}: {median(found['ms'][-1]):.4g} ms, {found['peak_mb'][-1]:,.0f} MB"
    return text if found["holds"] else f"{text}; no one law"
