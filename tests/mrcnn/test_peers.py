"""The peers' trials say what the peers' own configurations say.

detectron2's and mmdetection's resolved configurations stand in the golden files; torchvision's
choices are read from the modules it builds; Detectron's and Matterport's are formulas of their text
and stand in table "choice -> field".
"""

import json
from pathlib import Path

import pytest
import torch
from torchvision.models import detection

from mrcnn.config import Trial
from mrcnn.model import MaskRCNN
from mrcnn.peers import (
    DETECTRON2_C4,
    DETECTRON2_FPN,
    DETECTRON_C4,
    DETECTRON_FPN,
    MATTERPORT,
    MMDETECTION_C4,
    MMDETECTION_FPN,
    PEERS,
    TORCHVISION,
    TORCHVISION_V2,
)
from mrcnn.spec import diff

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def resolved(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())["config"]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_a_short_list_of_differences_that_can_be_built(name):
    assert len(list(diff(Trial(), PEERS[name]))) <= 45
    with torch.device("meta"):
        MaskRCNN(PEERS[name].model)


@pytest.mark.parametrize(
    ("name", "trial"),
    [("detectron2_R_50_FPN", DETECTRON2_FPN), ("detectron2_R_50_C4", DETECTRON2_C4)],
)
def test_detectron2_as_its_resolved_configuration(name, trial):
    theirs, ours = resolved(name), trial.model
    rpn, heads, boxes = theirs["RPN"], theirs["ROI_HEADS"], theirs["ROI_BOX_HEAD"]
    assert ours.pixel_mean == pytest.approx(theirs["PIXEL_MEAN"])
    assert ours.pixel_std == tuple(theirs["PIXEL_STD"])
    trunk = ours.backbone.trunk
    assert (trunk.stride_in == "1x1") == theirs["RESNETS"]["STRIDE_IN_1X1"]
    assert trunk.norm == {"FrozenBN": "frozen"}[theirs["RESNETS"]["NORM"]]
    assert trunk.trainable_stages == 5 - theirs["BACKBONE"]["FREEZE_AT"]
    assert [list(s) for s in ours.rpn.anchors.sizes] == theirs["ANCHOR_GENERATOR"]["SIZES"]
    assert [list(ours.rpn.anchors.ratios)] == theirs["ANCHOR_GENERATOR"]["ASPECT_RATIOS"]
    assert ours.rpn.anchors.offset == theirs["ANCHOR_GENERATOR"]["OFFSET"]
    assert ours.rpn.pre_nms_train == rpn["PRE_NMS_TOPK_TRAIN"]
    assert ours.rpn.pre_nms_test == rpn["PRE_NMS_TOPK_TEST"]
    assert ours.rpn.post_nms_train == rpn["POST_NMS_TOPK_TRAIN"]
    assert ours.rpn.post_nms_test == rpn["POST_NMS_TOPK_TEST"]
    assert ours.rpn.nms_iou == rpn["NMS_THRESH"]
    assert ours.rpn.beta == rpn["SMOOTH_L1_BETA"]
    assert ours.rpn.coder.weights == tuple(rpn["BBOX_REG_WEIGHTS"])
    assert [ours.rpn.matching.negative, ours.rpn.matching.positive] == rpn["IOU_THRESHOLDS"]
    assert (ours.rpn.straddle is None) == (rpn["BOUNDARY_THRESH"] < 0)
    assert ours.rpn.anchors_per_image == rpn["BATCH_SIZE_PER_IMAGE"]
    assert ours.num_classes == heads["NUM_CLASSES"]
    assert ours.rois_per_image == heads["BATCH_SIZE_PER_IMAGE"]
    assert ours.positive_fraction == heads["POSITIVE_FRACTION"]
    assert ours.add_ground_truth == heads["PROPOSAL_APPEND_GT"]
    assert ours.detection.min_score == heads["SCORE_THRESH_TEST"]
    assert ours.detection.nms_iou == heads["NMS_THRESH_TEST"]
    assert ours.box_head.beta == boxes["SMOOTH_L1_BETA"]
    assert ours.box_head.coder.weights == tuple(boxes["BBOX_REG_WEIGHTS"])
    assert ours.box_roi_size == boxes["POOLER_RESOLUTION"]
    assert ours.roi_op.aligned == (boxes["POOLER_TYPE"] == "ROIAlignV2")
    assert ours.roi_op.sampling_ratio == (boxes["POOLER_SAMPLING_RATIO"] or "adaptive")
    assert ours.mask_head.convs == theirs["ROI_MASK_HEAD"]["NUM_CONV"]
    assert ours.mask_roi_size == theirs["ROI_MASK_HEAD"]["POOLER_RESOLUTION"]


