"""Networks as files, ours and torchvision's."""

from dataclasses import replace

import pytest
import torch
from torchvision.models import resnet18, resnet50
from torchvision.models.detection import maskrcnn_resnet50_fpn

from mrcnn.checkpoint import load_model, load_torchvision, read_body, save_model
from mrcnn.config import BodyWeights
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, at_scale
from mrcnn.spec import fingerprint


def test_what_is_saved_is_loaded(tmp_path):
    trial = at_scale(R50_C4, "smoke")
    model = MaskRCNN(trial.model, seed=3)
    save_model(model, trial, tmp_path / "m.safetensors", tuple("abcdefgh"))
    again, same, classes = load_model(tmp_path / "m.safetensors")
    assert same == trial
    assert classes == tuple("abcdefgh")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.fixture(scope="module")
def theirs():
    return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4).state_dict()


def test_every_parameter_of_torchvisions_is_used(theirs, tmp_path):
    torch.save(theirs, tmp_path / "tv.pth")
    found = load_torchvision(tmp_path / "tv.pth")
    counters = sum(name.endswith("num_batches_tracked") for name in theirs)
    assert f"{len(theirs) - counters} parameters used" in found.summary
    assert f"{counters} batch counters dropped" in found.summary
    assert found.model.config.num_classes == 3


def test_older_names_are_known(theirs):
    older = {}
    for name, tensor in theirs.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            for i in range(4):
                name = name.replace(f"{block}.{i}.0.", f"{block}.{i}.")
        for i in range(4):
            name = name.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        older[name] = tensor
    assert set(older) != set(theirs)
    one, two = load_torchvision(older).model, load_torchvision(theirs).model
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def test_coco_weights_lose_the_rows_of_classes_that_are_not(theirs):
    ninety_one = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    rows = torch.arange(91.0)
    state = ninety_one.state_dict()
    state["roi_heads.box_predictor.cls_score.bias"] = rows
    state["roi_heads.box_predictor.bbox_pred.bias"] = rows.repeat_interleave(4)
    state["roi_heads.mask_predictor.mask_fcn_logits.bias"] = rows
    found = load_torchvision(state).model
    real = found.box_head.classes.bias[1:].tolist()
    assert len(real) == 80
    assert (real[0], real[11], real[-1]) == (1, 13, 90)  # 12 is no class of COCO's
    assert found.box_head.deltas.bias.view(80, 4)[:, 0].tolist() == real
    assert found.mask_head[10].bias.tolist() == real


def test_a_missing_parameter_is_named(theirs):
    short = {k: v for k, v in theirs.items() if "fc7" not in k}
    with pytest.raises(ValueError, match=r"2 missing \(box_head.body.3.bias"):
        load_torchvision(short)


def test_a_body_fills_a_trunk(tmp_path):
    classifier = resnet50(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "r50.pth")
    model = MaskRCNN(R50_C4.model, trunk_weights=read_body(tmp_path / "r50.pth"))
    stages = model.backbone.trunk.stages
    assert torch.equal(stages[0][1].weight, classifier.bn1.weight)
    assert torch.equal(stages[3][5].conv3.weight, classifier.layer3[5].conv3.weight)
    assert torch.equal(model.roi_trunk[2].conv3.weight, classifier.layer4[2].conv3.weight)


def test_a_body_for_another_trunk_is_refused(tmp_path):
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(ValueError, match="the trunk's initial weights: parameters do not fit"):
        MaskRCNN(R50_C4.model, trunk_weights=read_body(tmp_path / "r18.pth"))


def test_a_body_and_pretraining_exclude_each_other():
    body = BodyWeights(file="x.pth", sha256="0")
    with pytest.raises(ValueError, match="exclude each other"):
        replace(at_scale(R50_C4, "small"), body=body)
    assert fingerprint(replace(R50_C4, body=body)) == fingerprint(
        replace(R50_C4, body=replace(body, file="elsewhere.pth"))
    )
