"""Ours as torchvision's: it loads the file, and what it predicts is what we predict."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.models import detection

import kernels
from mrcnn.anchors import Anchors
from mrcnn.model import MaskRCNN
from mrcnn.peers import (
    DETECTRON2_C4,
    DETECTRON2_FPN,
    MMDETECTION_FPN,
    TORCHVISION,
    TORCHVISION_KEYPOINTS,
    TORCHVISION_V2,
)
from mrcnn.seeds import generator
from mrcnn.weights.converting import convert
from mrcnn.weights.exporting import to_torchvision, write

CLASSES = 4
SIZE = 96


def fresh(trial, **changes):
    """A network whose weights let some boxes through, with statistics that are not 0 and 1."""
    few = {"num_classes": 1 if trial.model.keypoint_head else CLASSES}
    few |= {"detection": replace(trial.model.detection, limit=20)}
    few |= {"rpn": replace(trial.model.rpn, post_nms_test=200)}
    model = MaskRCNN(replace(trial.model, **few | changes), seed=1)
    g = generator(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=g)
        elif name.endswith("weight") and tensor.dim() == 1:  # else residuals double block by block
            tensor.fill_(0.4)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.05, generator=g)
        elif name.endswith(("classes.weight", "objectness.weight")):
            tensor.mul_(30)
    return model.eval()


def loaded(exported):
    """torchvision's network from what was exported, strictly."""
    builder = getattr(detection, exported.builder)
    size = {"min_size": SIZE, "max_size": 2 * SIZE}
    model = builder(weights=None, weights_backbone=None, **exported.arguments, **size)
    model.load_state_dict(exported.weights)
    return model.eval()


def predicted(model, exported):
    """Detections of both, of an image that neither resizes."""
    image = torch.rand(3, SIZE, SIZE + 32, generator=generator(2))
    theirs = loaded(exported)([image])[0]
    return model.predict(model.images([image * 255]))[0], theirs


TRIALS = {
    "maskrcnn_resnet50_fpn": (TORCHVISION, {}),
    "maskrcnn_resnet50_fpn_v2": (TORCHVISION_V2, {}),
    "keypointrcnn_resnet50_fpn": (TORCHVISION_KEYPOINTS, {}),
    "fasterrcnn_resnet50_fpn": (TORCHVISION, {"mask_head": None}),
    "fasterrcnn_resnet50_fpn_v2": (TORCHVISION_V2, {"mask_head": None}),
}
BLUE_FIRST = {
    "pixel_order": "bgr",
    "pixel_range": 255,
    "pixel_mean": (103.5, 116.3, 123.7),
    "pixel_std": (57.0, 58.0, 59.0),
}


def compare(model, exported):
    with torch.no_grad():
        mine, theirs = predicted(model, exported)
    assert len(mine) == len(theirs["boxes"]) == 20
    torch.testing.assert_close(mine.boxes, theirs["boxes"], atol=1e-3, rtol=0)
    torch.testing.assert_close(mine.scores, theirs["scores"], atol=1e-5, rtol=0)
    assert torch.equal(mine.labels, theirs["labels"])
    if model.mask_head is not None:
        soft = kernels.paste_masks(
            mine.mask_probabilities,
            mine.boxes,
            size=(SIZE, SIZE + 32),
            method="grown",
            threshold=None,
        )
        torch.testing.assert_close(soft, theirs["masks"][:, 0], atol=1e-4, rtol=0)
    if model.keypoint_head is not None:
        torch.testing.assert_close(mine.keypoints[..., :2], theirs["keypoints"][..., :2])
        torch.testing.assert_close(mine.keypoints[..., 2], theirs["keypoints_scores"])


@pytest.mark.parametrize("builder", TRIALS)
def test_torchvision_predicts_what_we_do(builder):
    trial, changes = TRIALS[builder]
    model = fresh(trial, **changes)
    exported = to_torchvision(model)
    assert exported.builder == builder
    assert exported.differing == ()
    compare(model, exported)


def test_another_colour_order_range_and_eps_are_brought_to_torchvisions():
    backbone = TORCHVISION.model.backbone
    backbone = replace(backbone, trunk=replace(backbone.trunk, norm_eps=1e-3))
    model = fresh(TORCHVISION, backbone=backbone, **BLUE_FIRST)
    exported = to_torchvision(model)
    assert exported.differing == ()
    compare(model, exported)


def test_a_network_with_other_rules_says_which_and_predicts_otherwise():
    model = fresh(TORCHVISION, rpn=replace(TORCHVISION.model.rpn, anchors=Anchors()))
    exported = to_torchvision(model)
    assert exported.differing == ("rpn.anchors.rounded", "rpn.anchors.spacing")
    assert "torchvision differs in rpn.anchors.rounded" in exported.summary
    with pytest.raises(AssertionError):
        compare(model, exported)
    named = to_torchvision(fresh(MMDETECTION_FPN)).differing
    assert {"roi_op.aligned", "roi_op.sampling_ratio", "rpn.coder.growth_limit"} <= set(named)


def test_there_and_back_changes_no_bit():
    model = fresh(TORCHVISION_V2)
    again = convert(to_torchvision(model).weights).model
    mine = model.state_dict()
    assert all(torch.equal(v, mine[k]) for k, v in again.state_dict().items())


def test_class_agnostic_boxes_are_repeated_for_each_class():
    model = fresh(TORCHVISION, box_head=replace(TORCHVISION.model.box_head, class_agnostic=True))
    compare(model, to_torchvision(model))


@pytest.mark.parametrize(
    ("trial", "field"),
    [(DETECTRON2_FPN, "backbone.trunk.stride_in='1x1'"), (DETECTRON2_C4, "backbone=C4")],
)
def test_what_torchvision_cannot_build_is_named(trial, field):
    with torch.device("meta"):
        model = MaskRCNN(trial.model)
    with pytest.raises(ValueError, match="torchvision's builders have no model.") as caught:
        to_torchvision(model)
    assert field in str(caught.value)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_the_file_holds_the_state_dict(tmp_path, ending):
    exported = to_torchvision(fresh(TORCHVISION))
    file = tmp_path / f"tv.{ending}"
    write(exported, file)
    found = load_file(file) if ending == "safetensors" else torch.load(file)
    assert set(found) == set(exported.weights)
    if ending == "safetensors":
        with safe_open(file, "pt") as opened:
            about = json.loads(opened.metadata()["about"])
        assert about["builder"] == "maskrcnn_resnet50_fpn"
        assert about["arguments"]["num_classes"] == CLASSES + 1
