"""FASTER, SAME, SLOWER or UNSURE: what the rounds' numbers allow to be said, and how sure it is.

A round gives one number per benchmark, log(time of head / time of base), from one fresh process of
each side: processes differ by more than repetitions within them, so that the pair of processes is
what is drawn, and all statistics count rounds.

Looks     The numbers are looked at up to three times; what is decided is not measured on. A run has
          one chance in a hundred to call equal sides FASTER or SLOWER at all: half of it is spent
          at the last look, the rest in equal parts before.
Holm      At each look that look's share is divided over all benchmarks of the plan (Holm 1979);
          those called FASTER or SLOWER at earlier looks no longer take part. Benchmarks that were
          called SAME and those that failed do, so that nothing seen makes the test easier.
Interval  Student's t on the mean of the rounds, a tenth of them trimmed at each end (Yuen 1974):
          one round beside a busy neighbour does not decide. Equal sides can change places, so that
          their log ratios are symmetric about 0, whatever the noise; symmetric long tails make a t
          test err less often than it says (Efron 1969).
SLOWER    the interval lies beyond 0, and the estimate beyond the effect worth a verdict. FASTER,
          mirrored.
SAME      the estimate lies within the effect worth a verdict, and the interval that misses with
          MISSED, divided over the looks and over nothing else, inside the band. Before the last
          look the band is that effect: what is not seen to be the same is measured on. At the last
          it is the larger of that and of the smallest effect that can be detected, but never more
          than 10 %.
UNSURE    neither.

The smallest detectable effect is that which would be called in 95 of 100 runs if the noise of the
rounds so far stays: (t at the last look's level + t at 95 %) x standard error after all rounds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from scipy.special import stdtr, stdtrit

Word = Literal["FASTER", "SAME", "SLOWER", "UNSURE", "AHEAD", "BEHIND"]
ERROR = 0.01
"""The chance that a gate run on equal sides says FASTER or SLOWER of anything."""
MISSED = 0.05
"""The chance that an interval of equal sides' difference, of all looks together, misses it; half as
large that SAME is said of a benchmark which differs by more than the band, to one side."""
POWER = 0.95
TRIMMED = 0.1
WIDEST = 0.1
"""No band is wider: what differs by more than 10 % is never the same."""
FEWEST = 8
"""Rounds before the first look. A process may fall into one of two layouts, and no test sees
through a few pairs that all fell alike: for eight pairs that has one chance in 30,000, for six one
in 2,000."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of one benchmark.

    ratio, low, high   time of head / time of base, and its interval at the level of the decision:
                       that of SAME is of this benchmark alone
    band               SAME means within 1 +- band
    effect             the smallest change worth a verdict, as declared
    detectable         the smallest change that all planned rounds would find, 0.02 for 2 %
    rounds             that were looked at
    """

    word: Word
    ratio: float
    low: float
    high: float
    band: float
    effect: float
    detectable: float
    rounds: int

    @property
    def decided(self) -> bool:
        """Whether more rounds are of no use."""
        return self.word != "UNSURE"


@dataclass(frozen=True)
class Estimate:
    """A trimmed mean, its standard error, and the degrees of freedom of that."""

    mean: float
    error: float
    freedom: int

    @property
    def p(self) -> float:
        """Two-sided, of the mean being 0."""
        if self.error == 0:
            return float(self.mean == 0)
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.error))

    def half(self, level: float) -> float:
        """Half the width of the interval that misses with this chance."""
        return float(-stdtrit(self.freedom, level / 2)) * self.error


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of all but the extreme tenths.

    Source: Yuen 1974, "The two-sample trimmed t for unequal population variances", of one sample.
    """
    ordered, count = sorted(values), len(values)
    cut = trim(count)
    kept = ordered[cut : count - cut]
    mean = math.fsum(kept) / len(kept)
    winsorised = [kept[0]] * cut + kept + [kept[-1]] * cut
    middle = math.fsum(winsorised) / count
    spread = math.fsum((x - middle) ** 2 for x in winsorised)
    freedom = len(kept) - 1
    return Estimate(mean, math.sqrt(spread / (len(kept) * freedom)), freedom)


def trim(count: int) -> int:
    """How many rounds are trimmed at each end."""
    return int(TRIMMED * count + 1e-9)


