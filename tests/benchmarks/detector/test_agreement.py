"""Detections matched one to one: what differs is measured, what has no partner is counted."""

import pytest
import torch

from benchmarks.detector.agreement import agreement, assert_same_detections, assert_same_losses
from mrcnn.structures import Detections


def some(count=60, shift=0.0):
    g = torch.Generator().manual_seed(1)
    corner = torch.rand(count, 2, generator=g) * 80
    boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=g) * 10], 1) + shift
    masks = torch.zeros(count, 100, 100, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    labels = torch.arange(count) % 5 + 1
    return Detections(boxes, labels, torch.linspace(1, 0.1, count), masks=masks)


def changed(found, **fields):
    return Detections(**{**vars(found), **fields})


def test_order_does_not_matter():
    one = some()
    found = assert_same_detections([one], [one[torch.arange(59, -1, -1)]])
    assert found.alone == (0, 0)
    assert max(found.box_px) == max(found.score) == 0
    assert min(found.mask_iou) == 1
    assert "60 detections matched" in str(found)


def test_what_has_moved_is_measured():
    one = some()
    found = agreement([one], [changed(one, boxes=one.boxes + 0.25, scores=one.scores * 0.5)])
    assert max(found.box_px) == pytest.approx(0.25, abs=1e-5)
    assert max(found.score) == pytest.approx(0.5)


def without(masks, share, *which):
    """Masks, of which these lack a share of their pixels."""
    found = masks.clone().flatten(1)
    for i in which:
        pixels = found[i].nonzero().flatten()
        found[i, pixels[: round(share * len(pixels))]] = False
    return found.view_as(masks)


WRONG = {
    "one of another class": lambda one: changed(one, labels=one.labels.roll(1)),
    "boxes a pixel away": lambda one: changed(one, boxes=one.boxes + 1.0),
    "other scores": lambda one: changed(one, scores=one.scores * 0.99),
    "masks a pixel away": lambda one: changed(one, masks=one.masks.roll(1, 2)),
    "one mask gone": lambda one: changed(one, masks=without(one.masks, 1.0, 7)),
    "a twentieth of two masks": lambda one: changed(one, masks=without(one.masks, 0.05, 1, 2)),
    "five fewer": lambda one: one[torch.arange(55)],
    "none": lambda one: one[torch.arange(0)],
}


@pytest.mark.parametrize("name", WRONG)
def test_other_detections_are_not_the_same(name):
    with pytest.raises(AssertionError, match="other detections"):
        assert_same_detections([WRONG[name](some())], [some()])


def test_a_few_pixels_of_one_mask_may_differ():
    one = some()
    found = assert_same_detections([changed(one, masks=without(one.masks, 0.05, 7))], [one])
    assert 0.9 <= min(found.mask_iou) < 0.98


def test_two_empty_masks_are_the_same():
    one = changed(some(), masks=torch.zeros(60, 100, 100, dtype=torch.bool))
    assert min(assert_same_detections([one], [one]).mask_iou) == 1


def test_two_boxes_do_not_share_a_partner():
    one = some(1)
    twice = one[torch.tensor([0, 0])]
    assert agreement([twice], [one]).alone == (1, 0)


def test_losses_and_gradients_are_compared():
    losses = {"box": 2.0, "mask": 0.0}
    gradients = {"w": torch.tensor([3.0, 4.0])}
    said = assert_same_losses(losses, dict(losses), (gradients, gradients))
    assert "within 0.0e+00" in said
    turned = {"w": torch.tensor([3.0, -4.0])}
    for mine, other in [
        (({**losses, "box": 2.1}), gradients),
        (losses, turned),
        ({"box": 2.0}, gradients),
        ({**losses, "mask": float("nan")}, gradients),
    ]:
        with pytest.raises(AssertionError):
            assert_same_losses(mine, losses, (other, gradients))
