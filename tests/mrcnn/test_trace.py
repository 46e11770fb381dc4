"""A trace tells what prediction did: the same functions, the same numbers, the image's pixels."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from mrcnn import trace_anchors
from mrcnn.backbone import FPN
from mrcnn.data.transforms import Resize
from mrcnn.detection import SoftNMS
from mrcnn.evaluate import detect
from mrcnn.mask_head import SoftmaxMaskLoss
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, R50_C5, R50_FPN, R50_FPN_KEYPOINTS, at_scale
from mrcnn.roi_ops import JitteredRoIAlign, RoIPool
from mrcnn.seeds import generator
from mrcnn.spec import vary
from mrcnn.structures import Detections, Targets
from mrcnn.trace import agree, over, trace
from mrcnn.views import TestTimeAugmentation

BASES = {"C4": R50_C4, "C5": R50_C5, "FPN": R50_FPN, "keypoints": R50_FPN_KEYPOINTS}
CHANGES = {
    "C4": {},
    "C5": {"model.roi_op": RoIPool()},
    "FPN": {},
    "keypoints": {"model.roi_op": JitteredRoIAlign()},
    "FPN softmax": {"model.mask_loss": SoftmaxMaskLoss()},
    "FPN soft": {
        "model.detection.suppression": SoftNMS(min_score=0.05),
        "model.rpn.post_nms_test": 6,  # which leaves 48 candidates
    },
    "FPN separate": {"model.rpn_features": "separate", "model.class_agnostic_masks": True},
    "FPN together": {"model.rpn.levels": "together", "model.detection.candidates": "best"},
    "FPN inclusive": {"model.box_convention": "inclusive", "model.rpn.straddle": 0.0},
    "FPN boxes": {"model.mask_head": None},
}


def small(base="FPN", **changes):
    """A trial whose network sees the image 1.6 times as large."""
    trial = at_scale(BASES[base], "smoke")
    trial = vary(trial, "evaluate.transforms", (Resize(short=(80,), long=160),))
    for path, value in changes.items():
        trial = vary(trial, path, value)
    return trial


def picture(height=50, width=70):
    return torch.randint(0, 256, (3, height, width), generator=generator(3)).to(torch.uint8)


def objects():
    masks = torch.zeros(2, 50, 70, dtype=torch.bool)
    masks[0, 10:40, 8:40], masks[1, 25:45, 40:60] = True, True
    return Targets(torch.tensor([[8.0, 10, 40, 40], [40, 25, 60, 45]]), torch.tensor([3, 1]), masks)


def traced(base="FPN", changes=None, **options):
    trial = small(base, **(changes or {}))
    model = MaskRCNN(trial.model)
    return trace(model, trial, picture(), objects(), **options), model, trial


@cache
def of(name):
    return traced(name.split()[0], CHANGES[name])


@pytest.fixture(scope="module")
def fpn():
    return of("FPN")


@pytest.mark.parametrize("name", CHANGES)
def test_a_trace_ends_in_what_is_detected(name):
    made, model, trial = of(name)
    expected = detect(model, [picture()], trial)[0]
    for field in ("boxes", "labels", "scores", "mask_probabilities", "masks", "keypoints"):
        a, b = getattr(made.found, field), getattr(expected, field)
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)
    assert len(expected) == len(made.about["detections"]) > 0
    boxes = made.arrays["candidate_boxes"][made.arrays["candidate_fate"] == 1]
    assert same_boxes(boxes, expected.boxes.numpy())
    json.dumps(made.about)


def same_boxes(a, b):
    """Whether two tables hold the same boxes, in any order."""
    return np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_dropped_and_what_is_left_add_up(name):
    about = of(name)[0].about
    dropped = sum(count for _, _, count in about["detection_drops"])
    assert all(count >= 0 for _, _, count in about["detection_drops"])
    assert about["pairs"] - dropped == len(about["detections"])
    for group in about["proposals"]:
        counts = [group[k] for k in ("anchors", "ranked", "before", "after", "kept")]
        assert counts == sorted(counts, reverse=True)
    assert sum(group["kept"] for group in about["proposals"]) == len(
        of(name)[0].arrays["proposals"]
    )
    for level in about["anchors"]:
        states = (level[k] for k in ("positive", "ignored", "negative", "outside"))
        assert sum(states) == level["anchors"]


def test_equal_boxes_of_two_levels_are_counted_once():
    """Two levels that both propose the whole image; one of them is beyond the limit."""
    whole, other = b"whole", b"other"
    fates = trace_anchors._fates([whole, other, whole], Counter([whole, other]), Counter([whole]))
    assert fates == [1, 2, 0]


def in_the_image(made):
    """All that stems from the network's pixels lies in those of the image, 50 x 70 of 80 x 112."""
    width, height = 70.0, 50.0
    for name in ("proposals", "before_boxes", "candidate_boxes"):
        boxes = made.arrays[name]
        assert boxes.min() >= 0
        assert boxes[:, [0, 2]].max() <= width + 1e-3
        assert boxes[:, [1, 3]].max() <= height + 1e-3
    extent = made.about["anchors"][0]["extent"]
    assert extent[:2] == [0, 0]
    assert extent[2:] == pytest.approx([32 * 4 / 1.6, 24 * 4 / 1.6])
    assert made.about["network"]["frame"] == [0, 0, 112, 80]


