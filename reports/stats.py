"""How few runs are summarised: over seeds, paired, and never more certain than they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

ALPHA = 0.05
"""The error rate of a whole table: how often it may call something an effect that is none."""
LOOKS = (3, 5, 8)
"""Seeds after which a sweep that chooses their number looks at its results."""
SHARES = (0.03, 0.01, 0.01)
"""What each look spends of ALPHA. Most effects here are large, so the first look gets most; and
because the shares add up to ALPHA, stopping at whichever look has decided is paid for."""
NOTHING = 2.5
"""Points within which an interval must lie for no effect to be seen."""
MOST_SEEDS = 50
"""Beyond this it is not said how many seeds would tell."""
LEAST_P = 1e-15


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half-width of its 95 % interval; None with a single seed.

    The interval is Student's t with n - 1 degrees of freedom: it assumes that seeds scatter
    normally, and covers the noise of seeds, not that of the test images.
    """

    value: float
    half_width: float | None
    count: int

    def __str__(self) -> str:
        return _text(self.value, self.half_width)

    def signed(self) -> str:
        """With a sign in front, as a difference is written."""
        return ("+" if self.value >= 0 else "") + str(self)


@dataclass(frozen=True)
class Spread:
    """What the mean of paired differences scatters by.

    count           pairs of seeds
    seed_variance   of one difference about their mean; None with one pair
    image_variance  of the mean, by the choice of test images; None where it is not known
    images          test images
    """

    count: int
    seed_variance: float | None
    image_variance: float | None = None
    images: int = 0

    def over_seeds(self, level: float) -> float | None:
        """Half-width of the 1 - `level` interval of these test images."""
        if self.seed_variance is None:
            return None
        return _quantile(level, self.count - 1) * math.sqrt(self.seed_variance / self.count)

    def over_images(self, level: float) -> float | None:
        """Half-width of the interval of these trained networks. Degrees of freedom: images - 1."""
        if self.image_variance is None:
            return None
        return _quantile(level, self.images - 1) * math.sqrt(self.image_variance)

    def over_both(self, level: float) -> float | None:
        """The two variances added, each under its own quantile: half-widths add in squares.

        One quantile for the sum, at the degrees of freedom of Welch and Satterthwaite, is too
        narrow with few seeds: with 3 and Holm's levels it errs several times too often.
        """
        seeds, images = self.over_seeds(level), self.over_images(level)
        return None if seeds is None or images is None else math.hypot(seeds, images)

    def half_width(self, level: float) -> float | None:
        """Over both kinds of noise, or over seeds where that of the images is not known."""
        both = self.over_both(level)
        return self.over_seeds(level) if both is None else both

    def p_value(self, value: float) -> float | None:
        """The level at which the interval around `value` just reaches 0; None with one pair."""
        if self.seed_variance is None:
            return None
        if self.image_variance is None and self.seed_variance > 0:
            t = abs(value) / math.sqrt(self.seed_variance / self.count)
            return 2 * float(stdtr(self.count - 1, -t))
        low, high = math.log(LEAST_P), 0.0
        for _ in range(35):
            middle = (low + high) / 2
            reaches = (self.half_width(math.exp(middle)) or 0.0) >= abs(value)
            low, high = (middle, high) if reaches else (low, middle)
        return math.exp((low + high) / 2)


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences and the half-widths of its three intervals.

    seeds   over seeds, with these test images; Student's t, n - 1 degrees of freedom
    images  over test images, with these trained networks; paired bootstrap
    both    over both: what another seed on other images would give
    count   pairs of seeds
    p       two-sided, of the interval that `half_width` belongs to; not corrected for anything
    level   the intervals cover 1 - level; below 0.05 where the number of seeds was not fixed, so
            that 95 % are covered however the sweep stopped
    """

    value: float
    seeds: float | None
    images: float | None
    both: float | None
    count: int
    p: float | None
    level: float = ALPHA
    spread: Spread | None = None

    @property
    def half_width(self) -> float | None:
        """What the verdict goes by: over both, or over seeds where images are not known."""
        return self.seeds if self.both is None else self.both

    @property
    def over(self) -> str:
        """The noise that `half_width` covers, in words."""
        if self.half_width is None:
            return "one seed, no interval"
        return "seeds" if self.both is None else "seeds and test images"

    def __str__(self) -> str:
        return _text(self.value, self.half_width)

    def signed(self) -> str:
        """With a sign in front."""
        return ("+" if self.value >= 0 else "") + str(self)


def _text(value: float, half_width: float | None) -> str:
    return f"{value:.1f}" if half_width is None else f"{value:.1f} ± {half_width:.1f}"


def _quantile(level: float, degrees: int) -> float:
    return -float(stdtrit(degrees, level / 2))


def _variance(values: Sequence[float]) -> float | None:
    middle, free = fmean(values), len(values) - 1
    return math.fsum((v - middle) ** 2 for v in values) / free if free else None


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean of `values`, one per seed, with its interval. Raises ValueError without any."""
    if not values:
        raise ValueError("no values to take the mean of")
    spread = Spread(len(values), _variance(values))
    return Estimate(fmean(values), spread.over_seeds(1 - confidence), len(values))


