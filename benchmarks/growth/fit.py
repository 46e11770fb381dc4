"""How a cost grows: an exponent with its interval, from where on it holds, and where it does not.

A cost y of a size n is taken to follow y = c n^k from some size on: below it what costs the same
at any size hides the law, and nothing says that there is one law for all sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from statistics import fmean, linear_regression, median, stdev

from scipy.stats import t as student

CONFIDENCE = 0.95
STRAIGHT = 0.15
"""How far a median may lie off the line, as a share of it, where a law is said to hold."""
FEWEST = 3
"""Sizes that a law must hold for: through two there is always a line."""
BENDS = 0.15
"""A local exponent that differs so much from that of the law is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What is known of y = c n^k.

    exponent    k, of the medians of processes; None where fewer than two sizes were measured
    low, high   its interval of 95 % over rounds; None with fewer than two whole rounds
    start       the smallest size from which on the medians lie within STRAIGHT of one line
    holds       whether they do so for FEWEST sizes; else k is that of the two largest sizes alone
    off         the largest share by which a median lies off the line
    local       the exponents between neighbouring sizes, all of them
    rounds      whole rounds that the interval rests on
    """

    exponent: float | None
    low: float | None
    high: float | None
    start: int | None
    holds: bool
    off: float
    local: tuple[float, ...]
    rounds: int


def growth(values: Sequence[int], costs: Sequence[Sequence[float]]) -> Growth:
    """The law of costs that were measured in rounds: costs[i][r] is that of values[i] in round r.

    Sizes rise; a round may have ended before the larger sizes. The interval is Student's t over
    the slopes of rounds: each has its own processes, so that slopes are independent, whatever the
    samples of one process have in common. How far the law is from being one is not in the
    interval: that is `off` and `local`.
    """
    middles = [median(one) for one in costs]
    local = tuple(
        log(b / a) / log(m / n) for (n, a), (m, b) in pairwise(zip(values, middles, strict=True))
    )
    if len(values) < 2:
        return Growth(
            exponent=None, low=None, high=None, start=None, holds=False, off=0.0, local=(), rounds=0
        )
    first = _first(values, middles)
    holds = len(values) - first >= FEWEST
    kept = values[first:]
    rounds = min(len(one) for one in costs[first:])
    slopes = [slope(kept, [one[r] for one in costs[first:]]) for r in range(rounds)]
    low, high = interval(slopes)
    return Growth(
        exponent=slope(kept, middles[first:]),
        low=low,
        high=high,
        start=kept[0],
        holds=holds or len(values) < FEWEST,
        off=deviation(kept, middles[first:]),
        local=local,
        rounds=rounds,
    )


def slope(values: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent of the straight line through the logarithms, by least squares."""
    return linear_regression([log(v) for v in values], [log(c) for c in costs]).slope


def deviation(values: Sequence[int], costs: Sequence[float]) -> float:
    """The largest share by which a cost lies off the line through the logarithms."""
    x, y = [log(v) for v in values], [log(c) for c in costs]
    line = linear_regression(x, y)
    far = max(abs(b - line.intercept - line.slope * a) for a, b in zip(x, y, strict=True))
    return exp(far) - 1


def interval(slopes: Sequence[float]) -> tuple[float | None, float | None]:
    """Student's interval for the mean of independent slopes; with fewer than two there is none."""
    if len(slopes) < 2:
        return None, None
    reach = student.ppf((1 + CONFIDENCE) / 2, len(slopes) - 1) * stdev(slopes) / len(slopes) ** 0.5
    return fmean(slopes) - float(reach), fmean(slopes) + float(reach)


def _first(values: Sequence[int], middles: Sequence[float]) -> int:
    """Where the longest run of sizes starts that ends with the largest and lies on one line."""
    first = len(values) - 2
    while first > 0 and deviation(values[first - 1 :], middles[first - 1 :]) <= STRAIGHT:
        first -= 1
    return first


def in_words(found: Growth, values: Sequence[int], costs: Sequence[Sequence[float]]) -> str:
    """Where the law holds and where it breaks, in a sentence or two; "" if there is none."""
    if found.exponent is None or found.start is None or len(values) < FEWEST:
        return ""
    said = []
    last, before = values[-1], values[-2]
    if not found.holds:
        said.append(
            f"no one law for the three largest sizes: n^{found.local[-2]:.2f} up to {before:,},"
            f" n^{found.local[-1]:.2f} from there to {last:,}"
        )
    else:
        if found.start > values[0]:
            at = values.index(found.start)
            said.append(
                f"the law holds from {found.start:,}; below, growth is n^{found.local[0]:.2f}"
                f" to n^{found.local[at - 1]:.2f}, and {values[0]:,} takes"
                f" {median(costs[0]):.3g} ms"
            )
        if abs(found.local[-1] - found.exponent) > BENDS:
            said.append(f"at the large end n^{found.local[-1]:.2f}, {before:,} to {last:,}")
        said.append(f"medians within {100 * found.off:.0f} % of the line")
    return "; ".join(said)