def test_boxes_are_in_pixels_of_the_image(fpn, monkeypatch):
    in_the_image(fpn[0])
    assert fpn[0].arrays["proposals"][:, 2].max() > 60
    monkeypatch.setattr(trace_anchors, "_left", lambda stages, boxes: boxes.numpy())
    with pytest.raises(AssertionError):
        in_the_image(traced()[0])


def test_the_anchors_of_a_cell_are_those_of_the_table(fpn):
    """Stride 8, size 36, in pixels 1.6 times as large; areas are those of the size."""
    boxes = fpn[0].arrays["anchors_cell_1"] * 1.6
    centre = np.array([56.0, 48.0])  # cell (6, 7) of 12 x 14, whose corner anchors lie on
    wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] + boxes[:, 2:]) / 2 == pytest.approx(np.tile(centre + [8, 0], (3, 1)))
    assert wide * tall == pytest.approx([36.0**2] * 3, rel=1e-4)
    assert tall / wide == pytest.approx([0.5, 1, 2], rel=1e-4)


def test_every_object_has_a_positive_anchor_that_overlaps_it(fpn):
    made = fpn[0]
    assert [t["positive"] >= 1 for t in made.about["truth"]] == [True, True]
    assert sum(t["positive"] for t in made.about["truth"]) == len(made.arrays["positive_anchors"])
    first = made.arrays["positive_anchors"][0]
    box = made.about["truth"][made.arrays["positive_object"][0]]["box"]
    assert overlap(first, box) == pytest.approx(made.arrays["positive_overlap"][0], abs=1e-4)


def overlap(a, b):
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(across, 0) * max(down, 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return common / (sum(areas) - common)


def test_the_level_is_that_of_the_size(fpn):
    """Canonical side 56 at stride 16: below 28 stride 4, below 56 stride 8."""
    side, level = fpn[0].arrays["roi_side"], fpn[0].arrays["roi_level"]
    assert isinstance(fpn[2].model.backbone, FPN)
    assert level.tolist() == np.digitize(side, [28, 56]).tolist()
    boxes = fpn[0].arrays["proposals"]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert side / 1.6 == pytest.approx(np.sqrt(area), rel=1e-4)


def test_the_followed_roi_leads_to_its_detection(fpn):
    made, focus = fpn[0], fpn[0].about["focus"]
    found = made.about["detections"][0]
    x1, y1, x2, y2 = focus["decoded"]
    clipped = [max(x1, 0), max(y1, 0), min(x2, 70), min(y2, 50)]
    assert clipped == pytest.approx(found["box"], abs=1e-3)
    assert (focus["label"], focus["score"]) == (found["label"], found["score"])
    assert focus["proposal"] == pytest.approx(made.arrays["proposals"][focus["roi"]].tolist())
    assert made.arrays["focus_scores"].sum() == pytest.approx(1, abs=1e-5)
    assert focus["anchor"]["stride"] in (4, 8, 16)
    likely = 1 / (1 + np.exp(-made.arrays["mask_logits"]))
    assert made.arrays["mask_probabilities"] == pytest.approx(likely, abs=1e-6)
    assert np.array_equal(coco_mask.decode(found["rle"]).astype(bool), made.found.masks[0].numpy())


def test_another_detection_can_be_followed(fpn):
    made = trace(fpn[1], fpn[2], picture(), detection=3)
    assert made.about["focus"]["score"] == made.about["detections"][3]["score"]
    assert made.about["truth"] is None
    with pytest.raises(ValueError, match=r"detection must be below \d+, got 999"):
        trace(fpn[1], fpn[2], picture(), detection=999)


def test_an_object_is_followed_by_what_overlaps_it_most():
    found = Detections(
        torch.tensor([[0.0, 0, 9, 9], [41, 25, 60, 45], [8, 10, 30, 40]]),
        torch.tensor([1, 1, 1]),
        torch.tensor([0.9, 0.8, 0.7]),
    )
    assert [over(found, objects(), i) for i in range(2)] == [2, 1]
    assert over(found[torch.zeros(0, dtype=torch.long)], objects(), 1) == 0
    with pytest.raises(ValueError, match="--object must be below 2"):
        over(found, objects(), 2)


def test_points_lie_evenly_in_the_box_that_is_read(fpn):
    """RoIAlign's 7 x 7 x 4 points average to the box's middle; bins tile it."""
    made, layer = fpn[0], fpn[0].about["focus"]["box_layer"]
    points, bins = made.arrays["box_points"], made.arrays["box_bins"]
    x1, y1, x2, y2 = layer["frame"]
    assert points.shape == (7 * 7 * 4, 2)
    assert points.mean(0) == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2], abs=1e-3)
    assert [*bins.min(0)[:2], *bins.max(0)[2:]] == pytest.approx([x1, y1, x2, y2], abs=1e-3)
    assert made.arrays["mask_points"].shape == (14 * 14 * 4, 2)


