"""Fields of ModelConfig about boxes: which RoIs are trained on, and what frames are read in."""

from dataclasses import replace

import pytest
import torch

from mrcnn.box_head import ConvBoxHead
from mrcnn.boxes import BoxCoder
from mrcnn.detection import SoftNMS
from mrcnn.matching import Matching
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.rpn import RPN
from mrcnn.seeds import generator
from mrcnn.spec import vary
from mrcnn.structures import Targets

FPN = at_scale(R50_FPN, "smoke").model
OBJECT = [[8.0, 5, 40, 30]]


def batch(model, count=2):
    g = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 256, (3, 64, 64), generator=g).to(torch.uint8) for _ in range(count)]
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 5:30, 8:40] = True
    target = Targets(torch.tensor(OBJECT), torch.tensor([3]), masks)
    return model.images(pixels), [target] * count


def losses(config, count=2):
    model = MaskRCNN(config)
    images, targets = batch(model, count)
    found = model.losses(images, targets, [generator(i) for i in range(count)])
    torch.stack(list(found.values())).sum().backward()
    return {name: float(value.detach()) for name, value in found.items()}, model


VARIANTS = {
    "box_head": ConvBoxHead(convs=2, width=8, norm="group", widths=(16,)),
    "box_head.beta": 0.0,
    "box_head.box_normaliser": "positives",
    "box_head.coder": BoxCoder(growth_limit="both"),
    "rpn.convs": 2,
    "rpn.width": 24,
    "rpn.objectness": "softmax",
    "rpn.coder": BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), growth_limit="none"),
    "rpn.straddle": 0.0,
    "rpn.ranking": "probabilities",
    "rpn.levels": "together",
    "rpn.images_together": 2,
    "rpn.class_normaliser": "full",
    "rpn.box_normaliser": "positives",
    "rpn.beta": 1.0,
    "rpn.matching.claimed_by": "claimer",
    "rpn.anchors.rounded": "sides",
    "detection.suppression": SoftNMS(),
    "detection.candidates": "best",
    "fill_negatives": False,
    "add_ground_truth": False,
    "box_convention": "inclusive",
}


@pytest.mark.parametrize("path", VARIANTS)
def test_every_choice_trains_and_predicts(path):
    config = vary(vary(FPN, path, VARIANTS[path]), "detection.min_score", 0.0)
    found, model = losses(config)
    assert all(value == value for value in found.values())
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert len(model.eval().predict(batch(model)[0])) == 2


def test_a_network_with_a_convolutional_box_head_is_brought_to_a_small_scale():
    trial = replace(R50_FPN, model=replace(R50_FPN.model, box_head=ConvBoxHead(norm="group")))
    trial = vary(trial, "model.rpn", RPN(width=512))
    small = at_scale(trial, "small").model
    assert (small.box_head.width, small.box_head.widths) == (48, (256,))
    assert (small.rpn.width, small.box_roi_size) == (96, 7)


# Which RoIs are trained on


def sampled(proposals, **changes):
    """(RoIs, index of the object, labels) of one image with the one object above."""
    config = replace(FPN, rois_per_image=8, positive_fraction=0.25, **changes)
    _, targets = batch(MaskRCNN(config), 1)
    rois, index, labels = MaskRCNN(config).sample_rois(
        [torch.tensor(proposals)], targets, [generator(0)]
    )
    return rois[0], index[0].tolist(), labels[0].tolist()


FAR = [[50.0, 50, 60, 60]] * 10
NEAR = [[8.0, 5, 40, 29]]


@pytest.mark.parametrize(("added", "expected"), [(True, OBJECT), (False, [])])
def test_ground_truth_among_the_proposals(added, expected):
    """No proposal is near: with ground truth there is one positive, without none (Matterport)."""
    rois, _, labels = sampled(FAR, add_ground_truth=added)
    assert rois[: len(expected)].tolist() == expected
    assert labels == [3] * len(expected) + [0] * (8 - len(expected))


@pytest.mark.parametrize(("fill", "negatives"), [(True, 7), (False, 3)])
def test_rois_filled_up_with_background_or_not(fill, negatives):
    """One positive of a quarter at most: 7 of background to make 8, or 1 / 0.25 - 1 = 3."""
    *_, labels = sampled(NEAR + FAR, add_ground_truth=False, fill_negatives=fill)
    assert labels == [3] + [0] * negatives


@pytest.mark.parametrize(("keep_best", "labels"), [(False, [0] * 8), (True, [3] + [0] * 7)])
def test_an_object_may_claim_its_best_roi(keep_best, labels):
    """The best RoI has IoU 0.44: background at 0.5, unless the object claims it (mmdetection)."""
    some = [[8.0, 5, 24, 27], *FAR]
    matching = Matching(positive=0.5, negative=0.5, keep_best=keep_best)
    assert sampled(some, add_ground_truth=False, roi_matching=matching)[2] == labels


# In which frame


PIXEL = torch.tensor([0.0, 0, 1, 1])


def in_both_frames():
    """Two networks with equal weights, heads that say nothing, and one pyramid."""
    made = []
    for convention in ("continuous", "inclusive"):
        model = MaskRCNN(replace(FPN, box_convention=convention))
        for layer in (model.box_head.classes, model.box_head.deltas):
            layer.weight.data.zero_()
        made.append(model.eval())
    return *made, made[0].backbone(batch(made[0])[0].pixels)


def test_roi_layers_read_the_corners_of_the_convention():
    """Detectron hands x1 .. x2 with x2 the last pixel to RoIAlign: a window 1 px smaller."""
    continuous, inclusive, pyramid = in_both_frames()
    box = torch.tensor(NEAR)
    boxes, smaller = [box, box], [box - PIXEL] * 2
    read = inclusive.box_features(pyramid, boxes)
    assert torch.equal(read, continuous.box_features(pyramid, smaller))
    assert not torch.allclose(read, continuous.box_features(pyramid, boxes))
    labels = torch.tensor([1, 1])
    masks = inclusive.mask_logits(pyramid, boxes, labels, None)
    assert torch.equal(masks, continuous.mask_logits(pyramid, smaller, labels, None))


def test_mask_targets_are_drawn_in_the_corners_of_the_convention(monkeypatch):
    drawn = []

    def draw(self, target, index, rois, size):
        drawn.append(rois.tolist())
        return honest(self, target, index, rois, size)

    honest = type(FPN.mask_targets).__call__
    monkeypatch.setattr(type(FPN.mask_targets), "__call__", draw)
    continuous, inclusive, pyramid = in_both_frames()
    _, targets = batch(continuous)
    given = [torch.tensor(NEAR)] * 2, [torch.tensor([0])] * 2, [torch.tensor([3])] * 2
    losses = [model.roi_losses(pyramid, *given, targets) for model in (continuous, inclusive)]
    assert drawn == [NEAR] * 2 + [[[8, 5, 39, 28]]] * 2
    assert torch.equal(losses[0]["box"], losses[1]["box"]), "deltas are those of the boxes"


def test_final_boxes_leave_the_inclusive_convention():
    """Heads that move nothing return the proposals, whatever the RoI layer was shown."""
    for model in in_both_frames()[:2]:
        model.config = vary(model.config, "detection.min_score", 0.0)
        _, _, pyramid = in_both_frames()
        found = model.detect(pyramid, [torch.tensor(NEAR)] * 2, ((64, 64),) * 2)
        torch.testing.assert_close(found[0].boxes[:1], torch.tensor(NEAR))