@pytest.mark.parametrize(
    ("name", "trial"),
    [("mmdetection_R_50_FPN", MMDETECTION_FPN), ("mmdetection_R_50_C4", MMDETECTION_C4)],
)
def test_mmdetection_as_its_resolved_configuration(name, trial):
    theirs, ours = resolved(name), trial.model
    pixels, body, rpn = (theirs[k] for k in ("data_preprocessor", "backbone", "rpn_head"))
    training, testing = theirs["train_cfg"], theirs["test_cfg"]
    assert ours.pixel_mean == tuple(pixels["mean"])
    assert ours.pixel_std == tuple(pixels["std"])
    assert (ours.pixel_order == "rgb") == pixels["bgr_to_rgb"]
    assert ours.pad_to == pixels["pad_size_divisor"]
    trunk = ours.backbone.trunk
    assert trunk.stride_in == {"pytorch": "3x3", "caffe": "1x1"}[body["style"]]
    assert trunk.norm == ("eval" if body["norm_cfg"]["requires_grad"] else "frozen")
    generator = rpn["anchor_generator"]
    scales = [[s * stride for s in generator["scales"]] for stride in generator["strides"]]
    assert [list(s) for s in ours.rpn.anchors.sizes] == scales
    assert list(ours.rpn.anchors.ratios) == generator["ratios"]
    assigner = training["rpn"]["assigner"]
    assert ours.rpn.matching.positive == assigner["pos_iou_thr"]
    assert ours.rpn.matching.negative == assigner["neg_iou_thr"]
    assert ours.rpn.matching.least_best == assigner["min_pos_iou"]
    assert ours.rpn.matching.keep_best == assigner["match_low_quality"]
    assert (-1 if ours.rpn.straddle is None else ours.rpn.straddle) == (
        training["rpn"]["allowed_border"]
    )
    assert ours.rpn.pre_nms_train == training["rpn_proposal"]["nms_pre"]
    assert ours.rpn.post_nms_train == training["rpn_proposal"]["max_per_img"]
    assert ours.rpn.pre_nms_test == testing["rpn"]["nms_pre"]
    assert ours.rpn.post_nms_test == testing["rpn"]["max_per_img"]
    assert ours.rpn.beta == {"L1Loss": 0}[rpn["loss_bbox"]["type"]]
    assigner, sampler = training["rcnn"]["assigner"], training["rcnn"]["sampler"]
    assert ours.roi_matching.positive == assigner["pos_iou_thr"]
    assert ours.roi_matching.keep_best == assigner["match_low_quality"]
    assert ours.rois_per_image == sampler["num"]
    assert ours.positive_fraction == sampler["pos_fraction"]
    assert ours.add_ground_truth == sampler["add_gt_as_proposals"]
    head = theirs["roi_head"]["bbox_head"]
    weights = [1 / std for std in head["bbox_coder"]["target_stds"]]
    assert list(ours.box_head.coder.weights) == pytest.approx(weights)
    assert ours.box_head.beta == {"L1Loss": 0}[head["loss_bbox"]["type"]]
    layer = theirs["roi_head"]["bbox_roi_extractor"]["roi_layer"]
    assert ours.box_roi_size == layer["output_size"]
    assert ours.roi_op.sampling_ratio == (layer["sampling_ratio"] or "adaptive")
    assert ours.mask_size == training["rcnn"]["mask_size"]
    assert ours.detection.min_score == testing["rcnn"]["score_thr"]
    assert ours.detection.nms_iou == testing["rcnn"]["nms"]["iou_threshold"]
    assert ours.detection.limit == testing["rcnn"]["max_per_img"]


