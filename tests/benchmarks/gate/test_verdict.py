"""Verdicts: how often they are wrong on equal sides, what they find, and that both could fail."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, t, trim_mean
from scipy.stats.mstats import trimmed_stde

from benchmarks.gate import verdict
from benchmarks.gate.verdict import (
    ERROR,
    FEWEST,
    contest,
    decide,
    differing,
    estimate,
    holm,
    judge,
    looks,
    shares,
    trim,
)

RUNS, BENCHMARKS, ROUNDS = 1500, 16, 32
EFFECTS = {f"b{i}": 0.03 for i in range(BENCHMARKS)}


def normal(rng, shape):
    """Benchmarks of unlike noise: 0.3 % to 5 %."""
    scale = np.geomspace(0.003, 0.05, shape[0])[:, None]
    return scale * rng.standard_normal(shape)


def long_tails(rng, shape):
    """Now and then a process is off by a lot."""
    return 0.01 * rng.standard_t(2.0, shape)


def two_speeds(rng, shape):
    """Each process falls into one of two layouts, 6 % apart; within them there is little noise."""
    fast = rng.random((2, *shape)) < 0.5
    return 0.06 * (fast[0].astype(float) - fast[1]) + 0.002 * rng.standard_normal(shape)


def skewed(rng, shape):
    """Processes are slowed down, never sped up: the two of a pair in the same way."""
    one, other = rng.lognormal(-4.5, 1.2, (2, *shape))
    return np.log1p(one) - np.log1p(other)


def drifting(rng, shape):
    """The machine wanders by percents within a round; its slices follow each other A B, B A."""
    steps = 0.004 * rng.standard_normal((*shape, 8)) + 0.003 * rng.standard_normal((*shape, 1))
    speed = np.cumsum(steps, axis=-1).reshape(*shape, 4, 2)
    sign = np.array([1, -1, -1, 1]) * np.where(np.arange(shape[1]) % 2, 1, -1)[:, None]
    blocks = (speed[..., 1] - speed[..., 0]) * sign
    return np.median(blocks, axis=-1) + 0.005 * rng.standard_normal(shape)


NOISES = {f.__name__: f for f in (normal, long_tails, two_speeds, skewed, drifting)}


def named(values):
    return {f"b{i}": row.tolist() for i, row in enumerate(values)}


def runs(noise, seed, count=RUNS, rounds=ROUNDS, slower=0.0):
    """The values of so many gate runs; `slower` is added to the first half of the benchmarks."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        values = noise(rng, (BENCHMARKS, rounds))
        values[: BENCHMARKS // 2] += math.log1p(slower)
        yield named(values)


def alarms(noise, seed, decision=decide, **more):
    """Gate runs on equal sides that say FASTER or SLOWER of anything."""
    return sum(differing(decision(v, EFFECTS)) > 0 for v in runs(noise, seed, **more))


def allowed(count=RUNS):
    """More than so many are chance in one of a thousand tests, if one run in a hundred may."""
    return int(binom.ppf(0.999, count, ERROR))


@pytest.mark.parametrize("name", NOISES)
def test_one_run_in_a_hundred_on_equal_sides_says_faster_or_slower_at_most(name):
    assert alarms(NOISES[name], 1) <= allowed()


def test_with_few_rounds_too():
    assert alarms(normal, 2, rounds=FEWEST) <= allowed()
    assert alarms(two_speeds, 2, rounds=12) <= allowed()


def without_holm(values, effects):
    """Each benchmark by itself."""
    return {n: decide({n: v}, effects)[n] for n, v in values.items()}


def without_looks(values, effects):
    """The whole chance of an error at each look."""
    closed = {}
    for count in looks(ROUNDS):
        seen = {n: v[:count] for n, v in values.items() if n not in closed}
        said = judge(seen, effects, share=ERROR, family=BENCHMARKS, last=(ROUNDS, ERROR))
        closed |= {n: v for n, v in said.items() if v.decided}
    return closed


def at_every_round(values, effects):
    """Looked at after each round, with what one look may spend."""
    closed = {}
    for count in range(FEWEST, ROUNDS + 1):
        seen = {n: v[:count] for n, v in values.items() if n not in closed}
        if seen:
            said = judge(seen, effects, share=ERROR, family=BENCHMARKS, last=(ROUNDS, ERROR))
            closed |= {n: v for n, v in said.items() if v.decided}
    return closed


def without_minimum(decision):
    """With any effect worth a verdict: what is wrong with the test itself shows more often so."""
    return lambda values, effects: decision(values, dict.fromkeys(effects, 1e-6))


def in_iterations(values, effects):
    """As if the samples within a process were drawn anew: eight for each process, nearly alike."""
    rng = np.random.default_rng(5)
    many = {
        n: np.repeat(v, 8) + 0.0005 * rng.standard_normal(8 * len(v)) for n, v in values.items()
    }
    return decide({n: v.tolist() for n, v in many.items()}, effects)


def test_the_law_holds_without_a_minimum_effect():
    assert alarms(normal, 3, without_minimum(decide)) <= allowed()


@pytest.mark.parametrize(
    ("wrong", "count"), [(without_holm, 200), (without_looks, 2500), (at_every_round, 300)]
)
def test_a_wrong_correction_is_seen(wrong, count):
    assert alarms(normal, 3, without_minimum(wrong), count=count) > allowed(count)


def test_iterations_as_units_are_seen():
    count = 200
    assert alarms(normal, 4, in_iterations, count=count) > allowed(count)


def test_a_side_that_always_goes_first_is_seen():
    """Without turning the order round, a drift is a difference."""

    def in_one_order(rng, shape):
        steps = 0.004 * rng.standard_normal((*shape, 8)) + 0.02
        speed = np.cumsum(steps, axis=-1).reshape(*shape, 4, 2)
        return np.median(speed[..., 1] - speed[..., 0], axis=-1)

    assert alarms(in_one_order, 5, without_minimum(decide), count=100) > allowed(100)


def words(noise, seed, count, slower, rounds=ROUNDS):
    """The verdicts on the benchmarks that are slower, and on the others."""
    slow, equal = [], []
    for values in runs(noise, seed, count, rounds, slower):
        for place, said in enumerate(decide(values, EFFECTS).values()):
            (slow if place < BENCHMARKS // 2 else equal).append(said)
    return slow, equal


def quiet(rng, shape):
    """What a quiet machine has: 0.3 % to 1.2 %."""
    return np.geomspace(0.003, 0.012, shape[0])[:, None] * rng.standard_normal(shape)


def test_equal_sides_are_seldom_unsure():
    for noise, most in ((quiet, 0.01), (normal, 0.10), (long_tails, 0.10)):
        slow, equal = words(noise, 6, 200, 0.0)
        every = [v.word for v in slow + equal]
        assert every.count("UNSURE") <= most * len(every), noise.__name__


@pytest.mark.parametrize(("slower", "least"), [(0.05, 0.95), (0.10, 0.999), (0.30, 1.0)])
def test_a_slowdown_is_found_where_noise_allows(slower, least):
    slow, equal = words(quiet, 7, 100, slower)
    assert [v.word for v in slow].count("SLOWER") >= least * len(slow)
    assert [v.word for v in equal].count("SLOWER") <= 0.01 * len(equal)


def test_what_is_said_to_be_detectable_is_found_as_often_as_said():
    """A slowdown as large as the detectable effect, where that is larger than the minimum."""
    rng = np.random.default_rng(8)
    scale, found = 0.07, []
    clean = [
        decide(named(scale * rng.standard_normal((BENCHMARKS, ROUNDS))), EFFECTS) for _ in range(60)
    ]
    detectable = np.median([v.detectable for run in clean for v in run.values()])
    assert 0.06 < detectable < 0.1
    for _ in range(200):
        values = scale * rng.standard_normal((BENCHMARKS, ROUNDS))
        values[0] += math.log1p(detectable)
        found.append(decide(named(values), EFFECTS)["b0"].word)
    assert found.count("SLOWER") >= binom.ppf(0.001, len(found), 0.93)
    assert found.count("SLOWER") < len(found)


def test_a_gate_that_sees_nothing_fails_these_tests(monkeypatch):
    monkeypatch.setattr(verdict, "ERROR", 1e-30)
    slow, _ = words(quiet, 7, 20, 0.05)
    assert [v.word for v in slow].count("SLOWER") < 0.95 * len(slow)


def test_holm_against_its_definition():
    assert holm([0.2, 0.6, 0.4, 0.01], 4) == [(True, 3), (True, 1), (True, 2), (True, 4)]
    assert holm([0.24, 0.3, 0.9], 4) == [(True, 4), (True, 3), (False, 2)]
    assert holm([0.26, 0.3, 0.9], 4) == [(False, 4)] * 3
    assert holm([], 4) == []


def test_the_estimate_is_yuens():
    rng = np.random.default_rng(9)
    for count in (6, 12, 24, 41):
        values = rng.standard_normal(count)
        cut = trim(count)
        found = estimate(values.tolist())
        assert found.mean == pytest.approx(trim_mean(values, (cut + 0.5) / count))
        if cut:
            limits, kept = (cut / count + 1e-9,) * 2, count - 2 * cut
            factor = math.sqrt(kept / (kept - 1) * (count - 1) / count)  # Yuen's h for Tukey's n
            expected = factor * float(trimmed_stde(values, limits))
            assert found.error == pytest.approx(expected, rel=1e-6)
        else:
            assert found.error == pytest.approx(values.std(ddof=1) / math.sqrt(count))
        assert found.freedom == count - 2 * cut - 1
        assert found.p == pytest.approx(2 * t.sf(abs(found.mean) / found.error, found.freedom))
        assert found.half(found.p) == pytest.approx(abs(found.mean))


def test_one_disturbed_round_does_not_decide():
    """A round beside a busy neighbour, 40 % off, among 24 quiet ones."""
    rng = np.random.default_rng(10)
    values = 0.004 * rng.standard_normal(24)
    values[5] = 0.34
    assert decide({"x": values.tolist()}, {"x": 0.03})["x"].word == "SAME"


def test_constant_values_need_no_noise():
    assert decide({"x": [0.0] * 12}, {"x": 0.03})["x"].word == "SAME"
    assert decide({"x": [0.1] * 12}, {"x": 0.03})["x"].word == "SLOWER"
    assert decide({"x": [-0.1] * 12}, {"x": 0.03})["x"].word == "FASTER"


def test_a_small_difference_is_the_same_and_one_beyond_the_band_never():
    rng = np.random.default_rng(11)
    small = {"x": (0.015 + 0.002 * rng.standard_normal(24)).tolist()}
    said = decide(small, {"x": 0.03})["x"]
    assert said.word == "SAME"
    assert said.low > 1  # it is seen, and not worth a verdict
    noisy = {"x": (0.3 * rng.standard_normal(24)).tolist()}
    said = decide(noisy, {"x": 0.03})["x"]
    assert said.word == "UNSURE"
    assert said.band == verdict.WIDEST


def called_same(count, decision=decide):
    """Of so many benchmarks that are slower by just the effect worth a verdict, those called SAME.

    Each is a run of its own, of less noise than would make the band wider.
    """
    rng = np.random.default_rng(14)
    values = math.log1p(0.03) + 0.006 * rng.standard_normal((count, ROUNDS))
    return sum(decision({"x": v.tolist()}, {"x": 0.03})["x"].word == "SAME" for v in values)


def test_what_differs_by_the_band_is_seldom_called_the_same():
    most = int(binom.ppf(0.999, 4000, verdict.MISSED / 2))
    assert 0 < called_same(4000) <= most


def test_the_same_at_every_look_anew_is_seen():
    def without_shares(values, effects):
        for count in looks(ROUNDS):
            seen = {n: v[:count] for n, v in values.items()}
            said = judge(seen, effects, share=ERROR, family=1, last=(ROUNDS, ERROR))
            if said["x"].decided:
                break
        return said

    assert called_same(4000, without_shares) > binom.ppf(0.999, 4000, verdict.MISSED / 2)


def test_the_same_is_said_of_a_benchmark_alone_and_a_difference_of_all():
    rng = np.random.default_rng(15)
    values = {"x": (0.01 * rng.standard_normal(16)).tolist()}
    few, many = (
        judge(values, {"x": 0.03}, share=ERROR, family=n, last=(16, ERROR))["x"] for n in (1, 1000)
    )
    assert (few.word, few.low, few.high) == (many.word, many.low, many.high)
    assert few.word == "SAME"
    slow = {"x": [v + 0.08 for v in values["x"]]}
    few, many = (
        judge(slow, {"x": 0.03}, share=ERROR, family=n, last=(16, ERROR))["x"] for n in (1, 1000)
    )
    assert few.low > many.low


def test_an_early_look_does_not_widen_the_band():
    rng = np.random.default_rng(16)
    noisy = {"x": (0.04 * rng.standard_normal(8)).tolist()}
    early, last = (
        judge(noisy, {"x": 0.03}, share=ERROR / 4, family=16, last=(n, ERROR / 2))["x"]
        for n in (32, 8)
    )
    assert (early.word, early.band) == ("UNSURE", 0.03)
    assert (last.word, last.band) == ("SAME", verdict.WIDEST)


def test_an_estimate_beyond_the_effect_is_never_the_same():
    noise = [0.04, -0.04] * 4
    beyond, within = (
        decide({"x": [middle + x for x in noise]}, {"x": 0.03})["x"] for middle in (0.045, 0.025)
    )
    assert (beyond.word, within.word) == ("UNSURE", "SAME")
    assert math.log(beyond.ratio) + math.log(within.high / within.ratio) < math.log1p(beyond.band)


def test_looks_and_their_shares():
    assert looks(8) == (8,)
    assert looks(15) == (15,)
    assert looks(24) == (12, 24)
    assert looks(32) == (8, 16, 32)
    assert looks(41) == (10, 20, 41)
    for count in (1, 2, 3):
        assert sum(shares(count)) == pytest.approx(ERROR)
        assert len(shares(count)) == count


def test_what_was_found_before_leaves_more_for_the_rest():
    values = {"x": [0.011, 0.009, 0.012, 0.010, 0.008, 0.0105]}
    wide, narrow = (
        judge(values, {"x": 0.001}, share=0.005, family=n, last=(6, 0.005))["x"] for n in (16, 1)
    )
    assert wide.low < narrow.low
    assert wide.high > narrow.high


def test_a_peer_is_ahead_behind_or_unsure():
    rng = np.random.default_rng(12)
    share = {"share": 0.005, "family": 10, "last": (24, 0.005)}
    values = (math.log(1 / 6) + 0.01 * rng.standard_normal(24)).tolist()
    assert contest(values, 4.0, **share).word == "AHEAD"
    assert contest(values, 8.0, **share).word == "BEHIND"
    assert contest(values, 6.0, **share).word == "UNSURE"
    said = contest(values, 4.0, **share)
    assert said.low < said.ratio < said.high
    assert said.ratio == pytest.approx(1 / 6, rel=0.01)


def test_verdicts_are_the_same_when_sides_change_places():
    rng = np.random.default_rng(13)
    values = named(0.01 * rng.standard_normal((BENCHMARKS, ROUNDS)) + 0.04)
    there = decide(values, EFFECTS)
    back = decide({n: [-x for x in v] for n, v in values.items()}, EFFECTS)
    mirrored = {"SLOWER": "FASTER", "FASTER": "SLOWER"}
    for name, said in there.items():
        other = back[name]
        assert other.word == mirrored.get(said.word, said.word)
        assert other.ratio == pytest.approx(1 / said.ratio)
        assert replace(said, ratio=0, low=0, high=0, word="SAME") == replace(
            other, ratio=0, low=0, high=0, word="SAME"
        )