def looks(rounds: int) -> tuple[int, ...]:
    """After how many rounds of those planned the numbers are looked at."""
    thinned = (rounds // 4, rounds // 2, rounds)
    return tuple(n for n in thinned if n >= FEWEST) or (rounds,)


def shares(count: int) -> tuple[float, ...]:
    """The chance of an error that each of so many looks may spend; they sum to ERROR."""
    if count == 1:
        return (ERROR,)
    return (*[ERROR / 2 / (count - 1)] * (count - 1), ERROR / 2)


def holm(values: Sequence[float], family: int) -> list[tuple[bool, int]]:
    """For each p-value, whether it is rejected at level 1 and by how many its level was divided.

    values   already divided by the level: rejected are those at most 1 after the correction
    family   how many hypotheses there are, those without a p-value included

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    found: list[tuple[bool, int]] = [(False, family)] * len(values)
    left = family
    for place, i in enumerate(order):
        if values[i] * left > 1:
            for j in order[place:]:
                found[j] = (False, left)
            break
        found[i] = (True, left)
        left -= 1
    return found


def judge(
    values: Mapping[str, Sequence[float]],
    effects: Mapping[str, float],
    *,
    share: float,
    family: int,
    last: tuple[int, float],
) -> dict[str, Verdict]:
    """The verdicts of one look on the benchmarks that are still open.

    values    benchmark -> log(head / base) of each round so far, two at least
    effects   benchmark -> the smallest change worth a verdict, 0.03 for 3 %
    share     of the chance of an error, for this look
    family    benchmarks of the plan, less those that were called FASTER or SLOWER before
    last      rounds at the last look, and its share; those there are, if this is it
    """
    found = {name: estimate(v) for name, v in values.items()}
    steps = holm([e.p / share for e in found.values()], family)
    said = {}
    for (name, e), (rejected, divisor) in zip(found.items(), steps, strict=True):
        count, effect = len(values[name]), effects[name]
        detectable = smallest(e, count, max(last[0], count), last[1] / divisor)
        band = max(effect, min(detectable, WIDEST)) if count >= last[0] else effect
        levels = share / divisor, MISSED * share / ERROR
        said[name] = _verdict(e, rejected, levels, effect, band, detectable, count)
    return said


def smallest(e: Estimate, count: int, final: int, level: float) -> float:
    """The smallest change that `final` rounds at this level find with chance POWER."""
    freedom = final - 2 * trim(final) - 1
    error = e.error * math.sqrt(count / final)
    needed = (-stdtrit(freedom, level / 2) + stdtrit(freedom, POWER)) * error
    return math.expm1(float(needed))


def _verdict(
    e: Estimate,
    rejected: bool,
    levels: tuple[float, float],
    effect: float,
    band: float,
    detectable: float,
    rounds: int,
) -> Verdict:
    """levels: of the interval of a difference, and of that of none."""
    wide, narrow = (e.half(level) for level in levels)
    word: Word = "UNSURE"
    if abs(e.mean) > math.log1p(effect):
        if rejected:
            word = "SLOWER" if e.mean > 0 else "FASTER"
    elif abs(e.mean) + narrow < math.log1p(band):
        word = "SAME"
    half = narrow if word == "SAME" else wide
    low, high = e.mean - half, e.mean + half
    ratio, low, high = (math.exp(x) for x in (e.mean, low, high))
    return Verdict(
        word=word,
        ratio=ratio,
        low=low,
        high=high,
        band=band,
        effect=effect,
        detectable=detectable,
        rounds=rounds,
    )


def decide(
    values: Mapping[str, Sequence[float]],
    effects: Mapping[str, float],
    *,
    plan: Sequence[int] | None = None,
    family: int | None = None,
) -> dict[str, Verdict]:
    """The verdicts of a whole run whose rounds are all there, look by look as the gate takes them.

    plan     rounds at each look; None: those of `looks` for the rounds there are
    family   benchmarks of the plan; None: those in `values`
    """
    longest = max(len(v) for v in values.values())
    plan = plan or looks(longest)
    spent = shares(len(plan))
    closed: dict[str, Verdict] = {}
    said: dict[str, Verdict] = {}
    for count, share in zip(plan, spent, strict=True):
        seen = {n: v[:count] for n, v in values.items() if n not in closed}
        left = (family or len(values)) - differing(closed)
        if seen:
            said |= judge(seen, effects, share=share, family=left, last=(plan[-1], spent[-1]))
        closed |= {n: v for n, v in said.items() if v.decided}
    return {name: said[name] for name in values}


def differing(verdicts: Mapping[str, Verdict]) -> int:
    """How many were called FASTER or SLOWER."""
    return sum(v.word in ("FASTER", "SLOWER") for v in verdicts.values())


def contest(
    values: Sequence[float], ahead: float, *, share: float, family: int, last: tuple[int, float]
) -> Verdict:
    """AHEAD of a peer by what was declared, BEHIND that, or UNSURE; ratio is ours / the peer's.

    values   log(ours / peer) of each round
    ahead    how many times as fast as the peer ours must stay
    """
    e = estimate(values)
    half = e.half(share / family)
    ratio, low, high = (math.exp(e.mean + s * half) for s in (0, -1, 1))
    count = len(values)
    return Verdict(
        word="AHEAD" if high <= 1 / ahead else "BEHIND" if low > 1 / ahead else "UNSURE",
        ratio=ratio,
        low=low,
        high=high,
        band=0.0,
        effect=0.0,
        detectable=smallest(e, count, max(last[0], count), last[1] / family),
        rounds=count,
    )


def exact(one: Sequence[int], other: Sequence[int], effect: float) -> Verdict:
    """The verdict on counts that no noise changes, of some calls of each side: `low` and `high` are
    the ratios of the calls that are farthest apart.
    """
    low, high = min(other) / max(one), max(other) / min(one)
    ratio = median(other) / median(one)
    word: Word = "UNSURE"
    if max(1 / low, high) < 1 + effect:
        word = "SAME"
    elif (low > 1 or high < 1) and abs(math.log(ratio)) > math.log1p(effect):
        word = "SLOWER" if ratio > 1 else "FASTER"
    spread = max(max(n) / min(n) for n in (one, other)) - 1
    return Verdict(
        word=word,
        ratio=ratio,
        low=low,
        high=high,
        band=effect,
        effect=effect,
        detectable=spread,
        rounds=1,
    )
