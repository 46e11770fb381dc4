"""Average precision: ground truth as predictions is 100, and mistakes cost what they should."""

import math

import pytest
import torch

from mrcnn.data.annotations import encode_mask
from mrcnn.data.coco import CocoFolder
from mrcnn.data.shapes import Shapes
from mrcnn.evaluate import detect, evaluate, score
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale

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


def test_a_network_is_scored_in_the_pixels_of_the_image(cache):
    """Detections of a resized image come back in the pixels of the original."""
    trial = at_scale(R50_FPN, "smoke")
    model = MaskRCNN(trial.model)
    image = torch.randint(0, 256, (3, 50, 90)).to(torch.uint8)
    from dataclasses import replace

    from mrcnn.data.transforms import Resize

    twice = replace(trial.evaluate, transforms=(Resize(short=(100,), long=400),))
    found = detect(model, [image], replace(trial, evaluate=twice))[0]
    assert found.masks.shape[1:] == (50, 90)
    assert float(found.boxes[:, 2].max()) <= 90 + 1e-3
    assert float(found.boxes[:, 2].max()) > 45


def test_evaluation_leaves_the_model_as_it_was(cache):
    trial = at_scale(R50_FPN, "smoke")
    model = MaskRCNN(trial.model).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seen = []
    outcome = evaluate(model, SHAPES.open("val", cache), trial, lambda *a: seen.append(a))
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert seen[-1][:3] == ("evaluate", 6, 6)
    assert len(outcome.gallery["images"]) == 6
    assert {p["image_id"] for p in outcome.predictions} <= set(range(1, 7))


def test_masks_survive_their_encoding():
    from pycocotools import mask as coco_mask

    mask = torch.rand(7, 9) > 0.5
    assert (coco_mask.decode(encode_mask(mask)) == mask.numpy()).all()
