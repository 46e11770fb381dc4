"""Our detector and torchvision's do the same work, or no time of theirs is taken."""

import pytest
import torch

from benchmarks.detector.peer import (
    BothSteps,
    Contest,
    inference,
    still_sgd,
    training,
)
from benchmarks.detector.peer_network import SMALL
from benchmarks.detector.peer_steps import PeerInference, sampled_as_ours
from benchmarks.detector.steps import through
from benchmarks.detector.twins import image_of, objects_of, twins
from mrcnn.seeds import generator
from mrcnn.spec import vary


@pytest.fixture(scope="module")
def pair():
    return twins(SMALL)


def test_equal_networks_find_the_same_things():
    found = inference(SMALL, rounds=3)
    assert len(found.ours_ms) == len(found.peer_ms) == 3
    assert min(found.ours_ms + found.peer_ms) > 0
    assert "32 detections matched, 0 and 0 alone" in found.same
    assert found.name == "inference, R18-FPN, 128 x 192"


def test_equal_networks_take_the_same_step():
    found = training(SMALL, rounds=3)
    assert "losses within" in found.same
    assert len(found.ours_ms) == len(found.peer_ms) == 3


@pytest.mark.parametrize("contest", [inference, training])
def test_bf16_says_how_far_it_lies_apart(contest):
    found = contest(SMALL, rounds=3, precision="bf16")
    assert found.precision == "bf16"
    assert found.same


FAULTS = {
    "aligned RoIs": ("roi_op.aligned", True),
    "other NMS": ("detection.nms_iou", 0.1),
    "fewer proposals": ("rpn.post_nms_test", 100),
    "another paste": ("paste.method", "exact"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_network_of_ours_is_not_timed(fault, monkeypatch):
    path, value = FAULTS[fault]

    def wrong(scale):
        made = twins(scale)
        made.ours.config = vary(made.ours.config, path, value)
        return made

    monkeypatch.setattr("benchmarks.detector.peer.twins", wrong)
    with pytest.raises(AssertionError, match="other detections than the peer's"):
        inference(SMALL, rounds=3)


@pytest.mark.parametrize(
    ("path", "value"), [("box_head.beta", 1.0), ("mask_targets.threshold", 0.5)]
)
def test_another_training_step_is_not_timed(path, value, monkeypatch):
    def wrong(scale):
        made = twins(scale)
        made.ours.config = vary(made.ours.config, path, value)
        return made

    monkeypatch.setattr("benchmarks.detector.peer.twins", wrong)
    with pytest.raises(AssertionError, match="another training step than the peer's"):
        training(SMALL, rounds=3)


@torch.no_grad()
def test_torchvisions_steps_are_its_forward_pass(pair):
    image = image_of(SMALL, 5)
    found = through(PeerInference(pair.theirs).steps, {"given": [image]})["found"]
    wanted = pair.theirs([image.float() / 255])
    for name, value in wanted[0].items():
        assert torch.equal(found[0][name], value), name


def test_there_are_positives_to_train_on(pair):
    image = image_of(SMALL, 5)
    targets = objects_of(pair, image)
    assert len(targets) >= 8
    assert targets.masks.flatten(1).any(1).all()
    images = pair.ours.images([image])
    _, labels = pair.ours.proposed(images)[1], None
    proposals = pair.ours.settled_proposals(images)
    _, _, labels = pair.ours.sample_rois(proposals, [targets], [generator(1)])
    assert int((labels[0] > 0).sum()) >= 20


def test_a_step_leaves_the_weights_and_the_sampler_as_they_were(pair):
    both = BothSteps.of(pair)
    before = {n: v.clone() for n, v in pair.theirs.state_dict().items()}
    sampler = pair.theirs.rpn.fg_bg_sampler
    pair.theirs.train()
    both.theirs(still_sgd(pair.theirs))
    pair.theirs.eval()
    assert all(torch.equal(v, before[n]) for n, v in pair.theirs.state_dict().items())
    assert pair.theirs.rpn.fg_bg_sampler is sampler
    with sampled_as_ours(pair.theirs, SMALL, [generator(1)]):
        positive, negative = pair.theirs.rpn.fg_bg_sampler([torch.tensor([1, 0, -1, 0, 1])])
    assert positive[0].tolist() == [1, 0, 0, 0, 1]
    assert negative[0].tolist() == [0, 1, 0, 1, 0]


def test_the_ratio_is_paired_by_round():
    found = Contest(
        name="n",
        device="cpu",
        threads=1,
        precision="fp32",
        ours_ms=(1.0, 10.0, 1.0, 10.0, 1.0, 10.0),
        peer_ms=(2.0, 20.0, 2.0, 20.0, 2.0, 20.0),
        same="",
    )
    assert found.ratio == (2.0, 2.0, 2.0)
