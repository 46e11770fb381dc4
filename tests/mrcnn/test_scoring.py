"""Average precision: ground truth as predictions is 100, and mistakes cost what they should."""

import math

import pytest
import torch

from mrcnn.data.annotations import as_ground_truth, encode_mask
from mrcnn.data.coco import CocoFolder
from mrcnn.data.shapes import Shapes
from mrcnn.scoring import MOST_POSES, score
from tests.mrcnn.scenes import found, truth_of

SHAPES = Shapes(size=64, train=4, val=6)


@pytest.fixture(scope="module")
def truth(cache):
    return SHAPES.open("val", cache).ground_truth()


def perfect(truth):
    """The ground truth as results; the score is what a detector never has."""
    return [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": list(a["bbox"]),
            "segmentation": encode_mask(torch.from_numpy(truth.annToMask(a)).bool()),
            "score": 1.0,
            **({"keypoints": list(a["keypoints"])} if "keypoints" in a else {}),
        }
        for a in truth.dataset["annotations"]
        if not a["iscrowd"]
    ]


def test_ground_truth_scores_one_hundred(truth):
    metrics = score(truth, perfect(truth))
    for name in ("mask AP", "mask AP50", "mask AP75", "box AP", "box AR"):
        assert metrics[name] == pytest.approx(100)


def test_nothing_scores_nothing(truth):
    metrics = score(truth, [])
    assert metrics["mask AP"] == metrics["box AP"] == 0


@pytest.mark.parametrize("mistake", ["class", "shift", "half of them", "twice"])
def test_mistakes_cost(truth, mistake):
    results = perfect(truth)
    if mistake == "class":
        results = [{**r, "category_id": r["category_id"] % 8 + 1} for r in results]
    if mistake == "shift":
        results = [{**r, "bbox": [r["bbox"][0] + 4, *r["bbox"][1:]]} for r in results]
    if mistake == "half of them":
        results = results[::2]
    if mistake == "twice":
        results += [{**r, "image_id": r["image_id"] % 6 + 1, "score": 2.0} for r in results]
    metrics = score(truth, results)
    assert metrics["box AP"] < 95
    assert (metrics["mask AP"] == pytest.approx(100)) == (mistake == "shift")


def test_sizes_without_objects_have_no_score(truth):
    assert math.isnan(score(truth, perfect(truth))["mask AP large"])


@pytest.mark.parametrize(("data", "most"), [("coco_mini", 100), ("nuclei", 400)])
def test_ground_truth_of_real_data_scores_one_hundred(fixtures, data, most):
    truth = CocoFolder(root=str(fixtures / "data" / data)).open("val", fixtures).ground_truth()
    metrics = score(truth, perfect(truth), max_detections=most)
    assert metrics["mask AP"] == pytest.approx(100)
    assert metrics["box AP"] == pytest.approx(100)


def test_more_objects_than_are_counted_cost_recall(fixtures):
    """nuclei has images with up to 369 objects: 100 detections cannot find them all."""
    root = str(fixtures / "data" / "nuclei")
    truth = CocoFolder(root=root).open("val", fixtures).ground_truth()
    assert score(truth, perfect(truth), max_detections=100)["mask AR"] < 95


def test_ground_truth_scores_one_hundred_in_keypoints(truth):
    metrics = score(truth, perfect(truth))
    for name in ("keypoint AP", "keypoint AP50", "keypoint AP75", "keypoint AR"):
        assert metrics[name] == pytest.approx(100)
    assert "keypoint AP medium" in metrics
    assert "keypoint AP large" in metrics
    assert "keypoint AP small" not in metrics


def a_person(count, area=1600.0, categories=1):
    """Ground truth of one object with `count` keypoints in a row, of the first category."""
    points = [v for i in range(count) for v in (20.0 + i, 30.0, 2)]
    note = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "area": area, "iscrowd": 0}
    note |= {"keypoints": points, "num_keypoints": count, "segmentation": []}
    images = [{"id": 1, "height": 99, "width": 99}]
    names = [f"point {i}" for i in range(count)]
    truth = as_ground_truth(images, [note], ["a", "b"][:categories], [1, 2][:categories], names)
    return truth, points


