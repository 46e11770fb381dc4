"""The keypoint branch: torchvision's own functions, cases by hand, and what a planted bug does."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.roi_heads import (
    heatmaps_to_keypoints,
    keypointrcnn_loss,
    keypoints_to_heatmap,
)

from mrcnn.config import ModelConfig
from mrcnn.data.shapes import Shapes
from mrcnn.evaluate import evaluate
from mrcnn.keypoint_head import Enlarge, KeypointDecode, KeypointHead, KeypointLoss, cells
from mrcnn.mask_head import FCNMaskHead
from mrcnn.model import MaskRCNN
from mrcnn.presets import PRESETS, R50_C4, R50_FPN_KEYPOINTS, R50_FPN_MASK_KEYPOINTS, at_scale
from mrcnn.seeds import generator
from mrcnn.structures import Targets


def drawn(seed, n=12, k=5, m=14):
    """Heat maps, boxes, and keypoints in and around them: some on their edges, some unseen."""
    g = torch.Generator().manual_seed(seed)
    corner, side = torch.rand(n, 2, generator=g) * 100, torch.rand(n, 2, generator=g) * 60 + 0.2
    boxes = torch.cat([corner, corner + side], 1)
    place = corner[:, None] + side[:, None] * (torch.rand(n, k, 2, generator=g) * 1.3 - 0.15)
    place[0, 0], place[1, 1], place[2, 2] = boxes[0, 2:], boxes[1, :2], boxes[2, [2, 1]]
    seen = torch.randint(0, 3, (n, k, 1), generator=g).float()
    return torch.randn(n, k, m, m, generator=g), boxes, torch.cat([place, seen], 2)


@given(st.integers(0, 2**16))
def test_cells_are_torchvisions(seed):
    _, boxes, keypoints = drawn(seed)
    cell, counts = cells(keypoints, boxes, 56)
    theirs, valid = keypoints_to_heatmap(keypoints, boxes, 56)
    assert torch.equal(cell, theirs)
    assert torch.equal(counts, valid.bool())


@given(st.integers(0, 2**16))
def test_the_loss_is_torchvisions(seed):
    logits, boxes, keypoints = drawn(seed)
    theirs = keypointrcnn_loss(logits, [boxes], [keypoints], [torch.arange(len(boxes))])
    torch.testing.assert_close(KeypointLoss()(logits, keypoints, boxes, 1.0), theirs)


@given(st.integers(0, 2**16))
def test_decoded_points_and_logits_are_torchvisions(seed):
    logits, boxes, _ = drawn(seed)
    place, score = heatmaps_to_keypoints(logits, boxes)
    ours = KeypointDecode(score="logit")(logits, boxes)
    assert torch.equal(ours[..., :2], place[..., :2])
    assert torch.equal(ours[..., 2], score)


def test_cells_by_hand():
    """A box of 8 x 4 pixels with 4 x 4 cells: cells are 2 x 1 pixels; the right edge is inside."""
    box = torch.tensor([[10.0, 20, 18, 24]])
    points = [(10, 20), (11.9, 20.9), (12, 21), (18, 24), (18, 20), (18.1, 22), (9.9, 22)]
    keypoints = torch.tensor([[(x, y, 2.0) for x, y in points]])
    cell, counts = cells(keypoints, box, 4)
    assert cell.tolist() == [[0, 0, 5, 15, 3, 0, 0]]
    assert counts.tolist() == [[True, True, True, True, True, False, False]]


def test_hidden_keypoints_count_and_unannotated_do_not():
    box = torch.tensor([[0.0, 0, 4, 4]])
    keypoints = torch.tensor([[(1.0, 1, 0), (1, 1, 1), (1, 1, 2)]])
    assert cells(keypoints, box, 4)[1].tolist() == [[False, True, True]]


def test_a_box_without_area_has_no_cell_inside():
    nothing = torch.tensor([[5.0, 5, 5, 5]])
    _, counts = cells(torch.tensor([[(4.0, 5, 2), (6, 6, 2)]]), nothing, 4)
    assert not counts.any()


def test_the_loss_by_hand():
    """Uniform logits over m x m cells cost log m^2, however many keypoints there are."""
    box = torch.tensor([[0.0, 0, 4, 4]])
    keypoints = torch.tensor([[(1.0, 1, 2), (2, 3, 1), (9, 9, 2)]])
    loss = KeypointLoss()(torch.zeros(1, 3, 7, 7), keypoints, box, 1.0)
    assert float(loss) == pytest.approx(2 * torch.tensor(7.0).log().item())


@pytest.mark.parametrize("n", [0, 2])
def test_no_visible_keypoint_is_zero_with_a_gradient(n):
    logits = torch.randn(n, 3, 7, 7, requires_grad=True)
    loss = KeypointLoss()(logits, torch.zeros(n, 3, 3), torch.ones(n, 4), 9.0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_normaliser_visible_or_possible():
    """ "visible": the mean; "possible": the sum over a fixed number, so that few weigh little."""
    logits, boxes, keypoints = drawn(3)
    few = keypoints.clone()
    few[1:, :, 2] = 0
    counted = [int(cells(k, boxes, 14)[1].sum()) for k in (keypoints, few)]
    for points, count in zip((keypoints, few), counted, strict=True):
        mean = KeypointLoss(normaliser="visible")(logits, points, boxes, 100.0)
        fixed = KeypointLoss(normaliser="possible", weight=4.0)(logits, points, boxes, 100.0)
        torch.testing.assert_close(fixed, 4 * mean * count / 100)
    assert counted[0] > counted[1] > 0


def test_targets_of_another_number_of_keypoints_are_refused():
    with pytest.raises(ValueError, match=r"num_keypoints is 3, the data's objects have 17"):
        KeypointLoss()(torch.zeros(1, 3, 7, 7), torch.zeros(1, 17, 3), torch.ones(1, 4), 1.0)


def peaked(keypoints, boxes, size):
    """Heat maps with a smooth peak at the middle of each keypoint's cell."""
    cell, counts = cells(keypoints, boxes, size)
    assert counts.all()
    at = torch.arange(size) - torch.stack([cell % size, cell // size], 2)[..., None]
    near = -(at.float() ** 2)
    return near[:, :, 1, :, None] + near[:, :, 0, None, :]


def test_decoding_what_was_encoded_comes_back_within_a_cell():
    """A half-pixel bug is caught: without + 0.5 the mean error is no longer zero."""
    g = generator(0)
    boxes = torch.tensor([[10.0, 20, 178, 188]]).repeat(200, 1)
    place = boxes[:, None, :2] + 8 + 152 * torch.rand(200, 1, 2, generator=g)  # not at the rim
    keypoints = torch.cat([place, torch.full((200, 1, 1), 2.0)], 2)
    found = KeypointDecode()(peaked(keypoints, boxes, 56), boxes)
    error = found[..., :2] - place
    cell, chance = 168 / 56, 168 / 56 / 12**0.5 / 200**0.5
    assert float(error.abs().max()) <= cell / 2 + 1e-3
    assert (error.mean((0, 1)).abs() < 3 * chance).all()
    buggy = error - 0.5  # the left edge of the pixel instead of its middle
    assert (buggy.mean((0, 1)).abs() > 3 * chance).all()


def test_a_shift_of_half_a_cell_is_seen_by_the_comparison_with_torchvision():
    logits, boxes, keypoints = drawn(0)
    rounded = keypoints.clone()
    rounded[..., :2] += (boxes[:, None, 2:] - boxes[:, None, :2]) / 56 / 2  # round, not floor
    theirs = keypoints_to_heatmap(keypoints, boxes, 56)[0]
    assert not torch.equal(cells(rounded, boxes, 56)[0], theirs)


def test_scores_logit_probability_or_share():
    """By hand, where nothing is resized: the logit, its softmax, and detectron2's share."""
    logits = torch.randn(1, 2, 8, 8, generator=generator(1))
    box = torch.tensor([[0.0, 0, 8, 8]])
    scores = {s: KeypointDecode(score=s)(logits, box)[0, :, 2] for s in ("logit", "probability")}
    scores["share"] = KeypointDecode(score="share")(logits, box)[0, :, 2]
    torch.testing.assert_close(scores["logit"], logits[0].flatten(1).amax(1))
    torch.testing.assert_close(scores["probability"], logits[0].flatten(1).softmax(1).amax(1))
    torch.testing.assert_close(scores["share"], scores["probability"])


def test_the_share_does_not_depend_on_the_size_of_the_box_and_the_probability_does():
    logits = torch.randn(1, 2, 8, 8, generator=generator(1))
    big = torch.tensor([[0.0, 0, 80, 80]])
    small = torch.tensor([[0.0, 0, 40, 40]])
    share, probability = KeypointDecode(score="share"), KeypointDecode(score="probability")
    ratio = [float((d(logits, small) / d(logits, big))[0, 0, 2]) for d in (share, probability)]
    assert ratio[0] == pytest.approx(1, rel=0.2)
    assert ratio[1] == pytest.approx(4, rel=0.2)


def test_least_side_refines_the_grid_of_small_boxes():
    """A box of 4 pixels: peaks of 28 cells fall on 4 places without it, on 28 with it."""
    box = torch.tensor([[0.0, 0, 4, 4]]).repeat(28, 1)
    keypoints = torch.full((28, 1, 3), 2.0)
    keypoints[:, 0, 0] = (torch.arange(28) + 0.5) / 7
    maps = peaked(keypoints, box, 28)
    assert KeypointDecode(least_side=0)(maps, box)[..., 0].unique().numel() == 4
    fine = KeypointDecode(least_side=28)(maps, box)[:, 0, 0]
    torch.testing.assert_close(fine, keypoints[:, 0, 0])


def test_the_head_is_torchvisions():
    """Their two modules' weights, by position, give the same maps."""
    ours = KeypointHead(convs=3, width=16).build(8, 5)
    body, predictor = KeypointRCNNHeads(8, (16,) * 3), KeypointRCNNPredictor(16, 5)
    last = {f"6.{n}": v for n, v in predictor.kps_score_lowres.state_dict().items()}
    ours.load_state_dict(body.state_dict() | last)
    features = torch.randn(2, 8, 14, 14)
    torch.testing.assert_close(ours(features), predictor(body(features)), rtol=0, atol=1e-6)
    assert ours(features).shape == (2, 5, 56, 56)


def test_the_papers_head_has_eight_convolutions_of_512():
    head = KeypointHead().build(256, 17)
    convs = [layer for layer in head if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [512] * 8
    assert head[16].weight.shape == (512, 17, 4, 4)


def test_border_replicate_or_zero():
    """ "zero" is Detectron's deconvolution with fixed bilinear weights; they differ at the rim."""
    maps = torch.randn(2, 3, 7, 7, generator=generator(0))
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    fixed = (line[:, None] * line).expand(3, 1, 4, 4)
    theirs = F.conv_transpose2d(maps, fixed, stride=2, padding=1, groups=3)
    zero, replicate = (Enlarge(2, zero_border=z)(maps) for z in (True, False))
    torch.testing.assert_close(zero, theirs)
    torch.testing.assert_close(replicate[..., 1:-1, 1:-1], zero[..., 1:-1, 1:-1])
    assert not torch.allclose(replicate[..., 0, :], zero[..., 0, :])


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        (KeypointHead, dict(width=0)),
        (KeypointHead, dict(convs=-1)),
        (KeypointLoss, dict(weight=0.0)),
        (KeypointDecode, dict(least_side=-1)),
        (ModelConfig, dict(num_keypoints=0)),
    ],
)
def test_values_that_cannot_be_are_refused(part, changes):
    with pytest.raises(ValueError, match="got"):
        part(**changes)


def smoke(preset, **changes):
    return MaskRCNN(replace(at_scale(preset, "smoke").model, **changes))


def a_batch(model):
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 5:30, 8:40], masks[1, 25:45, 30:50] = True, True
    boxes = torch.tensor([[8.0, 5, 40, 30], [30, 25, 50, 45]])
    points = torch.tensor(
        [[[20.0, 10, 2], [30, 20, 1], [0, 0, 0]], [[35, 30, 2], [45, 40, 2], [0] * 3]]
    )
    image = torch.randint(0, 256, (3, 64, 64), generator=generator(5)).to(torch.uint8)
    return model.images([image]), [Targets(boxes, torch.tensor([3, 8]), masks, points)]