def paired(
    a: Sequence[float],
    b: Sequence[float],
    *,
    image_variance: float | None = None,
    images: int = 0,
    level: float = ALPHA,
) -> Difference:
    """The mean of a - b over seeds that both have; noise the two share cancels.

    image_variance   of that mean, by the choice of the `images` test images
    """
    changes = [x - y for x, y in zip(a, b, strict=True)]
    if not changes:
        raise ValueError("no pairs to take the difference of")
    spread = Spread(len(changes), _variance(changes), image_variance, images)
    value = fmean(changes)
    return Difference(
        value=value,
        seeds=spread.over_seeds(level),
        images=spread.over_images(level),
        both=spread.over_both(level),
        count=spread.count,
        p=spread.p_value(value),
        level=level,
        spread=spread,
    )


def level_at(count: int, looks: Sequence[int]) -> float:
    """The error rate that may be spent on a result of `count` seeds.

    looks   the numbers of seeds at which the sweep could stop; empty where it was fixed
    """
    if not looks:
        return ALPHA
    shares = SHARES if len(looks) == len(SHARES) else [ALPHA / len(looks)] * len(looks)
    return next((s for look, s in zip(looks, shares, strict=True) if count <= look), shares[-1])


def holm_shares(p_values: Sequence[float | None]) -> list[float | None]:
    """The share of the error rate that Holm's method leaves to each p value."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    shares: list[float | None] = [None] * len(p_values)
    for rank, (_, i) in enumerate(known):
        shares[i] = 1 / (len(known) - rank)
    return shares


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number by Holm's method; what is missing stays missing."""
    shares = holm_shares(p_values)
    known = [
        (s, p, i)
        for i, (s, p) in enumerate(zip(shares, p_values, strict=True))
        if s and p is not None
    ]
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for share, p, i in sorted(known):
        largest = max(largest, min(1.0, p / share))
        adjusted[i] = largest
    return adjusted


def adjusted(differences: Sequence[Difference | None]) -> list[float | None]:
    """p values corrected for the looks that were planned and, by Holm's method, for their number.

    A look that may spend a fifth of the error rate makes a p value five times as large; the least
    over all looks is then still a p value, so that Holm's method holds however a sweep stops.
    """
    return holm([_spent(d) for d in differences])


def _spent(difference: Difference | None) -> float | None:
    if difference is None or difference.p is None:
        return None
    return difference.p * ALPHA / difference.level


def verdicts(
    differences: Sequence[Difference | None],
    published: Sequence[float | None],
    looks: Sequence[int] = (),
) -> list[str]:
    """What each published effect of a table is judged to be; "not run" without a difference."""
    shares = holm_shares([_spent(d) for d in differences])
    return [
        "not run" if d is None else verdict(d, paper, p, share or 1.0, looks)
        for d, paper, p, share in zip(
            differences, published, adjusted(differences), shares, strict=True
        )
    ]


def verdict(
    difference: Difference,
    published: float | None,
    adjusted_p: float | None,
    share: float = 1.0,
    looks: Sequence[int] = (),
) -> str:
    """One of the four words a published effect is judged with, and why where it is not judged.

    The size of an effect is printed and never judged: only its sign is. An effect published as less
    than a point, without error bars, is contradicted by a large one alone.
    share, looks   what Holm's method leaves to this one, and where the sweep may stop
    """
    if published is None:
        return "nothing published"
    if difference.half_width is None or adjusted_p is None:
        return "cannot tell: one seed, it takes two or more"
    sure = bool(published) and adjusted_p < ALPHA
    if sure and (difference.value > 0) == (published > 0):
        return "reproduced"
    if abs(published) < 1 and negligible(difference):
        return "no effect seen"
    if sure:
        return "contradicted"
    needed = seeds_needed(difference, published, share, looks)
    return f"cannot tell: {needed or f'more than {MOST_SEEDS}'} seeds would tell"


def negligible(difference: Difference) -> bool:
    """Whether the interval lies within NOTHING points of 0."""
    half = difference.half_width
    return half is not None and abs(difference.value) + half <= NOTHING


def seeds_needed(
    difference: Difference, published: float, share: float = 1.0, looks: Sequence[int] = ()
) -> int | None:
    """The least number of seeds that would settle it, should value and scatter stay as they are.

    None if MOST_SEEDS would not. More seeds do not make the noise of the test images less.
    """
    spread, away = difference.spread, abs(difference.value)
    if spread is None or spread.seed_variance is None:
        return None
    n = np.arange(difference.count + 1, MOST_SEEDS + 1)
    levels = np.array([level_at(count, looks) for count in n.tolist()])

    def half_widths(levels: NDArray[np.float64]) -> NDArray[np.float64]:
        squares = stdtrit(n - 1, levels / 2) ** 2 * spread.seed_variance / n
        if spread.image_variance is not None:
            squares += stdtrit(spread.images - 1, levels / 2) ** 2 * spread.image_variance
        return np.sqrt(squares)

    told = (away > half_widths(levels * share)) & (published != 0)
    if abs(published) < 1:
        told |= away + half_widths(levels) <= NOTHING
    return int(n[told][0]) if told.any() else None
