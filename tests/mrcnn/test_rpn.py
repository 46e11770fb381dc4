"""The RPN: its head, what it proposes, and its losses, each choice on both sides by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.rpn import RPNHead

from mrcnn.anchors import Anchors
from mrcnn.boxes import BOX_HEAD_CODER, BoxCoder
from mrcnn.matching import Matching
from mrcnn.rpn import RPN, propose, rpn_losses
from mrcnn.seeds import generator
from mrcnn.structures import Pyramid, Targets

SIZE = (100, 100)
APART = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]])


def proposed(spec, logits, anchors=APART, training=True, **options):
    """Proposals from one level, of one image or of as many as there are rows of logits."""
    logits = torch.tensor(logits)
    logits = logits if logits.dim() == 2 else logits[None]
    deltas = torch.zeros(*logits.shape, 4)
    sizes = (SIZE,) * len(logits)
    return propose(spec, [logits], [deltas], [anchors], sizes, training=training, **options)


def target(*found):
    n = len(found)
    boxes = torch.tensor(found) if n else torch.zeros(0, 4)
    return Targets(boxes, torch.ones(n, dtype=torch.long), torch.zeros(n, *SIZE, dtype=torch.bool))


# The head


def test_one_convolution_keeps_the_names_of_earlier_checkpoints():
    shapes = {k: tuple(v.shape) for k, v in RPN().build(8).state_dict().items()}
    assert shapes == {
        "conv.weight": (8, 8, 3, 3),
        "conv.bias": (8,),
        "objectness.weight": (3, 8, 1, 1),
        "objectness.bias": (3,),
        "deltas.weight": (12, 8, 1, 1),
        "deltas.bias": (12,),
    }


def test_convolutions_and_their_width():
    """Two, as in torchvision v2, each with a ReLU; 16 wide, as Matterport's 512."""
    head = RPN(convs=2, width=16).build(8)
    state = {k: tuple(v.shape) for k, v in head.state_dict().items() if k.endswith("weight")}
    assert state == {
        "conv.weight": (16, 8, 3, 3),
        "more.0.weight": (16, 16, 3, 3),
        "objectness.weight": (3, 16, 1, 1),
        "deltas.weight": (12, 16, 1, 1),
    }
    features = torch.randn(1, 8, 4, 4, generator=generator(0))
    hidden = F.relu(F.conv2d(features, *head.conv.parameters(), padding=1))
    hidden = F.relu(F.conv2d(hidden, *head.more[0].parameters(), padding=1))
    by_hand = F.conv2d(hidden, *head.objectness.parameters())
    logits, _ = head(Pyramid((features,), (4,), 1, (16, 16)))
    torch.testing.assert_close(logits[0], by_hand.permute(0, 2, 3, 1).flatten(1))


def test_two_convolutions_are_torchvisions():
    """With the weights of torchvision's own head of depth 2, its output (peer code)."""
    theirs, ours = RPNHead(8, 3, conv_depth=2), RPN(convs=2).build(8)
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    features = torch.randn(2, 8, 5, 4, generator=generator(1))
    logits, deltas = ours(Pyramid((features,), (4,), 1, (20, 16)))
    objectness, regression = theirs([features])
    torch.testing.assert_close(logits[0], objectness[0].permute(0, 2, 3, 1).flatten(1))
    flat = regression[0].permute(0, 2, 3, 1).reshape(2, -1, 4)
    torch.testing.assert_close(deltas[0], flat)


