"""Where a series of results changed its level, and where it only seems to.

Binary segmentation (Vostrikova 1981, "Detecting disorder in multidimensional random processes"): a
series is split if parts of it differ by more than chance does, and each part is looked at again.
Whether they do is told by the greatest of the standardised Mann-Whitney statistics of all splits
(Pettitt 1979, "A non-parametric approach to the change-point problem"; Ross, Tasoulis and Adams
2011, "Nonparametric monitoring of data streams for changes in location and scale"), so that one
slow run is one rank and no level; how large it gets by chance depends on the number of values
alone and is simulated, with a seed of its own. Where they do is the split that leaves the least
absolute deviations from the medians of its two parts (Bai 1995, "Least absolute deviation
estimation of a shift").

The error rate is that of a series whose values are exchangeable, of any distribution. A machine
that drifts for days makes changes of its own: compare series of ratios rather than of times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

LEVEL = 0.01
"""Of a series without a change, at most this share shows one."""
SHORTEST = 3
"""Values on each side of a change: fewer are no level."""
DRAWS = 20_000
LONGEST = 400
"""Values that are looked at, the last ones: what is older has been told."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Change:
    """The level of a series changed between the values `index` - 1 and `index`.

    ratio   the median after it, up to the next change, over the median before it
    p       the chance that a series of as many values without a change shows such a split
    """

    index: int
    ratio: float
    p: float


def changes(values: Sequence[float], level: float = LEVEL, least: float = 0.01) -> list[Change]:
    """The changes of level of positive values, the oldest first.

    level   the chance that a series without a change has one here; split it over several series
    least   relative changes that are smaller are not worth telling

    Raises ValueError for values that are not finite and above 0, or a level that cannot be
    simulated.
    """
    series = np.asarray(values, dtype=np.float64)
    if not 2 / DRAWS <= level < 1:
        raise ValueError(f"level {level}: expected {2 / DRAWS} or more, and below 1")
    if series.ndim != 1 or not np.all(np.isfinite(series) & (series > 0)):
        raise ValueError("a series with a value that is not a finite number above 0")
    first = max(len(series) - LONGEST, 0)
    found = sorted(_splits(series[first:], level))
    edges = [0, *(index for index, _ in found), len(series) - first]
    kept = []
    for (index, p), before, after in zip(found, edges, edges[2:], strict=False):
        ratio = float(np.median(series[first + index : first + after]))
        ratio /= float(np.median(series[first + before : first + index]))
        if max(ratio, 1 / ratio) >= 1 + least:
            kept.append(Change(index=first + index, ratio=ratio, p=p))
    return kept


def _splits(series: Floats, level: float, offset: int = 0) -> list[tuple[int, float]]:
    if len(series) < 2 * SHORTEST:
        return []
    p = chance(len(series), float(standardised(rankdata(series)[None]).max()))
    if p > level:
        return []
    cut = best_cut(np.log(series))
    left = _splits(series[:cut], level, offset)
    right = _splits(series[cut:], level, offset + cut)
    return [*left, (offset + cut, p), *right]


def standardised(ranks: Floats) -> Floats:
    """The absolute standardised Mann-Whitney statistic of each split of each row.

    ranks    (series, n), each row ranked from 1
    returns  (series, n - 2 SHORTEST + 1), the first for SHORTEST values against the rest
    """
    n = ranks.shape[1]
    sizes = np.arange(SHORTEST, n - SHORTEST + 1)
    sums = np.cumsum(ranks, axis=1)[:, sizes - 1]
    spread = np.sqrt(sizes * (n - sizes) * (n + 1) / 12)
    return np.asarray(np.abs(sums - sizes * (n + 1) / 2) / spread)


def best_cut(values: Floats) -> int:
    """How many values lie before the split that leaves the least absolute deviations."""
    cuts = range(SHORTEST, len(values) - SHORTEST + 1)
    return min(cuts, key=lambda cut: _deviations(values[:cut]) + _deviations(values[cut:]))


def _deviations(values: Floats) -> float:
    return float(np.abs(values - np.median(values)).sum())


def chance(n: int, statistic: float) -> float:
    """How often the greatest statistic of n exchangeable values is as large: a simulated share, of
    which the observed series itself counts as one draw, so that it is never 0.
    """
    drawn = _null(n)
    as_large = len(drawn) - int(np.searchsorted(drawn, statistic - 1e-9))
    return (1 + as_large) / (1 + len(drawn))


@cache
def _null(n: int) -> Floats:
    """DRAWS greatest statistics of random orders of n ranks, sorted."""
    random = np.random.default_rng([n, 1979])
    found = []
    for _ in range(10):
        ranks = random.random((DRAWS // 10, n)).argsort(axis=1).argsort(axis=1) + 1
        found.append(standardised(ranks.astype(np.float64)).max(axis=1))
    return np.sort(np.concatenate(found))
