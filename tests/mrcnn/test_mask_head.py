"""Mask heads, and their losses and decodings."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mrcnn import model as model_module
from mrcnn.mask_head import (
    FCNMaskHead,
    MLPMaskHead,
    SigmoidMaskLoss,
    SoftmaxMaskLoss,
    own_logits,
)
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, R50_FPN, at_scale
from mrcnn.seeds import generator
from mrcnn.structures import Detections, Targets

LOSSES = {"sigmoid": SigmoidMaskLoss(), "softmax": SoftmaxMaskLoss()}
LABELS = torch.tensor([2, 1, 3])
LVIS = 1203


def logits_of(loss, classes=3):
    g = torch.Generator().manual_seed(0)
    return torch.randn(3, loss.channels(classes), 4, 4, generator=g)


def drawn():
    return (torch.arange(48).view(3, 4, 4) % 3 == 0).float()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_loss_falls_as_the_true_mask_is_drawn(loss):
    logits, wanted = logits_of(loss), drawn()
    better = logits.clone()
    rows = torch.arange(3)
    better[rows, LABELS - 1] += 2 * wanted - 1
    assert float(loss(better, LABELS, wanted)) < float(loss(logits, LABELS, wanted))


def test_sigmoid_ignores_the_other_classes_and_softmax_does_not():
    """The paper's argument for sigmoid: classes do not compete."""
    for name, loss in LOSSES.items():
        logits, wanted = logits_of(loss), drawn()
        others = logits.clone()
        others[0, 0] += 3  # the first RoI is of class 2: this is another class's mask
        same = torch.equal(loss(others, LABELS, wanted), loss(logits, LABELS, wanted))
        assert same == (name == "sigmoid") == (not loss.competing)


def test_the_loss_is_a_mean_over_the_pixels_of_all_positives():
    """By hand: logit 0 costs log 2 at each pixel, whatever the number of RoIs and classes."""
    loss = SigmoidMaskLoss()
    logits = torch.full((3, 5, 4, 4), 40.0)
    logits[torch.arange(3), LABELS - 1] = 0
    assert float(loss(logits, LABELS, drawn())) == pytest.approx(math.log(2))
    twice = loss(logits.repeat(2, 1, 1, 1), LABELS.repeat(2), drawn().repeat(2, 1, 1))
    assert float(twice) == pytest.approx(math.log(2))


def test_decodings_of_softmax_by_hand():
    """p = (0.45, 0.25, 0.30): below one half, yet above background."""
    logits = torch.tensor([0.45, 0.25, 0.30]).log()[None, :, None, None]
    label = torch.tensor([1])
    half = SoftmaxMaskLoss(decode="half").probabilities(logits, label)
    beats = SoftmaxMaskLoss(decode="beats background").probabilities(logits, label)
    assert float(half) == pytest.approx(0.45)
    assert float(beats) == pytest.approx(0.45 / 0.75)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_no_positives_give_zero_with_a_gradient(loss):
    logits = torch.zeros(0, loss.channels(3), 4, 4, requires_grad=True)
    loss(logits, torch.zeros(0, dtype=torch.long), torch.zeros(0, 4, 4)).backward()


def test_agnostic_heads_have_one_mask():
    loss = SigmoidMaskLoss()
    logits, ones = logits_of(loss, 1), torch.ones(3, dtype=torch.long)
    assert logits.shape[1] == 1
    torch.testing.assert_close(loss.probabilities(logits, ones), logits[:, 0].sigmoid())


@pytest.mark.parametrize("norm", ["none", "batch", "group", "sync", "frozen"])
def test_norm_of_the_convolutions(norm):
    """Convolution, norm, ReLU; a bias only without a norm, as torchvision's v2 has it."""
    head = FCNMaskHead(norm=norm, convs=2, width=8).build(4, 3, 2)
    convs = [i for i, x in enumerate(head) if isinstance(x, nn.Conv2d)][:2]
    for i in convs:
        assert (head[i].bias is None) == (norm != "none")
        after = [type(x) for x in head[i + 1 : i + 3]]
        assert (nn.ReLU in after[:1]) == (norm == "none")
        assert nn.ReLU in after
    assert head(torch.randn(2, 4, 2, 2)).shape == (2, 3, 4, 4)
    if norm == "none":  # the names that checkpoints know
        assert [n for n in head.state_dict() if n.endswith("weight")] == [
            f"{i}.weight" for i in (0, 2, 4, 6)
        ]