def test_objectness_by_softmax_is_foreground_less_background():
    """Channels are (background, foreground) of anchor after anchor; the loss is that of two logits.

    A softmax of two logits is a sigmoid of their difference: p = e^f / (e^b + e^f).
    """
    spec = RPN(anchors=Anchors(sizes=((8.0,),), ratios=(0.5, 1.0)), objectness="softmax")
    head = spec.build(1)
    assert head.objectness.out_channels == 4
    head.objectness.weight.data.zero_()
    head.objectness.bias.data.copy_(torch.tensor([1.0, 3.0, 5.0, 4.0]))
    logits, deltas = head(Pyramid((torch.zeros(1, 1, 1, 1),), (4,), 1, (4, 4)))
    assert logits[0].tolist() == [[2.0, -1.0]]
    assert deltas[0].shape == (1, 2, 4)
    one_hot = F.cross_entropy(torch.tensor([[1.0, 3.0], [5.0, 4.0]]), torch.tensor([1, 0]))
    two = F.binary_cross_entropy_with_logits(logits[0][0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(two, one_hot)
    assert RPN(objectness="sigmoid").build(8).objectness.out_channels == 3


# Proposals


def test_proposals_are_ranked_by_logits_or_by_probabilities_that_tie():
    """sigmoid(18) and sigmoid(30) are both 1 in float32; equal scores keep the anchors' order."""
    logits = [18.0, -1.0, 30.0, 25.0]
    by = {
        rule: proposed(RPN(ranking=rule, pre_nms_train=2), logits)[0][:, 0].tolist()
        for rule in ("logits", "late", "probabilities")
    }
    assert by["logits"] == [40, 60]  # detectron2
    assert by["late"] == [40, 60]  # torchvision: the top-k by logits, which come in their order
    assert by["probabilities"] == [0, 40]  # Detectron, mmdetection


def test_late_probabilities_tie_between_levels():
    """torchvision: levels are merged by probabilities, so that the first level's 18 beats 30."""
    levels = [torch.tensor([[18.0]]), torch.tensor([[30.0]])]
    deltas = [torch.zeros(1, 1, 4)] * 2
    anchors = [APART[:1], APART[1:2]]
    first = {
        rule: propose(RPN(ranking=rule), levels, deltas, anchors, (SIZE,), training=True)[0][0, 0]
        for rule in ("logits", "late")
    }
    assert first == {"logits": 20, "late": 0}


def test_proposals_are_kept_per_image_or_shared_by_a_batch():
    """Two images, two proposals to keep: two each, or the best two of all (Detectron's FPN)."""
    logits = [[4.0, 3.0, -1.0, -2.0], [3.5, 1.0, 0.5, 0.0]]
    each = proposed(RPN(post_nms_train=2), logits)
    assert [found[:, 0].tolist() for found in each] == [[0, 20], [0, 20]]
    shared = proposed(RPN(post_nms_train=2, images_together=2), logits)
    assert [found[:, 0].tolist() for found in shared] == [[0], [0]]
    spec = RPN(post_nms_test=2, images_together=2)
    tested = proposed(spec, logits, training=False)
    assert [len(found) for found in tested] == [2, 2], "only training shares"
    four = proposed(replace(spec, post_nms_train=2), logits * 2)
    assert [len(found) for found in four] == [1, 1, 1, 1], "a batch of 4 is two groups of 2"


def test_levels_apart_or_together():
    """One box on each of two levels, the same box: both stay, or the better one (Matterport)."""
    logits = [torch.tensor([[1.0]]), torch.tensor([[2.0]])]
    deltas, anchors = [torch.zeros(1, 1, 4)] * 2, [APART[:1]] * 2
    found = {
        rule: len(propose(RPN(levels=rule), logits, deltas, anchors, (SIZE,), training=True)[0])
        for rule in ("apart", "together")
    }
    assert found == {"apart": 2, "together": 1}
    anchors = [APART[:1], APART[1:2]]
    spec = RPN(pre_nms_train=1, levels="together")
    assert len(propose(spec, logits, deltas, anchors, (SIZE,), training=True)[0]) == 1


def test_proposals_that_are_too_small_are_dropped():
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 0, 20.5, 10]])
    assert len(proposed(RPN(), [1.0, 2.0], anchors)[0]) == 2
    assert len(proposed(RPN(min_side=1.0), [1.0, 2.0], anchors)[0]) == 1


def test_a_proposal_outside_keeps_a_pixel_in_the_inclusive_convention():
    anchors = torch.tensor([[120.0, 20, 140, 30]])
    assert len(proposed(RPN(), [1.0], anchors)[0]) == 0
    found = proposed(RPN(), [1.0], anchors, convention="inclusive")[0]
    assert found.tolist() == [[99, 20, 100, 30]]


def test_proposals_are_decoded_with_the_coder():
    """dx = 1 moves a 10 px anchor by 10 px, or, with weights (10, 10, 5, 5), by 1 (Matterport)."""
    for coder, x in ((BoxCoder(), 10.0), (BOX_HEAD_CODER, 1.0)):
        deltas = [torch.tensor([[[1.0, 0, 0, 0]]])]
        spec = RPN(coder=coder)
        logits = [torch.zeros(1, 1)]
        found = propose(spec, logits, deltas, [APART[:1]], (SIZE,), training=True)[0]
        assert found.tolist() == [[x, 0, 10 + x, 10]]


# Losses


HALF_OFF = ((5.0, 0.0, 15.0, 10.0),)
"""An object half a width right of the first anchor: wanted dx = 0.5; IoU 1/3 with it, so that only
`keep_best` makes the anchor a positive. The other anchors do not touch it."""


def losses(spec, targets, logits=0.0, anchors=APART, **options):
    n = len(targets)
    logits = torch.full((n, len(anchors)), logits)
    deltas = torch.zeros(n, len(anchors), 4)
    draws = [generator(i) for i in range(n)]
    found = rpn_losses(spec, [logits], [deltas], [anchors], targets, draws, **options)
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.0, 0.5),  # |x|: detectron2, mmdetection
        (1 / 9, 0.5 - 1 / 18),  # |x| - beta / 2 beyond beta: Detectron, torchvision
        (1.0, 0.5 * 0.25),  # x^2 / (2 beta) below it: Matterport
    ],
)
def test_rpn_beta(beta, expected):
    """One error of 0.5 among four anchors, all sampled."""
    found = losses(RPN(beta=beta), [target(*HALF_OFF)])
    assert found["proposal box"] == pytest.approx(expected / 4)


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ("sampled", 8),  # 2 images of 4 anchors each: torchvision, mmdetection
        ("full", 2 * 256),  # detectron2, whatever was found
        ("positives", 4),  # one positive, four deltas: Matterport's mean
    ],
)
def test_what_the_rpn_box_loss_is_divided_by(rule, count):
    found = losses(RPN(beta=0.0, box_normaliser=rule), [target(*HALF_OFF), target()])
    assert found["proposal box"] == pytest.approx(0.5 / count)


