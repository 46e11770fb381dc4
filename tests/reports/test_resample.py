"""Scoring again from matches: pycocotools' own numbers, and the noise of the choice of images."""

import dataclasses

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn import scoring
from reports import precision, resample
from reports.matches import load_matches
from reports.resample import ap, between_runs, draws, image_variance, measure, precision_recall
from tests.reports import scored

AREAS = ("all", "small", "medium", "large")


@pytest.fixture(scope="module")
def sets():
    """Six evaluations by pycocotools; in the last scores tie."""
    made = [scored.scene(np.random.default_rng(i), digits=1 if i == 5 else 6) for i in range(6)]
    return [(dataset, results, scored.evaluated(dataset, results)) for dataset, results in made]


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("iou", [None, 0.5, 0.75])
def test_with_every_weight_1_it_is_pycocotools_to_the_bit(sets, area, iou):
    some = slice(None) if iou is None else round((iou - 0.5) / 0.05)
    for _, _, run in sets:
        matches = scored.matches_of(run)
        peer = scored.mean(run.eval["precision"][some, ..., AREAS.index(area), -1])
        found = ap(matches, "box", np.ones(len(matches.image_ids)), area=area, iou=iou)
        np.testing.assert_array_equal(found, [peer])


def test_every_precision_is_pycocotools_own(sets):
    for _, _, run in sets:
        matches = scored.matches_of(run)
        ones = np.ones((1, len(matches.image_ids)))
        curves = resample._curves(matches, "box", ones, "all", None)[0]
        np.testing.assert_array_equal(curves, run.eval["precision"][..., 0, -1])
        recalls, found = precision_recall(matches, "box", 0.5)
        peer = run.eval["precision"][0, ..., 0, -1]
        np.testing.assert_allclose(found, peer[:, peer[0] > -1].mean(1), rtol=1e-15)
        assert recalls[-1] == 1


def repeated(dataset, results, counts):
    """The data set in which image i occurs counts[i] times, and the results in each."""
    images = [i for i, count in enumerate(counts, start=1) for _ in range(count)]
    objects = [
        a | {"id": (new + 1) * 1000 + a["id"], "image_id": new + 1}
        for new, old in enumerate(images)
        for a in dataset["annotations"]
        if a["image_id"] == old
    ]
    found = [
        r | {"image_id": new + 1}
        for new, old in enumerate(images)
        for r in results
        if r["image_id"] == old
    ]
    return scored.truth(len(images), len(dataset["categories"]), objects), found


def test_a_weight_of_two_is_an_image_that_occurs_twice(sets):
    """As pycocotools scores the repeated images; a weight of 0 leaves one out."""
    generator = np.random.default_rng(0)
    for dataset, results, run in sets[:5]:
        counts = generator.multinomial(12, np.full(12, 1 / 12))
        peer = scored.evaluated(*repeated(dataset, results, counts)).eval["precision"]
        found = ap(scored.matches_of(run), "box", counts)
        assert found[0] == pytest.approx(scored.mean(peer[..., 0, -1]), rel=1e-12)


def test_in_parts_it_is_the_same(sets, monkeypatch):
    matches = scored.matches_of(sets[0][2])
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=7)
    whole = ap(matches, "box", weights)
    monkeypatch.setattr(resample, "AT_ONCE", 1)
    np.testing.assert_array_equal(ap(matches, "box", weights), whole)
    np.testing.assert_array_equal(ap(matches, "box", weights[3]), whole[3:4])