def test_batch_norm_makes_the_mask_depend_on_the_other_rois():
    features = torch.randn(3, 4, 2, 2)
    for norm in ("none", "batch"):
        head = FCNMaskHead(norm=norm, convs=1, width=8).build(4, 1, 2)
        alone, among = head(features[:1]), head(features)[:1]
        assert torch.allclose(alone, among, atol=1e-6) == (norm == "none")


def deviation(weight):
    return float(weight.detach().std())


def test_init_of_convolutions_and_predictor():
    """Deviations by hand: MSRA sqrt(2 / fan out), gaussian 0.001, Glorot sqrt(2 / (in + out))."""
    expected = {
        "msra": (math.sqrt(2 / (9 * 64)), math.sqrt(2 / 50)),
        "gaussian": (0.001, 0.001),
        "glorot": (math.sqrt(2 / (9 * 64 + 9 * 32)), math.sqrt(2 / (64 + 50))),
    }
    for init, (conv, _) in expected.items():
        for predictor_init, (_, predictor) in expected.items():
            spec = FCNMaskHead(convs=1, width=64, init=init, predictor_init=predictor_init)
            head = spec.build(32, 50, 14)
            assert deviation(head[0].weight) == pytest.approx(conv, rel=0.05)
            assert deviation(head[-1].weight) == pytest.approx(predictor, rel=0.05)
            assert all(float(x.bias.detach().abs().max()) == 0 for x in (head[0], head[-1]))


def test_init_of_fully_connected_predictors():
    """Detectron's fully connected predictor starts at 0.001."""
    head = MLPMaskHead(widths=(64,), predictor_init="gaussian").build(4, 3, 4)
    assert deviation(head[-2].weight) == pytest.approx(0.001, rel=0.05)
    assert deviation(head[1].weight) == pytest.approx(math.sqrt(2 / 64), rel=0.05)


@pytest.mark.parametrize("widths", [(1024, 1024), (1024, 1024, 1024)])
def test_mlp_heads_of_table_2e(widths):
    """fc 1024 -> 1024 (-> 1024) -> 80 * 28 * 28, on 14 x 14 x 256 features."""
    with torch.device("meta"):
        head = MLPMaskHead(widths=widths).build(256, 80, 14)
        sides = [(x.in_features, x.out_features) for x in head if isinstance(x, nn.Linear)]
        assert head(torch.zeros(2, 256, 14, 14)).shape == (2, 80, 28, 28)
    ends = [256 * 14 * 14, *widths, 80 * 28 * 28]
    assert sides == list(zip(ends[:-1], ends[1:], strict=True))


@pytest.mark.parametrize("change", [{"deconvs": 2}, {"upsample": 2}])
def test_masks_of_56(change):
    """Twice the side by one more deconvolution, or by enlarging what was predicted."""
    head = FCNMaskHead(convs=1, width=8, **change)
    assert FCNMaskHead().growth * 14 == 28
    assert head.growth * 14 == 56
    with torch.device("meta"):
        assert head.build(4, 3, 14)(torch.zeros(1, 4, 14, 14)).shape == (1, 3, 56, 56)
    model = MaskRCNN(replace(at_scale(R50_FPN, "smoke").model, mask_head=head))
    images, targets = a_batch(model)
    model.losses(images, targets, [generator(0)])["mask"].backward()
    found = model.detect_masks(model.backbone(images.pixels), [some_detections()])[0]
    assert found.mask_probabilities.shape == (3, 56, 56)


def test_enlarged_masks_are_no_more_than_their_pixels():
    """Bilinear enlargement draws nothing new, which a second deconvolution can."""
    for change, smooth in (({"upsample": 2}, True), ({"deconvs": 2}, False)):
        head = FCNMaskHead(convs=0, width=8, **change).build(4, 1, 4)
        mask = head(torch.randn(1, 4, 4, 4))[0, 0].detach()
        left, right = 3 * mask[:, 2] - mask[:, 1], 3 * mask[:, 3] - mask[:, 4]
        # the lines through pixels 1, 2 and 3, 4 meet in the centre of the small pixel 1
        assert torch.allclose(left, right, atol=1e-5) == smooth


def test_c4_masks_stay_14_with_either_res5():
    for stride, size in ((1, 7), (2, 14)):
        trunk = replace(R50_C4.model.roi_trunk, stride=stride, roi_size=size)
        assert replace(R50_C4.model, roi_trunk=trunk).mask_size == 14


