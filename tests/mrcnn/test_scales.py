"""What a scale changes, and what it leaves."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mrcnn.presets import R50_C4, R50_C5, R50_FPN, X101_FPN
from mrcnn.presets import at_scale as of_presets
from mrcnn.scales import SCALES, at_scale
from mrcnn.trunk import RES4, SmallResNet


def test_it_is_the_one_in_presets_too():
    assert of_presets is at_scale


def test_an_unknown_scale_is_named():
    with pytest.raises(ValueError, match="did you mean 'small'"):
        at_scale(R50_C4, "smal")


def test_coco_changes_nothing():
    assert at_scale(X101_FPN, "coco") == X101_FPN


@pytest.mark.parametrize("scale", SCALES)
def test_how_a_network_is_scored_survives(scale):
    trial = replace(R50_C4, evaluate=replace(R50_C4.evaluate, max_detections=30))
    assert at_scale(trial, scale).evaluate.max_detections == 30


def test_medium_keeps_heads_and_anchors():
    for trial in (R50_C4, R50_C5, R50_FPN):
        model = at_scale(trial, "medium").model
        assert model.box_head == trial.model.box_head
        assert model.mask_head == trial.model.mask_head
        assert model.rpn.anchors == trial.model.rpn.anchors
        assert at_scale(trial, "medium").train.precision == "bf16"


def test_grouped_small_trunks_are_of_bottlenecks_with_groups():
    trunk = SmallResNet(blocks=4, groups=4)
    stages = trunk.build().stages
    convs = [m for m in stages[RES4].modules() if isinstance(m, nn.Conv2d) and m.groups == 4]
    assert len(convs) == 4
    assert {conv.weight.shape for conv in convs} == {(96, 24, 3, 3)}
    assert trunk.build()(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 160, 2, 2)


def test_groups_must_divide_the_widths():
    with pytest.raises(ValueError, match="groups must divide the widths from res2 on, got 5"):
        SmallResNet(groups=5)