BUGS = {
    "precision not made monotone": ("best = max(best, ", "best = max(0.0, "),
    "recall may be exceeded": ("recalls[r] > before", "recalls[r] >= before"),
    "ignored ones count": ("ranks = own if ignored[t, k] else total", "ranks = total"),
    "weights forgotten": ("found += weight[right[j]]", "found += 1"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_wrong_loop_would_be_seen(sets, monkeypatch, bug):
    broken = mutant(*BUGS[bug])
    monkeypatch.setattr(precision, "fill", broken)
    laws = (
        test_every_precision_is_pycocotools_own,
        test_a_weight_of_two_is_an_image_that_occurs_twice,
    )
    assert any(broken_by(law, sets) for law in laws)


def broken_by(law, sets):
    try:
        law(sets)
    except AssertionError:
        return True
    return False


def mutant(old, new):
    """The loop of the module, uncompiled, with one line changed."""
    with open(precision.__file__) as file:
        text = file.read()
    assert text.count(old) == 1
    names = {}
    exec(text.replace(old, new).replace("@njit(cache=True)", ""), names)
    return names["fill"]


def test_names_of_metrics():
    assert measure("mask AP") == resample.Measure("mask", "all", None)
    assert measure("box AP75") == resample.Measure("box", "all", 0.75)
    assert measure("keypoint AP medium") == resample.Measure("keypoint", "medium", None)
    assert measure("mask boundary AP") == resample.Measure("boundary", "all", None)
    for other in ("mask AR", "mask AP, boxes given", "AP", "missed AP: both"):
        assert measure(other) is None


def test_what_was_not_scored_is_named(sets):
    matches = scored.matches_of(sets[0][2])
    ones = np.ones(12)
    for error, ask in {
        "'mask' was not scored": lambda: ap(matches, "mask", ones),
        "area 'tiny' was not scored": lambda: ap(matches, "box", ones, area="tiny"),
        "IoU 0.52 was not scored": lambda: ap(matches, "box", ones, iou=0.52),
        "'mask AP' cannot be had": lambda: draws(matches, "mask AP"),
        "'box AR' cannot be had": lambda: draws(matches, "box AR"),
    }.items():
        with pytest.raises(ValueError, match=error):
            ask()


def a_pair(generator, images):
    """Two runs on the same images, one a little better."""
    state = generator.integers(2**32)
    return [scored.drawn(np.random.default_rng(state), images, s) for s in (0.05, 0.0)]


@pytest.fixture(scope="module")
def fresh():
    """Differences on 400 fresh sets of 60 images: what a bootstrap of one set has to tell."""
    generator, ones = np.random.default_rng(0), np.ones(60)
    both = [a_pair(generator, 60) for _ in range(400)]
    return np.var([ap(a, "mask", ones)[0] - ap(b, "mask", ones)[0] for a, b in both], ddof=1)


def bootstrapped(variance):
    generator = np.random.default_rng(1)
    return np.mean([variance(*a_pair(generator, 60)) for _ in range(40)])


def test_the_bootstrap_tells_the_variance_of_fresh_images(fresh):
    def variance(a, b):
        return image_variance([a], [b], "mask AP", resamples=200)

    assert bootstrapped(variance) == pytest.approx(fresh, rel=0.2)


def test_images_resampled_apart_would_be_seen(fresh):
    def variance(a, b):
        return sum(draws(m, "mask AP", 200, i).values.var() for i, m in enumerate((a, b)))

    assert bootstrapped(variance) > 3 * fresh


def test_the_bootstrap_repeats_itself_and_pairs():
    a, b = a_pair(np.random.default_rng(2), 40)
    first = image_variance([a, a], [b, b], "mask AP", resamples=50)
    assert image_variance([a, a], [b, b], "mask AP", resamples=50) == first
    assert image_variance([a], [b], "mask AP", resamples=50) == pytest.approx(first)
    assert image_variance([a], [a], "mask AP", resamples=50) == 0
    assert image_variance([a], [b], "mask AP", resamples=50, seed=1) != first


def test_other_images_have_no_paired_variance():
    a, b = a_pair(np.random.default_rng(3), 40)
    other = dataclasses.replace(b, image_ids=b.image_ids + 1)
    with pytest.raises(ValueError, match="different images"):
        image_variance([a], [other], "mask AP", resamples=5)


def test_runs_by_their_folders(tmp_path, monkeypatch):
    a, b = a_pair(np.random.default_rng(4), 30)
    places = [tmp_path / "a", tmp_path / "b"]
    assert between_runs(places[:1], places[1:], "mask AP") == (None, 0)
    scored.save(a, places[0])
    assert between_runs(places[:1], places[1:], "mask AP") == (None, 0)
    scored.save(b, places[1])
    found = between_runs(places[:1], places[1:], "mask AP")
    assert found == (image_variance([a], [b], "mask AP"), 30)
    assert between_runs(places[:1], places[1:], "box AP") == (None, 0)
    assert between_runs(places[:1], places[1:], "mask boundary AP") == (None, 0)
    monkeypatch.setattr(resample, "load_matches", None)  # both are kept: nothing is read again
    assert between_runs(places[:1], places[1:], "mask AP") == found


def test_a_file_that_changed_is_read_again(tmp_path):
    a, b = a_pair(np.random.default_rng(5), 30)
    scored.save(a, tmp_path)
    first = resample.draws_of(tmp_path, "mask AP").values
    scored.save(scored.drawn(np.random.default_rng(6), 31), tmp_path)
    assert not np.array_equal(resample.draws_of(tmp_path, "mask AP").values, first)


def squares(dataset, results):
    """The same boxes as masks, so that both kinds are scored."""
    for one in (*dataset["annotations"], *results):
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return dataset, results


def test_what_an_evaluation_leaves_gives_its_metrics_again(tmp_path):
    """mrcnn's metrics and mrcnn's matches of the same run agree to the bit, through the file."""
    for seed in range(3):
        dataset, results = squares(*scored.scene(np.random.default_rng(seed)))
        for one in results:
            one["segmentation"] = mask_of(one["segmentation"])
        metrics, arrays = scoring.scored(scored.coco(dataset), results)
        np.savez_compressed(tmp_path / "matches.npz", **arrays)
        matches = load_matches(tmp_path)
        assert list(matches.kinds) == ["mask", "box", "boundary"]
        names = [name for name in metrics if measure(name) is not None]
        assert len(names) == 13
        assert 0 < metrics["mask boundary AP"] < metrics["mask AP"]
        ones = np.ones(len(matches.image_ids))
        for name in names:
            of = measure(name)
            found = ap(matches, of.kind, ones, area=of.area, iou=of.iou)
            np.testing.assert_array_equal(found, [metrics[name]], err_msg=name)


def mask_of(polygon):
    (rle,) = coco_mask.frPyObjects(polygon, 400, 400)
    return rle
