"""Changes of level: by hand, by law, and by simulation of what chance alone would show."""

import numpy as np
import pytest
from scipy.stats import beta, mannwhitneyu

from benchmarks.history import change_points
from benchmarks.history.change_points import DRAWS, LEVEL, chance, changes, standardised

NOISES = {
    "normal": lambda r, n: r.normal(0, 0.02, n),
    "heavy tails": lambda r, n: 0.02 * r.standard_t(1.5, n),
    "slow runs now and then": lambda r, n: r.exponential(0.02, n) + 0.5 * (r.random(n) < 0.05),
}
RUNS = 600


def false_alarms(noise, n=40, level=0.05, runs=RUNS, seed=7):
    """How many series of noise alone show a change."""
    random = np.random.default_rng(seed)
    return sum(
        bool(changes(np.exp(NOISES[noise](random, n)), level, least=0.0)) for _ in range(runs)
    )


def at_least(count, runs, confidence=0.999):
    """The lower Clopper-Pearson bound of a rate."""
    return beta.ppf(1 - confidence, count, runs - count + 1) if count else 0.0


@pytest.mark.parametrize("noise", NOISES)
def test_noise_of_any_kind_shows_no_more_changes_than_it_is_allowed(noise):
    """0.05 rather than 0.01, so that 600 series tell."""
    assert at_least(false_alarms(noise), RUNS) <= 0.05


def test_the_simulation_sees_a_test_that_does_not_pay_for_its_many_splits(monkeypatch):
    """The largest of 35 statistics taken for one: p of a single normal statistic."""
    from scipy.stats import norm

    monkeypatch.setattr(change_points, "chance", lambda n, s: 2 * norm.sf(s))
    assert at_least(false_alarms("normal"), RUNS) > 0.05


@pytest.mark.parametrize(
    ("size", "before", "after", "noise"), [(1.05, 30, 8, 0.01), (0.8, 10, 10, 0.05)]
)
def test_a_change_is_found_where_it_is(size, before, after, noise):
    random, found = np.random.default_rng(3), []
    for _ in range(50):
        values = np.exp(random.normal(0, noise, before + after))
        values[before:] *= size
        found += [c for c in changes(values) if abs(c.index - before) <= 1]
    assert len(found) >= 48
    assert np.median([c.ratio for c in found]) == pytest.approx(size, rel=0.02)


def test_two_changes_are_two():
    random = np.random.default_rng(5)
    values = np.exp(random.normal(0, 0.01, 60)) * np.repeat([1.0, 1.2, 0.9], 20)
    first, second = changes(values)
    assert (first.index, second.index) == (20, 40)
    assert (first.ratio, second.ratio) == (
        pytest.approx(1.2, rel=0.02),
        pytest.approx(0.75, rel=0.02),
    )


def test_one_slow_run_is_no_level():
    values = np.exp(np.random.default_rng(1).normal(0, 0.01, 40))
    values[20] *= 10
    assert changes(values) == []


def test_the_statistic_is_scipys():
    values = np.random.default_rng(2).permutation(12) + 1.0
    ours = standardised(values[None])[0]
    for k, statistic in zip(range(3, 10), ours, strict=True):
        p = mannwhitneyu(values[:k], values[k:], method="asymptotic", use_continuity=False).pvalue
        from scipy.stats import norm

        assert 2 * norm.sf(statistic) == pytest.approx(p, rel=1e-9)


def test_the_order_and_the_unit_do_not_matter():
    values = np.exp(np.random.default_rng(9).normal(0, 0.01, 30)) * np.repeat([1.0, 1.3], 15)
    (found,) = changes(values)
    (scaled,) = changes(1000 * values)
    (mirrored,) = changes(values[::-1])
    assert (scaled.index, scaled.p) == (found.index, found.p)
    assert scaled.ratio == pytest.approx(found.ratio)
    assert mirrored.index == 30 - found.index
    assert mirrored.ratio == pytest.approx(1 / found.ratio)


def test_a_chance_is_never_0_and_falls_with_the_statistic():
    assert chance(20, 99.0) == 1 / (DRAWS + 1)
    assert chance(20, 0.0) == 1.0
    assert chance(20, 2.0) > chance(20, 3.0) > chance(20, 4.0)


def test_small_changes_are_not_told():
    values = np.repeat([1.0, 1.005], 20) + np.arange(40) * 1e-9
    assert changes(values) == []
    assert len(changes(values, least=0.001)) == 1


@pytest.mark.parametrize("values", [[], [1.0], [1, 2, 3, 4, 5], [2.0] * 30])
def test_what_is_too_short_or_constant_has_no_change(values):
    assert changes(values) == []


@pytest.mark.parametrize("bad", [[1.0, 0.0], [1.0, -2.0], [1.0, float("nan")], [float("inf")]])
def test_values_that_are_no_times_are_refused(bad):
    with pytest.raises(ValueError, match="not a finite number above 0"):
        changes(bad)


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0])
def test_a_level_that_cannot_be_simulated_is_refused(level):
    with pytest.raises(ValueError, match=f"level {level}"):
        changes([1.0] * 10, level)


def test_the_usual_level_is_a_hundredth():
    assert LEVEL == 0.01
