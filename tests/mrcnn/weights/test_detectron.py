"""Detectron's Caffe2 blobs. No real file is at hand: these are synthetic, their names written out
from Detectron's model builders.
"""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from mrcnn.model import MaskRCNN
from mrcnn.peers import DETECTRON_C4, DETECTRON_FPN
from mrcnn.seeds import generator
from mrcnn.weights.converting import convert
from mrcnn.weights.names import roles

BLOCKS = (3, 4, 6, 3)
CLASSES = 5


def blobs_of(role, last):
    """What Detectron calls a parameter that does this; `last` is the last block of a stage."""
    layer, _, kind = role.rpartition(".")
    end = {"weight": "_w", "bias": "_b"}.get(kind)
    affine = {"weight": "_bn_s", "bias": "_bn_b"}.get(kind)
    if layer == "stem.conv":
        return "conv1_w"
    if layer == "stem.norm":
        return affine and f"res_conv1{affine}"
    if layer.startswith("stage"):
        stage, block, what = layer.split(".", 2)
        branch = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "downsample.0": "1"}
        norms = {"bn1": "2a", "bn2": "2b", "bn3": "2c", "downsample.1": "1"}
        place = f"res{int(stage[-1]) + 1}_{block}_branch"
        if what in branch:
            return f"{place}{branch[what]}_w"
        return affine and f"{place}{norms[what]}{affine}"
    if layer.startswith(("lateral", "output")):
        level = int(layer.split(".")[0][-1]) + 2
        at = f"res{level}_{last[level - 2]}_sum"
        inner = f"fpn_inner_{at}" + ("" if level == 5 else "_lateral")
        return (inner if layer.startswith("lateral") else f"fpn_{at}") + end
    return NAMES[layer] + end


NAMES = {
    "rpn.conv1": "conv_rpn_fpn2",
    "rpn.objectness": "rpn_cls_logits_fpn2",
    "rpn.deltas": "rpn_bbox_pred_fpn2",
    "box.fc1": "fc6",
    "box.fc2": "fc7",
    "box.classes": "cls_score",
    "box.deltas": "bbox_pred",
    "mask.conv1": "_[mask]_fcn1",
    "mask.conv2": "_[mask]_fcn2",
    "mask.conv3": "_[mask]_fcn3",
    "mask.conv4": "_[mask]_fcn4",
    "mask.deconv": "conv5_mask",
    "mask.logits": "mask_fcn_logits",
}


@pytest.fixture(scope="module", params=["FPN", "C4"])
def case(request):
    """A trial, the blobs of a network of it, and what each parameter should become."""
    trial = {"FPN": DETECTRON_FPN, "C4": DETECTRON_C4}[request.param]
    model = MaskRCNN(replace(trial.model, num_classes=CLASSES), seed=2)
    g = generator(1)
    blobs, wanted = {}, {}
    for role, place in roles(model).items():
        tensor = model.state_dict()[place]
        name = blobs_of(role, [n - 1 for n in BLOCKS])
        if name is None:
            continue
        value = torch.randn(tensor.shape, generator=g) * 0.01
        wanted[place] = value
        rows = {"box.deltas": 4, "mask.logits": 1}.get(role.rpartition(".")[0], 0)
        spare = torch.full((rows, *value.shape[1:]), 99.0)
        if request.param == "C4":
            name = name.replace("_fpn2", "")
        blobs[name] = torch.cat([spare, value]).numpy()
    return trial, blobs, wanted


def saved(blobs, folder):
    """As Detectron writes: everything of the solver beside the weights."""
    momenta = {f"{name}_momentum": array * 0 for name, array in list(blobs.items())[:3]}
    solver = {"lr": np.zeros(1, np.float32), "weight_order": "1"}
    content = {"blobs": blobs | momenta | solver, "cfg": "MODEL:\n  TYPE: generalized_rcnn\n"}
    (folder / "model_final.pkl").write_bytes(pickle.dumps(content, 2))
    return folder / "model_final.pkl"


def test_a_synthetic_detectron_file_is_used_to_the_last_blob(case, tmp_path):
    trial, blobs, wanted = case
    found = convert(saved(blobs, tmp_path))
    assert "3 momenta dropped" in found.summary
    assert "1 of the solver dropped" in found.summary
    assert found.trial == replace(trial, model=replace(trial.model, num_classes=CLASSES))
    state = found.model.state_dict()
    statistics = {name for name in state if "running_" in name}
    assert set(state) == set(wanted) | statistics
    assert all(torch.equal(state[name], value) for name, value in wanted.items())


def test_folded_batch_norm_is_just_an_affine_layer(case, tmp_path):
    _, blobs, _ = case
    model = convert(saved(blobs, tmp_path)).model
    norm = model.backbone.trunk.stages[1][0].bn2
    x = torch.randn(2, 64, 3, 3, generator=generator(0))
    scale, bias = (torch.from_numpy(blobs[f"res2_0_branch2b_bn_{k}"]) for k in "sb")
    torch.testing.assert_close(norm(x), x * scale[:, None, None] + bias[:, None, None])


def test_detectron_keypoints_synthetic(case, tmp_path):
    trial, blobs, _ = case
    if "conv_rpn_w" in blobs:
        return
    heads = {"cls_score": 2, "bbox_pred": 8}
    people = {
        name: array[: heads[name[:-2]]] if name[:-2] in heads else array
        for name, array in blobs.items()
        if "mask" not in name
    }
    for i in range(8):
        people[f"conv_fcn{i + 1}_w"] = np.zeros((512, 512 if i else 256, 3, 3), np.float32)
        people[f"conv_fcn{i + 1}_b"] = np.zeros(512, np.float32)
    people["kps_score_lowres_w"] = np.zeros((512, 17, 4, 4), np.float32)
    people["kps_score_lowres_b"] = np.zeros(17, np.float32)
    people["kps_score_w"] = np.zeros((17, 17, 4, 4), np.float32)
    found = convert(saved(people, tmp_path))
    assert "1 fixed bilinear enlargement dropped" in found.summary
    assert found.classes == ("person",)
    assert found.trial.model.keypoint_head.convs == 8
    assert found.trial.model.keypoint_loss == trial.model.keypoint_loss
