"""How often intervals cover and verdicts err, by simulation; and that wrong methods would be seen.

A difference of two variants, with one seed on one test image: the effect, what the seed adds, what
the image adds, and what the two add together. Only the effect is true of other seeds and images.
"""

import numpy as np
import pytest
from scipy.special import ndtri

from reports import looks, stats, table
from reports.stats import LOOKS, Spread, paired, verdicts
from tests.reports import tables

EFFECT = 4.0


def covered(n=3, seed=1.0, image=8.0, both=4.0, images=60, runs=1000):
    """Share of runs in which each interval covers what it is about: seeds, images, both."""
    g = np.random.default_rng(0)
    of_seed = g.normal(0, seed, (runs, n, 1))
    of_image = g.normal(0, image, (runs, 1, images))
    seen = EFFECT + of_seed + of_image + g.normal(0, both, (runs, n, images))
    noise = seen.mean(1).var(1, ddof=1) / images  # what the bootstrap of a mean converges to
    about = [EFFECT + of_image.mean((1, 2)), EFFECT + of_seed.mean((1, 2)), np.full(runs, EFFECT)]
    hits = np.zeros(3)
    for run in range(runs):
        scores = seen[run].mean(1).tolist()
        found = paired(scores, [0.0] * n, image_variance=noise[run], images=images)
        halves = (found.seeds, found.images, found.both)
        hits += [abs(found.value - a[run]) <= h for a, h in zip(about, halves, strict=True)]
    return hits / runs


def slack(runs, rate=0.05):
    """Three standard deviations of a rate counted in so many runs."""
    return 3 * (rate * (1 - rate) / runs) ** 0.5


@pytest.mark.parametrize(("n", "image"), [(2, 4.0), (3, 8.0), (3, 0.0), (5, 16.0), (8, 8.0)])
def test_intervals_cover_95_percent(n, image):
    seeds, images, both = covered(n, image=image)
    assert seeds == pytest.approx(0.95, abs=slack(1000))
    assert images >= 0.95 - slack(1000)
    assert both >= 0.95 - slack(1000)


def test_a_normal_quantile_would_be_seen(monkeypatch):
    monkeypatch.setattr(stats, "stdtrit", lambda _, tail: ndtri(tail))
    assert covered()[0] < 0.95 - 3 * slack(1000)


def test_leaving_images_out_would_be_seen(monkeypatch):
    monkeypatch.setattr(Spread, "over_both", Spread.over_seeds)
    assert covered(image=16.0, n=8)[2] < 0.95 - 3 * slack(1000)


def welch(spread, level):
    """One quantile at the degrees of freedom of Welch and Satterthwaite."""
    n, b = spread.count, spread.image_variance
    a = spread.seed_variance / n
    degrees = (a + b) ** 2 / (a * a / (n - 1) + b * b / (spread.images - 1))
    return -stats.stdtrit(degrees, level / 2) * (a + b) ** 0.5


def called(changes, noise=None, images=0):
    """The verdicts on a table of differences, (contrasts, seeds), all published as 3."""
    of = [None] * len(changes) if noise is None else noise
    found = [
        paired(d, [0.0] * len(d), image_variance=v, images=images)
        for d, v in zip(changes.tolist(), of, strict=True)
    ]
    return verdicts(found, [3.0] * len(found))


def false_rate(runs, image=0.0, contrasts=4, n=3, images=200):
    """Share of tables without an effect in which one is called.

    image   standard deviation that the choice of test images gives a difference
    """
    g, wrong = np.random.default_rng(0), 0
    for _ in range(runs):
        rows = g.normal(30, 1, (contrasts + 1, n)) + g.normal(0, 0.7 * image, (contrasts + 1, 1))
        noise = image**2 * g.chisquare(images - 1, contrasts) / (images - 1) if image else None
        said = called(rows[1:] - rows[0], noise, images)
        wrong += any(word in ("reproduced", "contradicted") for word in said)
    return wrong / runs


@pytest.mark.parametrize("image", [0.0, 0.3])
def test_a_table_without_an_effect_rarely_shows_one(image):
    assert false_rate(1000, image) <= 0.05 + slack(1000)


def test_leaving_out_holm_would_be_seen(monkeypatch):
    monkeypatch.setattr(stats, "holm", lambda p_values: list(p_values))
    assert false_rate(1000) > 0.05 + 1.5 * slack(1000)


def test_one_quantile_for_both_noises_would_be_seen(monkeypatch):
    """Too narrow with few seeds, and several times over at the levels that Holm's method asks."""
    monkeypatch.setattr(Spread, "over_both", welch)
    assert false_rate(700, 0.3) > 0.05 + 1.5 * slack(700)


def power(effect=10.0, unpaired=False, runs=300):
    """Share of effects found in a table of three, seeds shifting all rows by far more."""
    g, found = np.random.default_rng(0), 0
    for _ in range(runs):
        rows = g.normal(30, 0.5, (4, 3)) + g.normal(0, 5, 3)
        rows[1:] += effect
        if unpaired:
            rows = g.permuted(rows, axis=1)
        found += called(rows[1:] - rows[0]).count("reproduced")
    return found / (3 * runs)


def test_a_big_effect_is_found():
    assert power() > 0.95


def test_seeds_not_paired_would_be_seen():
    assert power(unpaired=True) < 0.8


def stopped(draws, paper, effect=0.0):
    """The verdicts of a sweep that gives each row 3, 5 or 8 seeds, as its looks decide."""
    names = [f"row {r}" for r in range(len(draws))]
    scores = draws + effect * (np.arange(len(draws)) > 0)[:, None]
    seeds = dict.fromkeys(names, LOOKS[0])
    published = {name: 30 + paper * (r > 0) for r, name in enumerate(names)}
    for look, after in zip(LOOKS, (*LOOKS[1:], None), strict=True):
        given = {n: values[: seeds[n]].tolist() for n, values in zip(names, scores, strict=True)}
        study = tables.study(given, published, looks=LOOKS)
        more = looks.undecided(study, look)
        if not more:
            return [c.verdict for c in table.contrasts(study)], seeds
        seeds |= dict.fromkeys(more, after)
    raise AssertionError("went on after the last look")


def adaptive_false_rate(contrasts=2, runs=500):
    """Share of adaptive tables without an effect in which one is called."""
    g = np.random.default_rng(0)
    draws = g.normal(30, 8, (runs, contrasts + 1, LOOKS[-1]))
    said = [stopped(one, 3.0)[0] for one in draws]
    return np.mean([bool({"reproduced", "contradicted"} & set(words)) for words in said])


def test_choosing_the_number_of_seeds_by_the_results_errs_no_more_often():
    assert adaptive_false_rate() <= 0.05 + slack(500)


def test_looks_that_spend_nothing_would_be_seen(monkeypatch):
    monkeypatch.setattr(table, "level_at", lambda *_: stats.ALPHA)
    assert adaptive_false_rate() > 0.05 + slack(500)


def test_a_big_effect_needs_three_seeds_and_a_lesser_one_more():
    g = np.random.default_rng(0)
    draws = g.normal(30, 0.5, (60, 3, LOOKS[-1]))
    big = [stopped(one, 3.0, 20.0) for one in draws]
    assert np.mean([words == ["reproduced"] * 2 for words, _ in big]) > 0.95
    assert np.mean([max(seeds.values()) == 3 for _, seeds in big]) > 0.8
    lesser = [stopped(one, 3.0, 2.5) for one in draws]
    assert np.mean([words == ["reproduced"] * 2 for words, _ in lesser]) > 0.8
    assert np.mean([max(seeds.values()) > 3 for _, seeds in lesser]) > 0.4