def off(points, x, y=0.0):
    moved = [v + (x, y, 0)[i % 3] for i, v in enumerate(points)]
    return {"image_id": 1, "category_id": 1, "keypoints": moved, "score": 0.9, "bbox": [1, 1, 2, 2]}


def test_keypoint_similarity_by_hand():
    """exp(-d^2 / (2 (2 sigma)^2 area)): 3 px off in 1600 px^2 at sigma 0.05 is 0.755, so that 6 of
    the 10 thresholds from 0.5 to 0.95 are reached; with COCO's sigmas for 17 points it is another.
    """
    truth, points = a_person(3)
    metrics = score(truth, [off(points, 3)], kinds=("keypoint",))
    assert math.exp(-9 / (2 * 0.1**2 * 1600)) == pytest.approx(0.755, abs=1e-3)
    assert metrics["keypoint AP"] == pytest.approx(60)
    assert metrics["keypoint AP50"] == metrics["keypoint AP75"] == pytest.approx(100)
    assert metrics["keypoint AP medium"] == pytest.approx(60)
    assert math.isnan(metrics["keypoint AP large"])
    people, points = a_person(17)
    assert score(people, [off(points, 3)], kinds=("keypoint",))["keypoint AP"] not in (0, 60, 100)


def test_half_a_pixel_costs_and_a_wrong_name_costs_more():
    truth, points = a_person(3, area=64.0)
    swapped = [*points[3:6], *points[:3], *points[6:]]
    found = [off(points, 0), off(points, 0.5, 0.5), off(swapped, 0)]
    ap = [score(truth, [f], kinds=("keypoint",))["keypoint AP"] for f in found]
    assert ap[0] == pytest.approx(100)
    assert ap[0] > ap[1] > ap[2]


def test_hidden_keypoints_are_scored_and_unannotated_are_not():
    """5 px off in one of two: (1 + exp(-25 / 32)) / 2 = 0.73 reaches 5 of 10 thresholds."""
    truth, points = a_person(3)
    truth.dataset["annotations"][0]["keypoints"][5::3] = [1, 0]
    for moved, ap in ((1, 50), (2, 100)):
        found = list(points)
        found[3 * moved] += 5
        metrics = score(truth, [off(found, 0)], kinds=("keypoint",))
        assert metrics["keypoint AP"] == pytest.approx(ap)


def test_twenty_poses_of_an_image_count():
    truth, points = a_person(3)
    for better, ap in ((MOST_POSES - 1, 5), (MOST_POSES, 0)):
        wrong = [{**off(points, 60), "score": 0.95} for _ in range(better)]
        metrics = score(truth, [*wrong, off(points, 0)], kinds=("keypoint",))
        assert metrics["keypoint AP"] == pytest.approx(ap)


def test_categories_without_keypoints_are_not_scored():
    truth, points = a_person(3, categories=2)
    del truth.dataset["categories"][1]["keypoints"]
    other = {**off(points, 0), "category_id": 2}
    metrics = score(truth, [off(points, 0), other], kinds=("keypoint",))
    assert metrics["keypoint AP"] == pytest.approx(100)
    del truth.dataset["categories"][0]["keypoints"]
    assert score(truth, [off(points, 0)], kinds=("keypoint",)) == {}


def test_pose_score_box_or_keypoints():
    """The pose that is right has the lower class score and the surer keypoints."""
    truth, points = a_person(3)
    found = [{**off(points, 0), "score": 0.5}, {**off(points, 60), "score": 0.8}]
    for result, sure in zip(found, (0.9, 0.1), strict=True):
        result["keypoints"][2::3] = [sure] * 3
    for pose_score, ap in (("box", 50), ("keypoints", 100)):
        metrics = score(truth, found, kinds=("keypoint",), pose_score=pose_score)
        assert metrics["keypoint AP"] == pytest.approx(ap)


def test_fewer_than_ten_detections_can_count():
    """Of two objects of a class one detection an image finds at most one."""
    boxes = [(2, 2, 20, 20), (24, 24, 40, 44)]
    truth = truth_of([(1, 1, box, False) for box in boxes])
    results = [found(1, 1, box, 0.9 - 0.1 * i) for i, box in enumerate(boxes)]
    for most, recall in ((1, 50), (2, 100)):
        assert score(truth, results, max_detections=most)["mask AR"] == pytest.approx(recall)
