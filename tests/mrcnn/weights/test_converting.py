"""From anybody's weights to a network: every parameter used or reported, and what is missing named.

The state dicts of torchvision are its own; those of detectron2 and mmdetection have the names and
shapes that the golden files list. No real file of either is at hand.
"""

import json
from pathlib import Path

import pytest
import torch
from torchvision.models import detection

from mrcnn.box_head import ConvBoxHead
from mrcnn.checkpoint import load_model, save_model
from mrcnn.peers import PEERS
from mrcnn.weights.classes import COCO
from mrcnn.weights.converting import convert

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def torchvision_state(builder, **options):
    return getattr(detection, builder)(weights=None, weights_backbone=None, **options).state_dict()


def listed(name):
    shapes = json.loads((GOLDEN / f"{name}.json").read_text())["state_dict"]
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def theirs():
    return torchvision_state("maskrcnn_resnet50_fpn", num_classes=4)


@pytest.mark.parametrize(
    ("builder", "counters"),
    [
        ("fasterrcnn_resnet50_fpn", 53),
        ("maskrcnn_resnet50_fpn_v2", 69),
        ("fasterrcnn_resnet50_fpn_v2", 65),
        ("keypointrcnn_resnet50_fpn", 53),
    ],
)
def test_every_parameter_of_torchvisions_other_detectors_is_used(builder, counters):
    state = torchvision_state(builder)
    found = convert(state)
    assert found.summary.startswith(f"{len(state) - counters} parameters of torchvision")
    assert f"{counters} batch counters dropped" in found.summary
    assert (found.model.mask_head is not None) == ("maskrcnn" in builder)
    assert (found.model.keypoint_head is not None) == ("keypoint" in builder)
    assert isinstance(found.trial.model.box_head, ConvBoxHead) == builder.endswith("v2")
    assert found.classes == (COCO[:1] if "keypoint" in builder else COCO)


@pytest.mark.parametrize("name", ["detectron2_R_50_FPN", "detectron2_R_50_C4"])
@pytest.mark.parametrize("kind", ["pkl", "pth"])
def test_detectron2_zoo_pkl_and_trainer_pth_by_listed_names(tmp_path, name, kind):
    import pickle

    state, file = listed(name), tmp_path / f"model_final.{kind}"
    state["roi_heads.box_predictor.cls_score.bias"] = torch.arange(81.0)
    if kind == "pkl":
        arrays = {key: tensor.numpy() for key, tensor in state.items()}
        content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
        file.write_bytes(pickle.dumps(content, 2))
    else:
        constants = {
            "pixel_mean": torch.ones(3, 1, 1),
            "proposal_generator.anchor_generator.cell_anchors.0": torch.ones(3, 4),
        }
        torch.save({"model": state | constants, "optimizer": {"state": {}}, "iteration": 9}, file)
    found = convert(file)
    assert found.summary.startswith(f"{len(state)} parameters of detectron2")
    for said in ("1 cell anchors dropped", "1 pixel statistics dropped"):
        assert (said in found.summary) == (kind == "pth")
    assert found.model.box_head.classes.bias[:3].tolist() == [80, 0, 1]  # background was last
    assert found.trial.model.backbone.trunk.stride_in == "1x1"


@pytest.mark.parametrize("name", ["mmdetection_R_50_FPN", "mmdetection_R_50_C4"])
def test_mmdetection_pth_by_listed_names(tmp_path, name):
    state = listed(name)
    meta = {"meta": {"dataset_meta": {"classes": [f"thing {i}" for i in range(80)]}}}
    torch.save({"state_dict": state, **meta}, tmp_path / "epoch_12.pth")
    found = convert(tmp_path / "epoch_12.pth")
    assert found.summary.startswith(f"{len(state) - 53} parameters of mmdetection")
    assert found.classes[79] == "thing 79"
    assert found.trial.model.pixel_order == ("rgb" if name.endswith("FPN") else "bgr")
    if name.endswith("FPN"):
        caffe = convert(tmp_path / "epoch_12.pth", "mmdetection_fpn_caffe").trial.model
        assert (caffe.pixel_order, caffe.backbone.trunk.stride_in) == ("bgr", "1x1")


def test_a_dilated_c5_of_detectron2_by_names_made_up_from_its_code():
    state = {
        name.replace("bottom_up.", ""): tensor
        for name, tensor in listed("detectron2_R_50_FPN").items()
        if "fpn_" not in name
    }
    head = "proposal_generator.rpn_head"
    state |= {
        f"{head}.conv.weight": torch.zeros(2048, 2048, 3, 3),
        f"{head}.conv.bias": torch.zeros(2048),
        f"{head}.objectness_logits.weight": torch.zeros(15, 2048, 1, 1),
        f"{head}.objectness_logits.bias": torch.zeros(15),
        f"{head}.anchor_deltas.weight": torch.zeros(60, 2048, 1, 1),
        f"{head}.anchor_deltas.bias": torch.zeros(60),
        "roi_heads.box_head.fc1.weight": torch.zeros(1024, 7 * 7 * 2048),
        "roi_heads.mask_head.mask_fcn1.weight": torch.zeros(256, 2048, 3, 3),
    }
    found = convert(state)
    assert "of detectron2 (dc5) used" in found.summary
    assert found.model.backbone.strides == [16]


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
    one, two = convert(older).model, convert(theirs).model
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def test_coco_weights_lose_the_rows_of_classes_that_are_not():
    rows = torch.arange(91.0)
    state = torchvision_state("maskrcnn_resnet50_fpn", num_classes=91)
    state["roi_heads.box_predictor.cls_score.bias"] = rows
    state["roi_heads.box_predictor.bbox_pred.bias"] = rows.repeat_interleave(4)
    state["roi_heads.mask_predictor.mask_fcn_logits.bias"] = rows
    found = convert(state)
    real = found.model.box_head.classes.bias[1:].tolist()
    assert len(real) == 80
    assert (real[0], real[11], real[-1]) == (1, 13, 90)  # 12 is no class of COCO's
    assert (found.classes[0], found.classes[11], found.classes[-1]) == (
        "person",
        "stop sign",
        "toothbrush",
    )
    assert found.model.box_head.deltas.bias.view(80, 4)[:, 0].tolist() == real
    assert found.model.mask_head[10].bias.tolist() == real


