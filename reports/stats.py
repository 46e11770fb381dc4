"""How few runs are summarised: over seeds, paired, and never more certain than they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy import stats


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
        if self.half_width is None:
            return f"{self.value:.1f}"
        return f"{self.value:.1f} ± {self.half_width:.1f}"

    def signed(self) -> str:
        """With a sign in front, as a difference is written."""
        return ("+" if self.value >= 0 else "") + str(self)


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean of `values`, one per seed, with its interval. Raises ValueError without any."""
    if not values:
        raise ValueError("no values to take the mean of")
    if len(values) == 1:
        return Estimate(values[0], None, 1)
    quantile = stats.t.ppf(0.5 + confidence / 2, len(values) - 1)
    return Estimate(mean(values), float(quantile * stdev(values) / len(values) ** 0.5), len(values))


def paired(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """The mean of a - b over seeds that both have; noise the two share cancels."""
    return estimate([x - y for x, y in zip(a, b, strict=True)])


def p_value(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p of the paired t-test; None with fewer than two pairs."""
    if len(a) < 2:
        return None
    differences = [x - y for x, y in zip(a, b, strict=True)]
    if stdev(differences) == 0:
        return 0.0 if mean(differences) else 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number by Holm's method; what is missing stays missing."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = largest
    return adjusted


def verdict(difference: Estimate, published: float | None, adjusted_p: float | None) -> str:
    """One of the four words a published effect is judged with, and why where it is not judged.

    The size of an effect is printed and never judged: only its sign is.
    """
    if published is None:
        return "nothing published"
    if difference.half_width is None or adjusted_p is None:
        return "cannot tell: one seed"
    if abs(published) < 1:
        low, high = (
            difference.value - difference.half_width,
            difference.value + difference.half_width,
        )
        return "no effect seen" if low >= -2.5 and high <= 2.5 else "cannot tell"
    if adjusted_p < 0.05:
        same = (difference.value > 0) == (published > 0)
        return "reproduced" if same else "contradicted"
    return "cannot tell"
