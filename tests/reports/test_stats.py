"""Few seeds, honestly: intervals by hand, corrections by hand, verdicts that mean what they say.

How often they are right is shown by simulation in test_error_rates.py.
"""

import math

import pytest
from scipy import stats as peer

from reports.stats import (
    ALPHA,
    LOOKS,
    SHARES,
    Difference,
    Spread,
    adjusted,
    estimate,
    holm,
    holm_shares,
    level_at,
    paired,
    seeds_needed,
    verdict,
    verdicts,
)


def test_an_interval_by_hand():
    """1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.3027, half-width 4.3027 / sqrt 3."""
    found = estimate([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.half_width == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert estimate([5.0]).half_width is None
    assert str(estimate([5.0])) == "5.0"


def test_pairing_cancels_what_seeds_share():
    a, b = [10.0, 20.0, 30.0], [9.0, 19.5, 28.8]
    found = paired(a, b)
    assert found.half_width < estimate(a).half_width / 10
    assert found.p == pytest.approx(peer.ttest_rel(a, b).pvalue)
    assert found.signed() == "+0.9 ± 0.9"
    assert found.over == "seeds"
    assert (found.images, found.both) == (None, None)


def test_three_half_widths_by_hand():
    """Differences 1, 2, 3 and an image variance of 0.04 from 101 images: 0.2 t(0.975, 100)."""
    found = paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0], image_variance=0.04, images=101)
    assert found.seeds == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert found.images == pytest.approx(0.2 * 1.98397, rel=1e-5)
    assert found.both == pytest.approx((found.seeds**2 + found.images**2) ** 0.5)
    assert found.half_width == found.both
    assert found.over == "seeds and test images"


def test_the_p_value_is_the_level_whose_interval_reaches_0():
    found = paired([2.0, 4.0, 6.5], [1.0, 2.0, 3.0], image_variance=0.3, images=50)
    assert found.spread.half_width(found.p) == pytest.approx(abs(found.value), rel=1e-6)
    assert 0.05 < found.p < 1
    assert paired([3.0, 3.0], [1.0, 1.0]).p < 1e-12
    assert paired([3.0, 3.0], [3.0, 3.0]).p == pytest.approx(1)


def test_one_pair_has_no_interval_over_seeds():
    found = paired([5.0], [2.0], image_variance=1.0, images=400)
    assert (found.seeds, found.both, found.half_width, found.p) == (None, None, None, None)
    assert found.images == pytest.approx(1.966, abs=1e-3)
    assert found.signed() == "+3.0"
    assert found.over == "one seed, no interval"
    with pytest.raises(ValueError, match="no pairs"):
        paired([], [])


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, 0.06, pytest.approx(0.06)]
    assert holm_shares([0.01, None, 0.04, 0.03]) == [1 / 3, None, 1, 1 / 2]
    assert holm([0.5, 0.4]) == [0.8, 0.8]


def of(value, half, p, level=ALPHA):
    return Difference(value, half, None, None, 3, p, level)


def test_looks_make_p_values_larger_before_holm():
    assert sum(SHARES) == pytest.approx(ALPHA)
    assert [level_at(n, LOOKS) for n in (2, 3, 4, 5, 8, 9)] == [0.03, 0.03, 0.01, 0.01, 0.01, 0.01]
    assert level_at(3, ()) == ALPHA
    assert level_at(4, (2, 4)) == ALPHA / 2
    differences = [of(1, 1, 0.01, 0.01), of(1, 1, 0.03, 0.03), None, of(1, None, None)]
    assert adjusted(differences) == [pytest.approx(0.1), pytest.approx(0.1), None, None]


@pytest.mark.parametrize(
    ("value", "half", "published", "p", "word"),
    [
        (5.0, 1.0, 3.4, 0.001, "reproduced"),
        (-5.0, 1.0, -3.4, 0.001, "reproduced"),
        (-5.0, 1.0, 3.4, 0.001, "contradicted"),
        (5.0, 9.0, 3.4, 0.3, "cannot tell"),
        (0.3, 1.0, 3.4, 0.6, "cannot tell"),
        (0.3, 1.0, 0.2, 0.6, "no effect seen"),
        (0.3, 4.0, 0.2, 0.8, "cannot tell"),
        (2.0, 0.3, 0.6, 0.001, "reproduced"),
        (-2.0, 0.3, 0.6, 0.001, "no effect seen"),
        (-3.0, 0.3, 0.6, 0.001, "contradicted"),
        (2.0, 0.3, 0.0, 0.001, "no effect seen"),
        (5.0, 0.3, 0.0, 0.001, "cannot tell"),
        (5.0, None, 3.4, None, "cannot tell: one seed, it takes two or more"),
        (5.0, 1.0, None, 0.001, "nothing published"),
    ],
)
def test_verdicts(value, half, published, p, word):
    found = verdict(of(value, half, p), published, p)
    assert found.startswith(word)
    assert found == word or word == "cannot tell"


def test_a_table_is_judged_as_one():
    """Alone 0.03 is enough; as the greater of two it is too; as the lesser it is not."""
    strong, weak, none = of(5, 1, 0.001), of(5, 4, 0.03), of(0, 9, 0.9)
    assert verdicts([strong, weak], [3.0, 3.0]) == ["reproduced", "reproduced"]
    assert verdicts([weak, none], [3.0, None])[0].startswith("cannot tell")
    assert verdicts([None, strong], [3.0, 3.0]) == ["not run", "reproduced"]


def test_the_number_of_seeds_that_would_tell_by_hand():
    """s = 1, mean 1: t(0.975, n - 1) / sqrt n is 1.049 with 6, 0.925 with 7 (2.5706, 2.4469)."""
    assert peer.t.ppf(0.975, 5) / math.sqrt(6) > 1 > peer.t.ppf(0.975, 6) / math.sqrt(7)
    found = Difference(1.0, 2.5, None, None, 3, 0.2, ALPHA, Spread(3, 1.0))
    assert seeds_needed(found, 3.0) == 7
    assert verdict(found, 3.0, 0.2) == "cannot tell: 7 seeds would tell"
    assert seeds_needed(found, 3.0, share=1 / 4) > 7
    assert seeds_needed(found, 3.0, looks=LOOKS) > 7
    small = Difference(0.1, 4.0, None, None, 3, 0.9, ALPHA, Spread(3, 4.0))
    assert seeds_needed(small, 3.0) is None
    assert verdict(small, 3.0, 0.9) == "cannot tell: more than 50 seeds would tell"
    assert seeds_needed(small, 0.2) == 6  # 2.7764 * 2 / sqrt 5 = 2.48 > 2.4; with 6: 2.10


def test_seeds_do_not_lessen_the_noise_of_images():
    found = Difference(1.0, 2.5, 1.2, 2.8, 3, 0.3, ALPHA, Spread(3, 1.0, 0.36, 400))
    assert seeds_needed(found, 3.0) is None