def test_bins_of_roi_pool_end_on_cells():
    made = traced("FPN", {"model.roi_op": RoIPool()})[0]
    cells = made.arrays["box_bins"] * 1.6 / made.about["focus"]["box_layer"]["stride"]
    assert cells == pytest.approx(cells.round(), abs=1e-3)


def test_nothing_detected_is_traced_to_where_it_was_dropped():
    made = traced("FPN", {"model.detection.min_score": 0.9})[0]
    assert len(made.found) == 0
    reason, setting, count = made.about["detection_drops"][0]
    assert (reason, setting) == ("scored at most 0.9", "model.detection.min_score")
    assert count == made.about["pairs"] == 8 * len(made.arrays["proposals"])
    assert made.about["focus"]["detection"] is None
    assert made.about["focus"]["score"] == made.arrays["roi_scores"].max()


def test_stages_that_lead_elsewhere_are_no_trace(fpn):
    from mrcnn.stages import stages_of

    stages = stages_of(fpn[1], fpn[2], picture())
    agree(stages, fpn[0].found)
    moved = Detections(fpn[0].found.boxes + 1, fpn[0].found.labels, fpn[0].found.scores)
    with pytest.raises(RuntimeError, match="other than"):
        agree(stages, moved)


def test_several_views_are_refused(fpn):
    trial = vary(fpn[2], "evaluate.augment", TestTimeAugmentation(short=(64,)))
    with pytest.raises(ValueError, match="evaluate.augment=None"):
        trace(fpn[1], trial, picture())


def test_a_trace_is_bounded_and_says_so(fpn, monkeypatch):
    monkeypatch.setattr(trace_anchors, "MOST_BOXES", 30)
    made = trace(fpn[1], fpn[2], picture(), objects())
    assert len(made.arrays["before_boxes"]) == 30
    assert any("before NMS: the best 30 of" in line for line in made.about["cut"])
    assert fpn[0].about["cut"] == []


def test_the_picture_is_bounded_and_boxes_are_not_scaled_with_it():
    trial = replace(small(), evaluate=replace(small().evaluate, transforms=()))
    made = trace(MaskRCNN(trial.model), trial, picture(32, 1100))
    assert made.image.shape == (30, 1024, 3)
    assert made.about["size"] == [32, 1100]
    assert "the picture is drawn 1024 x 30" in made.about["cut"]
    assert made.arrays["proposals"][:, 2].max() > 1024


def test_a_trace_is_saved_the_same_twice(fpn, tmp_path):
    fpn[0].save(tmp_path / "a")
    fpn[0].save(tmp_path / "b")
    names = ["arrays.npz", "image.png", "trace.json"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
