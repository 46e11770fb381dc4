"""Masks in given boxes: IoUs by hand, and the network asked about the objects' own boxes."""

from dataclasses import replace

import pytest
import torch

from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import Resize
from mrcnn.evaluate import evaluate, look
from mrcnn.given_boxes import ious_given_boxes, mask_ious, quality
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, R50_FPN, R50_FPN_KEYPOINTS, at_scale
from mrcnn.views import TestTimeAugmentation

SHAPES = Shapes(size=64, train=4, val=3)
TWICE = (Resize(short=(96,), long=400),)
MEASURES = {"mask AP, boxes given", "mask IoU, boxes given"}


def test_ious_by_hand():
    a, b = torch.zeros(3, 10, 10, dtype=torch.bool), torch.zeros(3, 10, 10, dtype=torch.bool)
    a[0, :4, :4], b[0, 2:6, :4] = True, True
    a[1], b[1] = True, True
    assert mask_ious(a, b).tolist() == pytest.approx([8 / 24, 1, 0])


def test_measures_by_hand():
    """0.6 reaches 3 of the ten thresholds, 0.95 all, 0.4 none."""
    found = quality([0.6, 0.95, 0.4])
    assert found["mask AP, boxes given"] == pytest.approx(100 * 13 / 30)
    assert found["mask IoU, boxes given"] == pytest.approx(65)


def test_without_objects_they_are_undefined():
    assert all(value != value for value in quality([]).values())


class FillsItsBox(torch.nn.Module):
    """A mask head that sets every pixel of the channel of one class and none of the others."""

    def __init__(self, label, side):
        super().__init__()
        self.label, self.side = label, side

    def mask_logits(self, pyramid, boxes, labels, shared):
        logits = torch.where(labels == self.label, 9.0, -9.0)[:, None, None, None]
        return logits.expand(-1, 1, self.side, self.side)


def test_each_object_is_asked_for_in_its_own_box_and_class(cache, monkeypatch):
    """Of a head that fills boxes of class 1 alone, an object of it has the IoU of its box."""
    trial = at_scale(R50_FPN, "smoke")
    model = MaskRCNN(trial.model)
    monkeypatch.setattr(model, "mask_logits", FillsItsBox(1, trial.model.mask_size).mask_logits)
    dataset = SHAPES.open("val", cache)
    examples = [dataset.example(i) for i in range(3)]
    targets = [example.targets for example in examples]
    for transforms in ((), TWICE):
        seen = look(model, [e.image for e in examples], with_transforms(trial, transforms))
        ious = ious_given_boxes(model, seen.pyramid, seen.views, targets)
        wanted = [
            float(mask.sum() / (box[2:] - box[:2]).prod()) if label == 1 else 0.0
            for target in targets
            for mask, box, label in zip(target.masks, target.boxes, target.labels, strict=True)
        ]
        assert any(wanted)
        assert ious == pytest.approx(wanted, abs=0.02)
    nothing = [target[torch.zeros(len(target), dtype=torch.bool)] for target in targets]
    assert ious_given_boxes(model, seen.pyramid, seen.views, nothing) == []


def with_transforms(trial, transforms):
    return replace(trial, evaluate=replace(trial.evaluate, transforms=transforms))


def test_they_are_those_of_detections_with_the_objects_boxes(cache):
    """In a resized image too, and whatever the batches are."""
    trial = with_transforms(at_scale(R50_C4, "smoke"), TWICE)
    model, dataset = MaskRCNN(trial.model), SHAPES.open("val", cache)
    found = [
        evaluate(
            model, dataset, replace(trial, evaluate=replace(trial.evaluate, batch_size=n)), show
        )
        for n in (1, 3)
    ]
    assert set(found[0].metrics) >= MEASURES
    for name in MEASURES:
        assert found[0].metrics[name] == pytest.approx(found[1].metrics[name], abs=1e-3)


def test_absent_without_masks_and_in_several_views(cache):
    views = TestTimeAugmentation(short=(64,), flip=False)
    poses, masks = at_scale(R50_FPN_KEYPOINTS, "smoke"), at_scale(R50_FPN, "smoke")
    several = replace(masks, evaluate=replace(masks.evaluate, augment=views))
    for trial in (poses, several):
        outcome = evaluate(MaskRCNN(trial.model), SHAPES.open("val", cache), trial, show, limit=1)
        assert not MEASURES & set(outcome.metrics)
        assert set(outcome.cost) == {"ms_per_image", "flops_g"}


def show(*_):
    pass
