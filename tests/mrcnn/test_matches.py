"""From the arrays that are kept, the AP of pycocotools comes out to the last bit."""

import numpy as np
import pytest

from mrcnn.boundary import boundary_run
from mrcnn.data.shapes import Shapes
from mrcnn.matches import matches_of
from mrcnn.scoring import finished_run, scored
from tests.mrcnn.scenes import found, random_scene, truth_of

RECALLS = np.linspace(0, 1, 101)


def precision(matches, kind, area, threshold, category, weights):
    """Precision at COCO's recalls by one loop over the detections; None without objects."""
    total = float(weights @ matches[f"{kind}_truth"][area, category])
    if not total:
        return None
    rows = np.flatnonzero(matches[f"{kind}_category"] == category)
    hits = misses = 0.0
    curve = []
    for row in rows:
        weight = weights[matches[f"{kind}_image"][row]]
        if not matches[f"{kind}_ignored"][area, threshold, row]:
            matched = matches[f"{kind}_matched"][area, threshold, row]
            hits, misses = (hits + weight, misses) if matched else (hits, misses + weight)
        curve.append((hits / total, hits / (hits + misses + np.spacing(1))))
    best = 0.0
    envelope = [(recall, best := max(best, value)) for recall, value in reversed(curve)][::-1]
    return [next((p for r, p in envelope if r >= recall), 0.0) for recall in RECALLS]


def assert_equal_to_pycocotools(run, matches, kind):
    ones = np.ones(len(matches["image_ids"]))
    theirs = run.eval["precision"][..., -1]
    thresholds, _, categories, areas = theirs.shape
    assert thresholds == len(matches["iou_thresholds"])
    places = [list(matches["areas"]).index(name) for name in run.params.areaRngLbl]
    for t, k, a in np.ndindex(thresholds, categories, areas):
        ours = precision(matches, kind, places[a], t, k, ones)
        assert theirs[t, :, k, a].tolist() == (ours or [-1.0] * 101)


@pytest.mark.parametrize("most", [100, 1])
@pytest.mark.parametrize("kind", ["mask", "box"])
def test_at_equal_weights_it_is_pycocotools(kind, most):
    """With ties, crowds, images without objects, and with one detection an image and class."""
    for seed in range(3):
        run = finished_run(*random_scene(seed), kind, most)
        assert_equal_to_pycocotools(run, matches_of({kind: run}), kind)


def test_boundaries_too_with_all_sizes_as_one():
    truth, results = random_scene(2)
    _, matches = scored(truth, results)
    run = boundary_run(finished_run(truth, results, "mask"))
    assert_equal_to_pycocotools(run, matches, "boundary")
    assert not matches["boundary_truth"][1:].any()
    assert matches["boundary_ignored"][1:].all()
    assert not np.array_equal(matches["boundary_matched"][0], matches["mask_matched"][0])


def test_a_matching_that_is_off_by_one_is_seen():
    run = finished_run(*random_scene(1), "mask")
    matches = matches_of({"mask": run})
    matches["mask_matched"] = np.roll(matches["mask_matched"], 1, -1)
    with pytest.raises(AssertionError):
        assert_equal_to_pycocotools(run, matches, "mask")


def test_keypoints_too_with_no_object_of_a_small_size(cache):
    truth = Shapes(size=64, train=4, val=6).open("val", cache).ground_truth()
    rng = np.random.default_rng(0)
    detections = []
    for note in truth.dataset["annotations"]:
        points = [v + (rng.normal() if i % 3 < 2 else 0) for i, v in enumerate(note["keypoints"])]
        kept = {key: note[key] for key in ("image_id", "category_id", "bbox")}
        detections.append({**kept, "keypoints": points, "score": round(rng.random(), 1)})
    _, matches = scored(truth, detections, kinds=("box", "keypoint"))
    run = finished_run(truth, detections, "keypoint")
    assert_equal_to_pycocotools(run, matches, "keypoint")
    assert list(matches["areas"]) == ["all", "small", "medium", "large"]
    assert not matches["keypoint_truth"][1].any()
    assert matches["keypoint_ignored"][1].all()


def test_an_image_that_is_drawn_twice_counts_twice():
    """A copy of an image in the data set is a weight of two, except among equal scores."""
    boxes = [(2, 2, 20, 20), (10, 24, 40, 44), (5, 5, 12, 30)]
    once = [(i + 1, 1, box, False) for i, box in enumerate(boxes)]
    results = [found(1, 1, boxes[0], 0.9), found(2, 1, (0, 0, 9, 9), 0.8)]
    results += [found(2, 1, boxes[1], 0.7), found(3, 1, (5, 5, 12, 27), 0.6)]
    copied = [{**one, "image_id": 4, "score": one["score"] - 0.01} for one in results[1:3]]
    twice = truth_of([*once, (4, 1, boxes[1], False)], images=4)
    run = finished_run(twice, results + copied, "mask")
    matches = matches_of({"mask": finished_run(truth_of(once, images=3), results, "mask")})
    for t in range(10):
        ours = precision(matches, "mask", 0, t, 0, np.array([1.0, 2, 1]))
        assert np.allclose(ours, run.eval["precision"][t, :, 0, 0, -1], atol=1e-12)


def test_only_the_images_asked_for_are_held():
    truth, detections = random_scene(2)
    run = finished_run(truth, detections, "box", image_ids={2, 4})
    matches = matches_of({"box": run})
    assert matches["image_ids"].tolist() == [2, 4]
    assert set(matches["box_image"]) <= {0, 1}
    assert_equal_to_pycocotools(run, matches, "box")


def test_nothing_found_and_nothing_scored():
    truth, _ = random_scene(3)
    matches = matches_of({"mask": finished_run(truth, [], "mask")})
    assert matches["mask_matched"].shape == (4, 10, 0)
    assert matches["mask_truth"][0].sum() == sum(
        not note["iscrowd"] for note in truth.dataset["annotations"]
    )
    assert matches_of({}) == {}


def test_what_each_array_is():
    run = finished_run(*random_scene(4), "mask")
    matches = matches_of({"mask": run})
    n = len(matches["mask_score"])
    assert n == len(run.cocoDt.anns)
    kinds = {name: (array.dtype.name, array.shape) for name, array in matches.items()}
    assert kinds == {
        "iou_thresholds": ("float64", (10,)),
        "areas": (matches["areas"].dtype.name, (4,)),
        "image_ids": ("int64", (6,)),
        "category_ids": ("int64", (3,)),
        "mask_category": ("int16", (n,)),
        "mask_image": ("int32", (n,)),
        "mask_score": ("float32", (n,)),
        "mask_matched": ("bool", (4, 10, n)),
        "mask_ignored": ("bool", (4, 10, n)),
        "mask_truth": ("int16", (4, 3, 6)),
    }
    for k in range(3):
        scores = matches["mask_score"][matches["mask_category"] == k]
        assert (np.diff(scores) <= 0).all()
