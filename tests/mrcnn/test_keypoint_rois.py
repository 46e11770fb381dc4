"""Which RoIs train the keypoint branch: the peers' three ways."""

from dataclasses import replace

import pytest
import torch

from mrcnn.keypoint_head import KeypointHead, KeypointLoss
from mrcnn.keypoint_rois import drawn, holding, keypoints_of, own_draw, posed_positives
from mrcnn.matching import Match
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN_KEYPOINTS, at_scale
from mrcnn.seeds import generator
from mrcnn.structures import Targets

SMALL = at_scale(R50_FPN_KEYPOINTS, "smoke").model
HEAD = KeypointHead(convs=1, width=8)


def config(rois):
    loss = KeypointLoss(rois=rois)
    return replace(SMALL, keypoint_head=HEAD, keypoint_loss=loss)


def target():
    """Two objects; the second has no annotated keypoint."""
    boxes = torch.tensor([[8.0, 5, 40, 30], [30, 35, 60, 60]])
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 5:30, 8:40], masks[1, 35:60, 30:60] = True, True
    points = torch.zeros(2, 3, 3)
    points[0] = torch.tensor([[20.0, 10, 2], [39, 29, 1], [0, 0, 0]])
    return Targets(boxes, torch.tensor([3, 8]), masks, points)


def test_holding_counts_edges_and_annotated_keypoints_only():
    points = torch.tensor([[[10.0, 10, 2]], [[10, 10, 1]], [[10, 10, 0]], [[10.1, 10, 2]]])
    box = torch.tensor([[0.0, 0, 10, 10]]).repeat(4, 1)
    assert holding(points, box).tolist() == [True, True, False, False]


def test_positives_all_or_those_with_keypoints():
    """torchvision computes a map of every positive, detectron2 only where there is a keypoint."""
    one = target()
    rois = torch.cat([one.boxes, torch.tensor([[21.0, 11, 38, 28]])])
    index, labels = torch.tensor([0, 1, 0]), torch.tensor([3, 8, 3])
    some = [
        posed_positives(config(rois_), [rois], [index], [labels], [one])
        for rois_ in ("positives", "with keypoints")
    ]
    assert some[0][1][0].tolist() == [0, 1, 0]
    assert some[1][1][0].tolist() == [0]  # the last holds no keypoint of its object


def test_both_give_the_same_loss():
    losses = []
    for rois in ("positives", "with keypoints"):
        model = MaskRCNN(config(rois), seed=1)
        image = torch.randint(0, 256, (3, 64, 64), generator=generator(5)).to(torch.uint8)
        found = model.losses(model.images([image]), [target()], [generator(0)])
        losses.append(found["keypoint"])
    assert losses[0].item() > 0
    torch.testing.assert_close(losses[0], losses[1])


def test_own_draw_takes_from_all_proposals_that_match_and_hold_a_keypoint():
    one = target()
    match = Match(index=torch.tensor([0, 0, 1, 0]), state=torch.tensor([1, 0, 1, 1]))
    boxes = torch.tensor([[8.0, 5, 40, 30], [8, 5, 40, 30], [30, 35, 60, 60], [9, 5, 41, 30]])
    points = keypoints_of(one.keypoints, match.index, 3)
    assert own_draw(match, boxes, points, 9, generator(0)).tolist() == [0, 3]
    draws = {int(own_draw(match, boxes, points, 1, generator(i))[0]) for i in range(20)}
    assert draws == {0, 3}


def test_own_draw_goes_beyond_the_sampled_positives():
    """16 RoIs an image hold 6 positives; of 40 matching proposals it takes 6 others."""
    one = target()
    proposals = one.boxes[:1] + torch.rand(40, 4, generator=generator(2))
    rois, index = drawn(config("own draw"), [proposals], [one], [generator(0)])
    assert len(rois[0]) == int(SMALL.rois_per_image * SMALL.positive_fraction) == 6
    assert index[0].tolist() == [0] * 6
    other = drawn(config("own draw"), [proposals], [one], [generator(1)])[0]
    assert not torch.equal(rois[0], other[0])


@pytest.mark.parametrize("add", [True, False])
def test_own_draw_sees_the_ground_truth_where_proposals_do(add):
    one = target()
    settings = replace(config("own draw"), add_ground_truth=add)
    rois, _ = drawn(settings, [torch.zeros(0, 4)], [one], [generator(0)])
    assert len(rois[0]) == int(add)


def test_a_network_trains_on_its_own_draw():
    model = MaskRCNN(config("own draw"))
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    loss = model.losses(model.images([image]), [target()], [generator(0)])["keypoint"]
    loss.backward()
    assert loss.item() > 0


@pytest.mark.parametrize("keypoints", [None, torch.zeros(0, 3, 3)])
def test_without_annotations_nothing_is_seen(keypoints):
    assert not keypoints_of(keypoints, torch.tensor([0, 0]), 3).any()