def test_depth_and_groups_come_from_the_weights():
    trunk = {
        name: tensor
        for name, tensor in detection.backbone_utils.resnet_fpn_backbone(
            backbone_name="resnext101_32x8d", weights=None
        )
        .state_dict()
        .items()
        if name.startswith("body.")
    }
    heads = torchvision_state("fasterrcnn_resnet50_fpn", num_classes=4)
    state = {name: t for name, t in heads.items() if "backbone.body" not in name}
    found = convert(state | {f"backbone.{name}": tensor for name, tensor in trunk.items()})
    spec = found.trial.model.backbone.trunk
    assert (spec.depth, spec.groups, spec.width_per_group) == (101, 32, 8)


def test_what_a_state_dict_cannot_say_comes_from_the_preset(theirs):
    assert convert(theirs).trial.model.backbone.trunk.norm_eps == 1e-5
    coco_v1 = convert(theirs, "torchvision_coco_v1")
    assert coco_v1.trial.model.backbone.trunk.norm_eps == 0
    norms = [m.eps for m in coco_v1.model.modules() if hasattr(m, "eps")]
    assert set(norms) == {0.0}
    with pytest.raises(ValueError, match="did you mean 'torchvision_v2'"):
        convert(theirs, "torchvison_v2")


def test_the_state_dict_at_hand_is_left_alone(theirs):
    found = convert(theirs)
    with torch.no_grad():
        found.model.rpn.conv.weight += 1
    assert not torch.equal(found.model.rpn.conv.weight, theirs["rpn.head.conv.0.0.weight"])


def test_a_converted_model_is_saved_with_its_trial_and_loaded(theirs, tmp_path):
    found = convert(theirs)
    save_model(found.model, found.trial, tmp_path / "m.safetensors", found.classes)
    again, trial, classes = load_model(tmp_path / "m.safetensors")
    assert (trial, classes) == (found.trial, ("class 1", "class 2", "class 3"))
    mine = found.model.state_dict()
    assert all(torch.equal(v, mine[k]) for k, v in again.state_dict().items())


MISSING = [
    "backbone.body.conv1.weight",
    "backbone.body.layer1.0.conv1.weight",
    "backbone.body.layer1.0.conv2.weight",
    "backbone.body.layer3.5.bn2.running_var",
    "backbone.fpn.inner_blocks.3.0.bias",
    "rpn.head.conv.0.0.weight",
    "rpn.head.cls_logits.bias",
    "rpn.head.bbox_pred.weight",
    "roi_heads.box_head.fc6.weight",
    "roi_heads.box_head.fc7.bias",
    "roi_heads.box_predictor.cls_score.bias",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.box_predictor.bbox_pred.bias",
    "roi_heads.mask_head.2.0.weight",
    "roi_heads.mask_predictor.mask_fcn_logits.weight",
]


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_parameter_is_named_as_its_peer_calls_it(theirs, name):
    short = {k: v for k, v in theirs.items() if k != name}
    with pytest.raises(ValueError, match="the state dict: ") as caught:
        convert(short)
    said = str(caught.value)
    stage = name.startswith("backbone.body.layer1.0.conv1")  # its absence is a block's
    layer = name.rpartition(".")[0]
    assert layer in said or (stage and "blocks per stage (2, 4, 6, 3)" in said), said
    assert "\n" not in said


def test_a_file_cut_short_names_what_is_missing(theirs):
    half = dict(list(theirs.items())[: len(theirs) // 2])
    with pytest.raises(ValueError, match=r"cut short: roi_heads\.box_predictor\.cls_score\.bias"):
        convert(half)


def test_parameters_of_another_shape_and_of_another_network_are_named(theirs):
    wrong = theirs | {"rpn.head.cls_logits.weight": torch.zeros(5, 256, 1, 1)}
    with pytest.raises(ValueError, match=r"1 of another shape \(rpn\.head\.cls_logits\.weight: "):
        convert(wrong)
    with pytest.raises(ValueError, match="no parameter of torchvision is called 'rpn.more'"):
        convert(theirs | {"rpn.more": torch.zeros(1)})
    norm = {"backbone.fpn.layer_blocks.2.1.weight": torch.zeros(256)}
    with pytest.raises(ValueError, match=r"1 unexpected \(backbone\.fpn\.layer_blocks\.2\.1\."):
        convert(theirs | norm)
    with pytest.raises(ValueError, match="names of no detector"):
        convert({"encoder.weight": torch.zeros(1)})


def test_two_names_for_one_parameter_are_both_named(theirs):
    twice = theirs | {"rpn.head.conv.weight": theirs["rpn.head.conv.0.0.weight"]}
    with pytest.raises(ValueError, match="'rpn.head.conv.0.0.weight' and 'rpn.head.conv.weight'"):
        convert(twice)


def test_every_trial_that_is_detected_has_a_name_to_ask_for():
    from mrcnn.weights.converting import LAYOUTS as READ

    detected = [v.trial for peer in READ.values() for v in peer.variants.values()]
    assert all(trial in PEERS.values() for trial in detected)
    assert PEERS["torchvision_coco_v1"] not in detected  # names of parameters cannot tell it
