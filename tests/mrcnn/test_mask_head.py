"""Mask losses, decodings and targets."""

import pytest
import torch

from mrcnn.mask_head import MaskTargets, Paste, SigmoidMaskLoss, SoftmaxMaskLoss

LOSSES = {"sigmoid": SigmoidMaskLoss(), "softmax": SoftmaxMaskLoss()}
LABELS = torch.tensor([2, 1, 3])


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
        assert same == (name == "sigmoid")


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


def test_targets_show_the_object_through_the_roi():
    """A left half-plane seen through a RoI that starts at its edge minus a quarter of the RoI."""
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[1, :, :8] = True
    roi = torch.tensor([[4.0, 0, 12, 16]])
    seen = MaskTargets()(masks, torch.tensor([1]), roi, 8)
    assert seen[0].unique(dim=0).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]
    soft = MaskTargets(threshold=None)(masks, torch.tensor([1]), roi + 0.5, 8)
    assert 0 < float(soft[0, 0, 3]) < 1


def test_a_target_pasted_back_is_the_object():
    """Mask target and paste are each other's inverse up to the mask's resolution."""
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 10:50, 20:44] = True
    masks[0, 20:30, 30:40] = False
    box = torch.tensor([[20.0, 10, 44, 50]])
    target = MaskTargets()(masks, torch.tensor([0]), box, 28)
    back = Paste()(target, box, (64, 64))
    union, shared = (back | masks).sum(), (back & masks).sum()
    assert float(shared / union) > 0.95