TASKS = {
    "box": dict(mask_head=None, keypoint_head=None),
    "mask": dict(mask_head=FCNMaskHead(convs=1, width=8), keypoint_head=None),
    "keypoint": dict(mask_head=None, keypoint_head=KeypointHead(convs=1, width=8)),
    "both": dict(
        mask_head=FCNMaskHead(convs=1, width=8), keypoint_head=KeypointHead(convs=1, width=8)
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_box_mask_and_keypoints_alone_and_together(task):
    model = smoke(R50_FPN_KEYPOINTS, **TASKS[task])
    images, targets = a_batch(model)
    losses = model.losses(images, targets, [generator(0)])
    extra = {"box": set(), "both": {"mask", "keypoint"}}.get(task, {task})
    assert set(losses) == {"objectness", "proposal box", "class", "box"} | extra
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    found = model.eval().predict(images)[0]
    assert (found.keypoints is not None) == (task in ("keypoint", "both"))
    assert (found.mask_probabilities is not None) == (task in ("mask", "both"))
    if found.keypoints is not None:
        assert found.keypoints.shape == (len(found), 3, 3)
        inside = (found.keypoints[..., :2] >= found.boxes[:, None, :2] - 1e-3) & (
            found.keypoints[..., :2] <= found.boxes[:, None, 2:].clamp(min=1) + 1
        )
        assert inside.all()


def test_a_keypoint_head_changes_no_other_initial_weight_and_no_other_loss():
    with_keypoints, without = (
        smoke(R50_FPN_MASK_KEYPOINTS, **TASKS[task]) for task in ("both", "mask")
    )
    ours, theirs = with_keypoints.state_dict(), without.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    losses = [m.losses(*a_batch(m), [generator(0)]) for m in (with_keypoints, without)]
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[1])


def test_the_network_trains_and_decodes_its_maps_as_torchvision_does():
    model = smoke(R50_FPN_KEYPOINTS).eval()
    images, targets = a_batch(model)
    pyramid = model.backbone(images.pixels)
    rois, index = targets[0].boxes + torch.tensor([1.0, 2, 3, 4]), torch.tensor([0, 1])
    loss = model.keypoint_loss(pyramid, [rois], [index], targets)
    maps = model.keypoint_logits(pyramid, [rois]).contiguous()
    theirs = keypointrcnn_loss(maps, [rois], [targets[0].keypoints], [index])
    torch.testing.assert_close(loss, theirs)
    found = model.predict(images)[0]
    place, score = heatmaps_to_keypoints(model.keypoint_logits(pyramid, [found.boxes]), found.boxes)
    torch.testing.assert_close(found.keypoints[..., :2], place[..., :2])
    torch.testing.assert_close(found.keypoints[..., 2], score.detach())


def test_keypoints_go_through_res5_in_c4():
    """14 x 14 cells: 7 bins of res5 at stride 1, deconvolved and not enlarged."""
    model = smoke(R50_C4, keypoint_head=KeypointHead(convs=0, upsample=1), num_keypoints=3)
    images, targets = a_batch(model)
    model.losses(images, targets, [generator(0)])["keypoint"].backward()
    pyramid = model.backbone(images.pixels)
    assert model.keypoint_logits(pyramid, [targets[0].boxes]).shape == (2, 3, 14, 14)


def test_images_without_objects_or_without_keypoints_train():
    model = smoke(R50_FPN_KEYPOINTS)
    images, targets = a_batch(model)
    for some in (targets[0][torch.zeros(0, dtype=torch.long)], replace(targets[0], keypoints=None)):
        loss = model.losses(images, [some], [generator(0)])["keypoint"]
        loss.backward()
        assert loss.item() == 0


def learned(model, examples, steps, rate):
    """The keypoint loss of each step of a training on all examples at once."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    seen = []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 20) * (1 - step / steps)
        images = model.images([e.image for e in examples])
        draws = [generator(step, e.image_id) for e in examples]
        losses = model.losses(images, [e.targets for e in examples], draws)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        seen.append(losses["keypoint"].item())
    return seen


@pytest.mark.slow
def test_a_small_network_learns_the_keypoints_of_two_pictures_by_heart(cache):
    """From log 56^2 to less than a third, to an AP50 above 60; half of it with names exchanged."""
    dataset = Shapes(size=96, train=2, val=1).open("train", cache)
    trial = PRESETS["small_keypoints"]
    model = MaskRCNN(trial.model, seed=0)
    found = learned(model, [dataset.example(0), dataset.example(1)], steps=100, rate=3e-3)
    assert found[0] > 7
    assert sum(found[-5:]) / 5 < 8 / 3
    known = evaluate(model, dataset, trial, lambda *a: None).metrics["keypoint AP50"]
    assert known > 60
    predictor = next(
        layer for layer in model.keypoint_head if isinstance(layer, nn.ConvTranspose2d)
    )
    with torch.no_grad():
        predictor.weight.copy_(predictor.weight[:, [1, 2, 0]])
    assert evaluate(model, dataset, trial, lambda *a: None).metrics["keypoint AP50"] < known / 2
