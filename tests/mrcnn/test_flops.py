"""Operations counted by hand, and the same for any seed."""

from dataclasses import replace

import pytest
import torch

from mrcnn.config import ModelConfig
from mrcnn.flops import flops_g
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, R50_FPN, R50_FPN_KEYPOINTS, R50_FPN_MASK_KEYPOINTS, at_scale
from mrcnn.spec import vary

FPN = at_scale(R50_FPN, "smoke").model
C4 = at_scale(R50_C4, "smoke").model


def counted(config: ModelConfig, seed=0, side=64):
    model = MaskRCNN(config, seed).eval()
    return flops_g(model, model.images([torch.zeros(3, side, side)]))


def test_the_seed_does_not_matter_and_the_size_does():
    """Four times the pixels are four times the backbone and RPN, and the same heads."""
    assert counted(FPN) == counted(FPN, seed=1)
    sides = [counted(FPN, side=side) for side in (64, 128, 256)]
    assert sides[2] - sides[1] == pytest.approx(4 * (sides[1] - sides[0]))


def test_the_mask_branch_by_hand():
    """Its convolutions, deconvolution and one class's predictor, twice per weight and position."""
    head = FPN.mask_head
    area, channels, width = head.roi_size**2, FPN.backbone.channels, head.width
    convs = area * 9 * width * (channels + (head.convs - 1) * width)
    deconvolution, predictor = area * width * width * 4, 4 * area * width
    expected = 2 * (convs + deconvolution + predictor) * FPN.detection.limit / 1e9
    assert counted(FPN) - counted(replace(FPN, mask_head=None)) == pytest.approx(expected)


def test_the_limits_are_what_is_counted():
    none = vary(FPN, "detection.limit", 1)
    per_mask = counted(vary(FPN, "detection.limit", 2)) - counted(none)
    assert counted(FPN) == pytest.approx(counted(none) + (FPN.detection.limit - 1) * per_mask)
    more = vary(FPN, "rpn.post_nms_test", FPN.rpn.post_nms_test + 1)
    head = MaskRCNN(FPN).box_head
    weights = sum(w.weight.numel() for w in head.modules() if isinstance(w, torch.nn.Linear))
    assert counted(more) - counted(FPN) == pytest.approx(2 * weights / 1e9)


@pytest.mark.parametrize(
    "config", [C4, at_scale(R50_FPN_MASK_KEYPOINTS, "smoke").model], ids=["C4", "keypoints"]
)
def test_every_branch_counts(config):
    without = replace(config, mask_head=None)
    assert 0 < counted(without) < counted(config)


def test_keypoints_count():
    config = at_scale(R50_FPN_KEYPOINTS, "smoke").model
    assert counted(replace(config, keypoint_head=None)) < counted(config)