@pytest.mark.parametrize("bad", [{"convs": -1}, {"deconvs": -1}, {"upsample": 0}, {"width": 0}])
def test_heads_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="positive sizes"):
        FCNMaskHead(**bad)


HEADS = {
    "fcn": FCNMaskHead(convs=1, width=8),
    "enlarged": FCNMaskHead(convs=1, width=8, upsample=2),
    "deeper": FCNMaskHead(convs=0, width=8, deconvs=2, norm="group"),
    "mlp": MLPMaskHead(widths=(16, 8)),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_mask_of_one_class_alone_is_that_of_the_dense_head(name):
    """Values and gradients to 1e-6; a row that is off by one class is not."""
    head = HEADS[name].build(4, 6, 3).double()
    nn.init.normal_(head[-2 if name in ("mlp", "enlarged") else -1].bias)
    features = torch.randn(5, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([6, 1, 1, 4, 6])
    sources = [features, *head.parameters()]
    dense = head(features)[torch.arange(5), labels - 1]
    own = own_logits(head, features, labels)
    assert own.shape[1] == 1
    torch.testing.assert_close(own[:, 0], dense, rtol=0, atol=1e-6)
    weights = torch.randn_like(dense)
    one = torch.autograd.grad((own[:, 0] * weights).sum(), sources)
    two = torch.autograd.grad((dense * weights).sum(), sources)
    for mine, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    wrong = own_logits(head, features, labels % 6 + 1)
    assert float((wrong[:, 0] - dense).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", HEADS)
def test_no_rois_have_no_masks_and_a_gradient(name):
    head = HEADS[name].build(4, 6, 3).train(False)
    none = own_logits(head, torch.zeros(0, 4, 3, 3), torch.zeros(0, dtype=torch.long))
    assert none.shape[:2] == (0, 1)
    none.sum().backward()
    assert all(p.grad is not None for p in list(head.parameters())[-2:])


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made while it is on."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if torch.is_tensor(one):
                self.numbers = max(self.numbers, one.numel())
        return made


def a_batch(model):
    pixels = torch.randint(0, 256, (3, 64, 64), generator=generator(0)).to(torch.uint8)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 5:30, 8:40], masks[1, 25:45, 30:50] = True, True
    found = torch.tensor([[8.0, 5, 40, 30], [30, 25, 50, 45]])
    return model.images([pixels]), [Targets(found, torch.tensor([3, 8]), masks)]


def some_detections():
    found = torch.tensor([[8.0, 5, 40, 30], [30, 25, 50, 45], [0, 0, 60, 60]])
    return Detections(found, torch.tensor([3, 8, 1]), torch.tensor([0.9, 0.8, 0.7]))


@pytest.mark.parametrize("name", ["fcn", "mlp", "softmax", "planted dense"])
def test_masks_of_lvis_are_not_made_for_classes_that_are_not_asked_for(name, monkeypatch):
    """Training and predicting with 1,203 classes; a dense head is caught, and softmax needs one."""
    if name == "planted dense":
        monkeypatch.setattr(
            model_module,
            "own_logits",
            lambda head, x, labels: head(x)[torch.arange(len(x)), labels - 1][:, None],
        )
    head = MLPMaskHead(widths=(4,)) if name == "mlp" else FCNMaskHead(convs=1, width=8)
    loss = LOSSES["softmax" if name == "softmax" else "sigmoid"]
    config = replace(at_scale(R50_FPN, "smoke").model, mask_head=head, num_classes=LVIS)
    model = MaskRCNN(replace(config, mask_loss=loss))
    images, targets = a_batch(model)
    rois, index = [targets[0].boxes.repeat(8, 1)], [torch.arange(2).repeat(8)]
    labels = [targets[0].labels.repeat(8)]
    with Largest() as training:
        pyramid = model.backbone(images.pixels)
        model.roi_losses(pyramid, rois, index, labels, targets)["mask"].backward()
    with Largest() as predicting, torch.no_grad():
        model.detect_masks(model.backbone(images.pixels), [some_detections()[torch.arange(12) % 3]])
    parameters = max(p.numel() for p in model.parameters())
    for seen, count in ((training, 16), (predicting, 12)):
        dense = count * LVIS * 28 * 28
        assert (seen.numbers >= dense) == (name in ("softmax", "planted dense"))
        if name == "fcn":
            assert seen.numbers < dense / 10
        if name == "mlp":  # whose weights themselves have a row for each pixel of each class
            assert seen.numbers <= max(parameters, dense / 10)
