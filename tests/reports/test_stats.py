"""Few seeds, honestly: intervals that cover what they say, verdicts that mean what they say."""

import numpy as np
import pytest
from scipy import stats as peer

from reports import stats
from reports.stats import Estimate, estimate, holm, p_value, paired, verdict


def test_an_interval_by_hand():
    """1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.3027, half-width 4.3027 / sqrt 3."""
    found = estimate([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.half_width == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert estimate([5.0]).half_width is None
    assert str(estimate([5.0])) == "5.0"


def test_pairing_cancels_what_seeds_share():
    a, b = [10.0, 20.0, 30.0], [9.0, 19.5, 28.8]
    assert paired(a, b).half_width < estimate(a).half_width / 10
    assert p_value(a, b) == pytest.approx(peer.ttest_rel(a, b).pvalue)


def coverage(of, n=3, runs=4000):
    draws = np.random.default_rng(0).normal(7, 2, (runs, n)).tolist()
    found = [of(values) for values in draws]
    return np.mean([abs(f.value - 7) <= f.half_width for f in found])


def test_intervals_cover_95_percent():
    assert coverage(estimate) == pytest.approx(0.95, abs=0.012)


def test_a_normal_quantile_in_place_of_t_would_be_seen(monkeypatch):
    monkeypatch.setattr(stats.stats.t, "ppf", lambda q, df: peer.norm.ppf(q))
    assert coverage(estimate) < 0.9


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, 0.06, pytest.approx(0.06)]


@pytest.mark.parametrize(
    ("value", "half", "published", "p", "word"),
    [
        (5.0, 1.0, 3.4, 0.001, "reproduced"),
        (-5.0, 1.0, 3.4, 0.001, "contradicted"),
        (5.0, 9.0, 3.4, 0.3, "cannot tell"),
        (0.3, 1.0, 0.2, 0.6, "no effect seen"),
        (0.3, 4.0, 0.2, 0.8, "cannot tell"),
        (5.0, None, 3.4, None, "cannot tell: one seed"),
        (5.0, 1.0, None, 0.001, "nothing published"),
    ],
)
def test_verdicts(value, half, published, p, word):
    assert verdict(Estimate(value, half, 3), published, p) == word


def test_without_an_effect_verdicts_are_rarely_wrong():
    """Two equal variants, three seeds: at most 5 in 100 called an effect (here within 3 s.d.)."""
    g, wrong = np.random.default_rng(1), 0
    for _ in range(1500):
        a, b = g.normal(30, 1, 3).tolist(), g.normal(30, 1, 3).tolist()
        wrong += verdict(paired(a, b), 3.0, p_value(a, b)) in ("reproduced", "contradicted")
    assert wrong / 1500 < 0.05 + 3 * (0.05 * 0.95 / 1500) ** 0.5