@pytest.mark.parametrize(
    ("builder", "trial"),
    [("maskrcnn_resnet50_fpn", TORCHVISION), ("maskrcnn_resnet50_fpn_v2", TORCHVISION_V2)],
)
def test_torchvision_as_the_modules_it_builds(builder, trial):
    with torch.device("meta"):
        theirs = getattr(detection, builder)(weights=None, weights_backbone=None)
    ours, rpn, heads = trial.model, theirs.rpn, theirs.roi_heads
    assert ours.rpn.anchors.sizes == tuple(rpn.anchor_generator.sizes)
    assert ours.rpn.pre_nms_test == rpn._pre_nms_top_n["testing"]
    assert ours.rpn.post_nms_train == rpn._post_nms_top_n["training"]
    assert ours.rpn.nms_iou == rpn.nms_thresh
    assert ours.rpn.min_side == rpn.min_size
    assert ours.rpn.convs == len(rpn.head.conv)
    assert ours.roi_op.sampling_ratio == heads.box_roi_pool.sampling_ratio
    assert ours.detection.min_score == heads.score_thresh
    assert ours.detection.nms_iou == heads.nms_thresh
    assert ours.box_head.coder.weights == heads.box_coder.weights
    assert ours.rois_per_image == heads.fg_bg_sampler.batch_size_per_image
    assert ours.positive_fraction == heads.fg_bg_sampler.positive_fraction
    assert list(ours.pixel_mean) == theirs.transform.image_mean
    assert ours.pad_to == theirs.transform.size_divisible


@pytest.mark.parametrize("name", PEERS)
def test_each_peer_brings_images_to_size_by_its_own_rule(name):
    """In training and in evaluation; Matterport pads to a square, torchvision v2 jitters."""
    wanted = name.split("_")[0]
    trial = PEERS[name]
    rules = {
        t.rule for t in (*trial.train.augment, *trial.evaluate.transforms) if hasattr(t, "rule")
    }
    assert rules == (set() if wanted == "matterport" else {wanted})
    drawn = type(trial.train.augment[0]).__name__
    special = {"matterport": "SquarePad", "torchvision_v2": "LargeScaleJitter"}
    assert drawn == special.get(name, "Resize")


@pytest.mark.parametrize("name", [n for n in PEERS if n != "matterport"])
def test_losses_are_divided_per_process_as_the_peers_do(name):
    train = PEERS[name].train
    assert train.normaliser == "per_rank"
    groups = {"detectron": 0, "detectron2": 1, "mmdetection": 1, "torchvision": 7}
    assert len(train.aspect_groups) == groups[name.split("_")[0]]


def test_detectron_and_matterport_as_table_2_2_has_them():
    """By formula: neither's code is at hand."""
    for trial in (DETECTRON_FPN, DETECTRON_C4):
        model = trial.model
        assert (model.pixel_order, model.pixel_mean[0]) == ("bgr", 102.9801)
        assert (model.box_convention, model.roi_op.aligned) == ("inclusive", False)
        assert (model.rpn.straddle, model.rpn.beta, model.box_head.beta) == (0.0, 1 / 9, 1.0)
        assert (model.rois_per_image, model.paste.method) == (512, "inclusive")
    assert DETECTRON_C4.model.roi_op.sampling_ratio == "adaptive"
    assert (DETECTRON_C4.model.roi_trunk.roi_size, DETECTRON_C4.model.roi_trunk.stride) == (14, 2)
    model = MATTERPORT.model
    assert model.backbone.trunk.depth == 101
    assert (model.rpn.width, model.rpn.objectness) == (512, "softmax")
    assert model.rpn.coder.weights == model.box_head.coder.weights == (10.0, 10.0, 5.0, 5.0)
    assert (model.rois_per_image, model.positive_fraction) == (200, 0.33)
    assert (model.detection.nms_iou, model.detection.min_score) == (0.3, 0.7)
    assert not model.add_ground_truth
    assert not model.fill_negatives
