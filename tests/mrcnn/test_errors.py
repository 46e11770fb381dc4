"""One planted kind of error costs by its own name alone, and mending all leaves none."""

import numpy as np
import pytest

from mrcnn.errors import ERRORS, average_precision, findings, missed_ap
from mrcnn.scoring import finished_run, score
from tests.mrcnn.scenes import found, random_scene, truth_of

A, B, C = (2, 2, 22, 22), (25, 25, 45, 45), (2, 25, 20, 45)
OBJECTS = [(1, 1, A, False), (1, 1, B, False), (1, 2, C, False)]
PERFECT = [found(1, 1, A, 0.9), found(1, 1, B, 0.5), found(1, 2, C, 0.6)]
HALF_OF_B = (25, 25, 45, 33)
"""8 of 20 rows: an IoU of 0.4."""

PLANTED = {
    "classification": [PERFECT[0], found(1, 2, B, 0.9), PERFECT[2]],
    "localisation": [PERFECT[0], found(1, 1, HALF_OF_B, 0.5), PERFECT[2]],
    "both": [*PERFECT, found(1, 2, HALF_OF_B, 0.8)],
    "duplicate": [*PERFECT, found(1, 1, A, 0.8)],
    "background": [*PERFECT, found(1, 1, (25, 2, 45, 22), 0.8)],
    "missed": [PERFECT[0], PERFECT[2]],
}


def run_of(results, objects=OBJECTS, kind="mask"):
    return finished_run(truth_of(objects), results, kind)


def test_what_is_perfect_has_no_errors():
    assert missed_ap(run_of(PERFECT)) == pytest.approx({f"missed AP: {kind}": 0 for kind in ERRORS})


@pytest.mark.parametrize("kind", ["mask", "box"])
@pytest.mark.parametrize("error", ERRORS)
def test_one_planted_error_costs_by_its_own_name(error, kind):
    run = run_of(PLANTED[error], kind=kind)
    costs = missed_ap(run)
    assert costs.pop(f"missed AP: {error}") > 1
    assert costs == pytest.approx(dict.fromkeys(costs, 0))
    assert findings(run).ap({error}) == pytest.approx(100)


def test_costs_by_hand():
    """Of class 1's two objects the second is found third: precision 2/3 from recall 0.51 on."""
    cost = missed_ap(run_of(PLANTED["duplicate"]))["missed AP: duplicate"]
    assert cost == pytest.approx(100 * (50 / 101) * (1 / 3) / 2)
    assert missed_ap(run_of(PLANTED["missed"]))["missed AP: missed"] == pytest.approx(2500 / 101)


def test_mending_all_is_a_hundred_and_mending_none_is_ap50():
    for seed in range(8):
        run = finished_run(*random_scene(seed), "mask")
        found_in = findings(run)
        assert found_in.ap(ERRORS) == pytest.approx(100)
        assert found_in.ap() == pytest.approx(100 * defined(run.eval["precision"][0, ..., 0, -1]))
        assert min(missed_ap(run).values()) >= 0


def defined(values):
    return values[values > -1].mean()


def test_without_a_class_for_an_error_the_laws_fail(monkeypatch):
    """The laws notice when duplicates are taken for background."""
    from mrcnn import errors

    def kind(overlap, same):
        error, target = told(overlap, same)
        return ("background" if error == "duplicate" else error), target

    told = errors._kind
    monkeypatch.setattr(errors, "_kind", kind)
    assert missed_ap(run_of(PLANTED["duplicate"]))["missed AP: duplicate"] == 0


def test_only_the_best_detection_near_an_object_is_mended():
    """Two badly placed, one of them of another class, on an object that none has found."""
    results = [found(1, 1, HALF_OF_B, 0.4), found(1, 2, B, 0.3)]
    kept = findings(run_of(results, [OBJECTS[1]]))
    assert kept.mended.tolist() == [0, -1]
    assert kept.missed.tolist() == [0, 0, 0]


def test_what_is_near_an_object_already_found_is_dropped():
    kept = findings(run_of([*PERFECT, found(1, 1, HALF_OF_B, 0.1)]))
    assert kept.error.tolist() == [-1, -1, -1, 1]
    assert kept.mended[3] == -1


def test_detections_of_crowds_are_no_errors():
    crowd = (1, 1, (25, 2, 45, 22), True)
    run = run_of(PLANTED["background"], [*OBJECTS, crowd])
    assert missed_ap(run) == pytest.approx({f"missed AP: {kind}": 0 for kind in ERRORS})


def test_without_objects_nothing_is_defined_and_without_detections_all_is_missed():
    assert all(np.isnan(v) for v in missed_ap(run_of([found(1, 1, A, 0.5)], [])).values())
    costs = missed_ap(run_of([]))
    assert costs.pop("missed AP: missed") == pytest.approx(100)
    assert set(costs.values()) == {0}


def test_scores_of_masks_have_them_and_scores_of_boxes_do_not():
    metrics = score(truth_of(OBJECTS), PLANTED["missed"])
    assert metrics["missed AP: missed"] == pytest.approx(2500 / 101)
    assert not [name for name in score(truth_of(OBJECTS), [], kinds=("box",)) if "missed" in name]


def test_average_precision_by_hand():
    right, score_of = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    assert average_precision(score_of, right, 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(score_of, right, 4) == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert average_precision(score_of[:0], right[:0], 0) == 1
    assert average_precision(score_of[:1], right[1:2], 0) == 0
