"""Box heads and their losses, each choice on both sides by hand."""

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead

from mrcnn.box_head import ConvBoxHead, FCBoxHead, MeanBoxHead, box_losses
from mrcnn.boxes import BOX_HEAD_CODER, BoxCoder

ROIS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 30], [5, 5, 9, 9]])
OBJECTS = torch.tensor([[1.0, 0, 11, 10], [0, 0, 10, 10], [20, 20, 40, 30], [0, 0, 1, 1]])
LABELS = torch.tensor([2, 1, 0, 0])
"""Two RoIs with objects, of which the first is 1 px off (dx = 0.1), and two of background."""


def losses(head, deltas=None, classes=3):
    boxes = 1 if head.class_agnostic else classes
    deltas = torch.zeros(4, boxes, 4) if deltas is None else deltas
    found = box_losses(head, torch.zeros(4, classes + 1), deltas, LABELS, ROIS, OBJECTS)
    return {name: float(value) for name, value in found.items()}


def test_the_class_loss_is_the_mean_over_all_rois():
    assert losses(FCBoxHead())["class"] == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.0, 1.0),  # detectron2, mmdetection: |x|
        (1 / 9, 1 - 1 / 18),  # torchvision
        (1.0, 0.5),  # Fast R-CNN, Detectron, Matterport: an error of 1 is where both meet
        (2.0, 0.25),
    ],
)
def test_box_head_beta(beta, expected):
    """dx = 0.1 times the weight 10 is an error of 1, averaged over four RoIs."""
    assert losses(FCBoxHead(beta=beta))["box"] == pytest.approx(expected / 4)


@pytest.mark.parametrize(("rule", "count"), [("sampled", 4), ("positives", 2 * 4)])
def test_what_the_box_loss_is_divided_by(rule, count):
    """All four RoIs (the peers), or the eight deltas of the two with objects (Matterport)."""
    assert losses(FCBoxHead(beta=0.0, box_normaliser=rule))["box"] == pytest.approx(1 / count)


def test_the_box_loss_is_encoded_with_the_coder():
    found = losses(FCBoxHead(beta=0.0, coder=BoxCoder()))
    assert found["box"] == pytest.approx(0.1 / 4)


def test_only_the_deltas_of_the_true_class_are_read():
    deltas = torch.full((4, 3, 4), 99.0)
    deltas[0, 1], deltas[1, 0] = torch.tensor([1.0, 0, 0, 0]), 0.0
    assert losses(FCBoxHead(), deltas)["box"] == pytest.approx(0, abs=1e-9)
    deltas[0, 1, 0] = 2.0
    assert losses(FCBoxHead(), deltas)["box"] == pytest.approx(0.5 / 4)


def test_a_class_agnostic_head_has_one_box_for_all_classes():
    """The same RoIs: one row of deltas serves labels 1 and 2."""
    deltas = torch.zeros(4, 1, 4)
    deltas[0, 0, 0] = 1.0
    assert losses(FCBoxHead(class_agnostic=True), deltas)["box"] == pytest.approx(0, abs=1e-9)
    for head in (FCBoxHead(), ConvBoxHead(), MeanBoxHead()):
        assert head.build(4, 3).deltas.out_features == 12
    for head in (FCBoxHead, ConvBoxHead, MeanBoxHead):
        assert head(class_agnostic=True).build(4, 3).deltas.out_features == 4


def kinds(head):
    return [type(layer).__name__ for layer in head.body]


def test_the_head_with_four_convolutions():
    """Wu and He 2018: 4 conv 1 fc; with a norm, as in torchvision v2, convolutions have no bias."""
    head = ConvBoxHead(width=6, widths=(5,)).build(4, 3)
    assert kinds(head) == ["Conv2d", "ReLU"] * 4 + ["Flatten", "Linear", "ReLU"]
    assert [layer.in_channels for layer in head.body if isinstance(layer, nn.Conv2d)] == [
        4,
        6,
        6,
        6,
    ]
    assert head.body[9].in_features == 6 * 7 * 7
    assert head.classes.in_features == 5
    normed = ConvBoxHead(width=6, widths=(5,), norm="batch").build(4, 3)
    assert kinds(normed) == ["Conv2d", "BatchNorm2d", "ReLU"] * 4 + ["Flatten", "Linear", "ReLU"]
    assert normed.body[0].bias is None
    assert head.body[0].bias is not None
    logits, deltas = normed.eval()(torch.randn(2, 4, 7, 7))
    assert (logits.shape, deltas.shape) == ((2, 4), (2, 3, 4))


def test_the_head_with_four_convolutions_is_torchvisions():
    """With the weights of torchvision's own v2 head, its output (peer code)."""
    theirs = FastRCNNConvFCHead((4, 7, 7), [6] * 4, [5], norm_layer=nn.BatchNorm2d).eval()
    ours = ConvBoxHead(width=6, widths=(5,), norm="batch").build(4, 3).eval()
    values = list(theirs.state_dict().values())
    names = [name for name in ours.body.state_dict()]
    ours.body.load_state_dict(dict(zip(names, values, strict=True)))
    features = torch.randn(3, 4, 7, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.body(features), theirs(features))


@pytest.mark.parametrize(("convs", "norm"), [(1, "none"), (4, "group")])
def test_convolutions_of_the_box_head_read_their_neighbours(convs, norm):
    """A change in one corner of the RoI reaches `convs` pixels, and no further but for the norm."""
    head = ConvBoxHead(convs=convs, width=32, widths=(), norm=norm).build(1, 1)
    features = torch.randn(1, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    changed = features.clone()
    changed[..., 0, 0] += 1
    before, after = (head.body[:-1](x) for x in (features, changed))
    rows = ((before - after).abs().amax((0, 1, 2)) > 0).nonzero()[:, 0]
    assert int(rows.max()) == (convs if norm == "none" else 6)


def test_heads_share_a_coder_and_a_normaliser():
    for head in (FCBoxHead(), ConvBoxHead(), MeanBoxHead()):
        assert head.coder == BOX_HEAD_CODER
        assert (head.beta, head.box_normaliser) == (1.0, "sampled")


@pytest.mark.parametrize(
    "bad",
    [
        lambda: FCBoxHead(beta=-1.0),
        lambda: FCBoxHead(widths=(0,)),
        lambda: ConvBoxHead(convs=0),
        lambda: MeanBoxHead(beta=-1.0),
    ],
)
def test_a_box_head_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match="box head needs"):
        bad()
