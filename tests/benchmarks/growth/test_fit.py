"""An exponent, its interval, and where the law breaks, on costs whose law is known."""

import random
from math import log

import pytest

from benchmarks.growth.fit import Growth, growth, in_words, interval, slope

SIZES = (10, 100, 1000, 10_000, 100_000)


def once(cost, values=SIZES, rounds=3):
    return [[cost(v)] * rounds for v in values]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_a_power_law_is_found_and_holds_everywhere(power):
    found = growth(SIZES, once(lambda n: 3e-4 * n**power))
    assert found.exponent == pytest.approx(power, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((power, power), abs=1e-9)
    assert found.holds
    assert found.start == 10
    assert found.local == pytest.approx([power] * 4, abs=1e-9)
    assert found.off < 1e-9


def test_what_every_call_costs_is_no_part_of_the_law():
    """A call costs 0.05 ms, and 0.1 µs an item: from 10,000 on it is linear, nearly."""
    costs = once(lambda n: 0.05 + 1e-4 * n)
    found = growth(SIZES, costs)
    assert found.holds
    assert found.start == 1000
    assert 0.8 < found.exponent < 1.0
    assert slope(SIZES, [c[0] for c in costs]) < 0.6  # of all sizes
    said = in_words(found, SIZES, costs)
    assert "the law holds from 1,000" in said
    assert "10 takes 0.051 ms" in said


def test_a_break_among_the_largest_sizes_is_said():
    costs = once(lambda n: n if n <= 10_000 else 1e4 * (n / 1e4) ** 2)
    found = growth(SIZES, costs)
    assert not found.holds
    assert found.exponent == pytest.approx(2)
    assert "no one law" in in_words(found, SIZES, costs)
    assert "n^1.00 up to 10,000, n^2.00 from there" in in_words(found, SIZES, costs)


def test_a_slow_bend_is_said_though_the_law_holds_nearly():
    costs = once(lambda n: n * (1 + n / 4e5) ** 1.5)
    found = growth(SIZES, costs)
    assert found.holds
    assert found.off <= 0.15
    assert "at the large end n^1.1" in in_words(found, SIZES, costs) or found.local[-1] < 1.15


def test_two_sizes_are_a_slope_and_one_is_nothing():
    """Threads on two cores."""
    two = growth((1, 2), [[10.0, 10.2], [5.0, 5.1]])
    assert two.exponent == pytest.approx(-1)
    assert two.holds
    assert two.low <= -1 <= two.high
    one = growth((1,), [[10.0]])
    assert one == Growth(
        exponent=None, low=None, high=None, start=None, holds=False, off=0.0, local=(), rounds=0
    )
    assert in_words(one, (1,), [[10.0]]) == ""


def test_one_round_has_an_exponent_and_no_interval():
    found = growth(SIZES, once(lambda n: n, rounds=1))
    assert found.exponent == pytest.approx(1)
    assert (found.low, found.high) == (None, None)


def test_rounds_that_lack_a_size_of_the_law_are_left_out():
    costs = [[float(v)] * 5 for v in SIZES[:-1]] + [[float(SIZES[-1])] * 2]
    assert growth(SIZES, costs).rounds == 2


def simulated(seed, rounds=5, samples=8):
    """Costs n^1.3 with what a process, a round and a sample add; medians, and all samples."""
    g = random.Random(seed)
    medians, every = [[] for _ in SIZES], [[] for _ in SIZES]
    for _ in range(rounds):
        drift = g.gauss(0, 0.05)
        for i, n in enumerate(SIZES):
            process = g.gauss(0, 0.03) * (4 if g.random() < 0.05 else 1)
            taken = [n**1.3 * 2.718 ** (drift + process + g.gauss(0, 0.01)) for _ in range(samples)]
            medians[i].append(sorted(taken)[samples // 2])
            every[i] += taken
    return medians, every


def test_the_interval_holds_the_exponent_as_often_as_it_says():
    """And does not where the samples of one process are taken for processes of their own."""
    right = wrong = 0
    for seed in range(200):
        medians, every = simulated(seed)
        found = growth(SIZES, medians)
        right += found.low <= 1.3 <= found.high
        low, high = interval([slope(SIZES, [e[i] for e in every]) for i in range(len(every[0]))])
        wrong += low <= 1.3 <= high
    assert right >= 182  # of 200 at 95 %, four standard errors
    assert wrong < 160


def test_the_exponent_is_a_slope_of_logarithms():
    assert slope((1, 10), (1.0, 100.0)) == pytest.approx(log(100) / log(10))