@pytest.mark.parametrize(("rule", "count"), [("sampled", 8), ("full", 512)])
def test_what_the_rpn_class_loss_is_divided_by(rule, count):
    """Logits of 0 cost log 2 each, positive or negative."""
    found = losses(RPN(class_normaliser=rule), [target(*HALF_OFF), target()])
    assert found["objectness"] == pytest.approx(8 * math.log(2) / count)


def test_without_objects_the_rpn_box_loss_is_zero_with_a_gradient():
    deltas = torch.zeros(1, 4, 4, requires_grad=True)
    for rule in ("sampled", "full", "positives"):
        found = rpn_losses(
            RPN(box_normaliser=rule),
            [torch.zeros(1, 4)],
            [deltas],
            [APART],
            [target()],
            [generator(0)],
        )
        assert float(found["proposal box"].detach()) == 0
        found["proposal box"].backward()
    assert deltas.grad.tolist() == torch.zeros(1, 4, 4).tolist()


STRADDLING = torch.tensor(
    [[-1.0, 0, 9, 10], [0, 0, 10, 10], [50, 50, 60, 60], [95, 40, 105, 50], [90, 90, 100, 100]]
)


@pytest.mark.parametrize(
    ("straddle", "convention", "usable"),
    [
        (None, "continuous", 5),  # detectron2, torchvision, Matterport
        (0.0, "continuous", 2),  # mmdetection's C4: what ends on the edge is dropped as well
        (0.0, "inclusive", 3),  # Detectron: its last pixel is the image's last
        (2.0, "continuous", 4),
    ],
)
def test_straddling_anchors(straddle, convention, usable):
    """Of five anchors in 100 x 100: over the left edge, inside, inside, 5 px over, on the edge."""
    spec = RPN(straddle=straddle, class_normaliser="full")
    found = losses(spec, [target()], anchors=STRADDLING, sizes=(SIZE,), convention=convention)
    assert found["objectness"] == pytest.approx(usable * math.log(2) / 256)


def test_a_straddling_anchor_claims_no_object():
    """An object best overlapped by the first anchor goes to the second where that one is dropped.

    The logits cost nothing where they are right: 30 for the positive, -30 for the rest.
    """
    objects = [target((-1.0, 0.0, 9.0, 10.0))]
    matching = Matching(positive=0.9, negative=0.3, keep_best=True)
    kept = RPN(matching=matching)
    for spec, positive in ((kept, 0), (replace(kept, straddle=0.0), 1)):
        logits = torch.full((1, 5), -30.0)
        logits[0, positive] = 30.0
        draws, zeros = [generator(0)], torch.zeros(1, 5, 4)
        options = dict(sizes=(SIZE,))
        found = rpn_losses(spec, [logits], [zeros], [STRADDLING], objects, draws, **options)
        assert float(found["objectness"]) == pytest.approx(0, abs=1e-6)


def test_straddling_needs_the_sizes():
    with pytest.raises(ValueError, match="straddle=0.0 needs the images' sizes"):
        losses(RPN(straddle=0.0), [target()])


def test_targets_are_encoded_with_the_coder():
    """The wanted dx of 0.5 is 5 with the weights (10, 10, 5, 5)."""
    found = losses(RPN(beta=0.0, coder=BOX_HEAD_CODER), [target(*HALF_OFF)])
    assert found["proposal box"] == pytest.approx(5 / 4)


def test_half_of_the_sampled_anchors_are_positives_at_most():
    """Ren et al. 2015: 256 anchors, up to half of them positive, padded with negatives."""
    anchors = torch.cat([APART[:1].expand(300, 4), APART[1:2].expand(300, 4)])
    draws, zeros = [generator(0)], torch.zeros(1, 600, 4)
    logits = torch.zeros(1, 600)
    logits.requires_grad_()
    objects = [target((0.0, 0.0, 10.0, 10.0))]
    rpn_losses(RPN(), [logits], [zeros], [anchors], objects, draws)["objectness"].backward()
    touched = logits.grad[0] != 0
    assert (int(touched[:300].sum()), int(touched[300:].sum())) == (128, 128)


@pytest.mark.parametrize(
    "bad",
    [
        dict(convs=0),
        dict(width=0),
        dict(images_together=0),
        dict(beta=-1.0),
        dict(straddle=-1.0),
        dict(nms_iou=2.0),
        dict(pre_nms_train=0),
    ],
)
def test_an_rpn_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match="at least|0 to 1"):
        RPN(**bad)
