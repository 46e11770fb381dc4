"""The published implementations as trials: each a list of what it does differently from `Trial()`.

A state dict holds none of this, so loading a peer's weights takes its trial from here. Detectron's
and Matterport's follow their text alone; the others are compared with the peer's code or with what
it computed (see `mrcnn.parity`).

Source: Detectron, core/config.py and configs/12_2017_baselines; detectron2 0.6, config/defaults.py
and configs/COCO-InstanceSegmentation; mmdetection 3.3, configs/_base_; torchvision 0.29,
models/detection; Matterport Mask_RCNN 2.1, mrcnn/config.py and model.py.
"""

from dataclasses import replace

from mrcnn.anchors import Anchors
from mrcnn.backbone import C4, C5, FPN, Res5
from mrcnn.box_head import ConvBoxHead, FCBoxHead, MeanBoxHead
from mrcnn.boxes import BoxCoder
from mrcnn.config import EvaluateConfig, ModelConfig, Trial
from mrcnn.data.transforms import Flip, LargeScaleJitter, Resize, SquarePad
from mrcnn.detection import Detection
from mrcnn.keypoint_head import KeypointDecode, KeypointHead, KeypointLoss
from mrcnn.levels import LevelRule
from mrcnn.mask_head import FCNMaskHead
from mrcnn.mask_targets import MaskTargets, MiniMaskTargets, PolygonTargets
from mrcnn.matching import Matching
from mrcnn.optimise import SGD, StepSchedule, TrainConfig
from mrcnn.paste import Paste
from mrcnn.roi_ops import CropAndResize, RoIAlign
from mrcnn.rpn import RPN
from mrcnn.trunk import ResNet

FIVE_SIZES = Anchors(sizes=((32.0, 64.0, 128.0, 256.0, 512.0),))
"""Of a single map (C4, DC5): 15 anchors per cell."""

ONE_X = TrainConfig(
    steps=90_000,
    schedule=StepSchedule(milestones=(2 / 3, 8 / 9)),
    augment=(Resize(rule="detectron"), Flip()),
    normaliser="per_rank",
)
"""Detectron's schedule of twelve epochs, after which detectron2's and mmdetection's are made."""

EPOCH = 117_266 / 16
"""Steps of 16 images through COCO's training images that have an object."""

# torchvision ------------------------------------------------------------------------------------

TORCHVISION = Trial(
    model=ModelConfig(
        rpn=RPN(anchors=Anchors(rounded=True, spacing="size"), min_side=1e-3, ranking="late"),
        roi_op=RoIAlign(aligned=False),
        box_head=FCBoxHead(beta=1 / 9),
        mask_targets=MaskTargets(aligned=False, threshold=None),
        detection=Detection(min_side=1e-2),
        paste=Paste(method="grown"),
    ),
    train=TrainConfig(
        steps=round(26 * EPOCH),
        schedule=StepSchedule(milestones=(16 / 26, 22 / 26)),
        warmup_steps=1000,
        warmup_factor=1e-3,
        normaliser="per_rank",
        aspect_groups=(0.5, 0.63, 0.79, 1.0, 1.26, 1.59, 2.0),
    ),
)
"""maskrcnn_resnet50_fpn, and without its mask head fasterrcnn_resnet50_fpn."""

TORCHVISION_COCO_V1 = replace(
    TORCHVISION,
    model=replace(TORCHVISION.model, backbone=FPN(trunk=ResNet(norm_eps=0.0))),
)
"""The same with the published COCO_V1 weights, after loading which torchvision sets eps to 0."""

TORCHVISION_KEYPOINTS = replace(
    TORCHVISION,
    model=replace(TORCHVISION.model, mask_head=None, keypoint_head=KeypointHead(), num_classes=1),
)
"""keypointrcnn_resnet50_fpn."""

TORCHVISION_V2 = Trial(
    model=replace(
        TORCHVISION.model,
        backbone=FPN(trunk=ResNet(norm="batch", trainable_stages=5), norm="batch"),
        rpn=replace(TORCHVISION.model.rpn, convs=2),
        box_head=ConvBoxHead(norm="batch", beta=1 / 9),
        mask_head=FCNMaskHead(norm="batch"),
    ),
    train=TrainConfig(
        steps=round(400 * EPOCH / 4),
        batch_size=64,
        optimiser=SGD(rate=0.1, weight_decay=4e-5),
        schedule=StepSchedule(milestones=(0.88, 0.96)),
        augment=(LargeScaleJitter(), Flip()),
        normaliser="per_rank",
        aspect_groups=TORCHVISION.train.aspect_groups,
    ),
)
"""maskrcnn_resnet50_fpn_v2 and fasterrcnn_resnet50_fpn_v2."""

# detectron2 -------------------------------------------------------------------------------------

SIX_SCALES = replace(
    ONE_X,
    warmup_steps=1000,
    warmup_factor=1e-3,
    augment=(Resize(short=(640, 672, 704, 736, 768, 800), rule="detectron2"), Flip()),
    aspect_groups=(1.0,),
)
THREE_X = replace(SIX_SCALES, steps=270_000, schedule=StepSchedule(milestones=(7 / 9, 25 / 27)))
DETECTRON2_FPN = Trial(
    model=ModelConfig(
        backbone=FPN(
            trunk=ResNet(stride_in="1x1"),
            levels=LevelRule(epsilon=1e-8, epsilon_in="quotient"),
        ),
        rpn=RPN(post_nms_train=1000, beta=0.0, class_normaliser="full", box_normaliser="full"),
        roi_op=RoIAlign(sampling_ratio="adaptive"),
        box_head=FCBoxHead(beta=0.0),
        mask_head=FCNMaskHead(predictor_init="gaussian"),
        mask_targets=PolygonTargets(),
        pixel_mean=(103.53, 116.28, 123.675),
        pixel_std=(1.0, 1.0, 1.0),
        pixel_order="bgr",
        pixel_range=255,
        keypoint_loss=KeypointLoss(rois="with keypoints"),
        keypoint_decode=KeypointDecode(score="share"),
    ),
    train=SIX_SCALES,
    evaluate=EvaluateConfig(transforms=(Resize(rule="detectron2"),)),
)
DETECTRON2_ONE_MAP = replace(
    DETECTRON2_FPN.model.rpn,
    anchors=FIVE_SIZES,
    pre_nms_train=12_000,
    pre_nms_test=6_000,
    post_nms_train=2_000,
)
DETECTRON2_C4 = replace(
    DETECTRON2_FPN,
    model=replace(
        DETECTRON2_FPN.model,
        backbone=C4(trunk=ResNet(stride_in="1x1")),
        rpn=DETECTRON2_ONE_MAP,
        roi_trunk=Res5(roi_size=14, stride=2),
        box_head=MeanBoxHead(beta=0.0),
        mask_head=FCNMaskHead(convs=0, predictor_init="gaussian"),
        pad_to=1,
    ),
)
DETECTRON2_DC5 = replace(
    DETECTRON2_FPN,
    model=replace(
        DETECTRON2_FPN.model,
        backbone=C5(trunk=ResNet(stride_in="1x1"), dilation=2),
        rpn=DETECTRON2_ONE_MAP,
        pad_to=1,
    ),
)

# mmdetection ------------------------------------------------------------------------------------

BOTH_WAYS = BoxCoder(growth_limit="both")
MMDETECTION_FPN = Trial(
    model=ModelConfig(
        backbone=FPN(
            trunk=ResNet(norm="eval", fix_statistics=True),
            levels=LevelRule(epsilon_in="quotient", counted_from="finest"),
        ),
        rpn=RPN(
            coder=BOTH_WAYS,
            post_nms_train=1000,
            ranking="probabilities",
            matching=Matching(
                positive=0.7, negative=0.3, keep_best=True, least_best=0.3, claimed_by="claimer"
            ),
            beta=0.0,
        ),
        roi_op=RoIAlign(sampling_ratio="adaptive"),
        box_head=FCBoxHead(beta=0.0, coder=replace(BOTH_WAYS, weights=(10.0, 10.0, 5.0, 5.0))),
        roi_matching=Matching(
            positive=0.5, negative=0.5, keep_best=True, least_best=0.5, claimed_by="claimer"
        ),
        pixel_mean=(123.675, 116.28, 103.53),
        pixel_std=(58.395, 57.12, 57.375),
        pixel_range=255,
    ),
    train=TrainConfig(
        steps=round(12 * EPOCH),
        schedule=StepSchedule(milestones=(8 / 12, 11 / 12)),
        warmup_factor=1e-3,
        augment=(Resize(rule="mmdetection"), Flip()),
        normaliser="per_rank",
        aspect_groups=(1.0,),
    ),
    evaluate=EvaluateConfig(transforms=(Resize(rule="mmdetection"),)),
)
"""mask-rcnn_r50_fpn, whose trunk is torchvision's."""

MMDETECTION_FPN_CAFFE = replace(
    MMDETECTION_FPN,
    model=replace(
        MMDETECTION_FPN.model,
        backbone=replace(MMDETECTION_FPN.model.backbone, trunk=ResNet(stride_in="1x1")),
        pixel_mean=DETECTRON2_FPN.model.pixel_mean,
        pixel_std=(1.0, 1.0, 1.0),
        pixel_order="bgr",
    ),
)
"""mask-rcnn_r50-caffe_fpn, whose trunk is MSRA's; its weights have the same names."""

MMDETECTION_C4 = replace(
    MMDETECTION_FPN_CAFFE,
    model=replace(
        MMDETECTION_FPN_CAFFE.model,
        backbone=C4(trunk=ResNet(stride_in="1x1")),
        rpn=replace(
            MMDETECTION_FPN.model.rpn,
            anchors=FIVE_SIZES,
            pre_nms_train=12_000,
            pre_nms_test=6_000,
            post_nms_train=2_000,
            straddle=0.0,
        ),
        roi_trunk=Res5(roi_size=14, stride=2),
        box_head=MeanBoxHead(beta=0.0, coder=MMDETECTION_FPN.model.box_head.coder),
        mask_head=FCNMaskHead(convs=0),
        roi_matching=Matching(positive=0.5, negative=0.5),
    ),
)

# Detectron --------------------------------------------------------------------------------------

DETECTRON_FPN = Trial(
    model=ModelConfig(
        backbone=FPN(
            trunk=ResNet(stride_in="1x1"),
            levels=LevelRule(epsilon_in="quotient", side_growth=1.0),
        ),
        rpn=RPN(
            anchors=Anchors(rounded="sides", offset=0.5),
            images_together=2,
            ranking="probabilities",
            straddle=0.0,
            class_normaliser="full",
        ),
        roi_op=RoIAlign(aligned=False),
        mask_targets=PolygonTargets(least_side=1.0, choose="overlap"),
        paste=Paste(method="inclusive"),
        box_convention="inclusive",
        pixel_mean=(102.9801, 115.9465, 122.7717),
        pixel_std=(1.0, 1.0, 1.0),
        pixel_order="bgr",
        pixel_range=255,
        keypoint_loss=KeypointLoss(rois="own draw"),
        keypoint_decode=KeypointDecode(score="probability"),
    ),
    train=ONE_X,
    evaluate=EvaluateConfig(transforms=(Resize(rule="detectron"),)),
)
DETECTRON_C4 = replace(
    DETECTRON_FPN,
    model=replace(
        DETECTRON_FPN.model,
        backbone=C4(trunk=ResNet(stride_in="1x1")),
        rpn=replace(
            DETECTRON_FPN.model.rpn,
            anchors=replace(FIVE_SIZES, rounded="sides", offset=0.5),
            pre_nms_train=12_000,
            pre_nms_test=6_000,
            images_together=1,
            class_normaliser="sampled",
        ),
        roi_op=RoIAlign(sampling_ratio="adaptive", aligned=False),
        roi_trunk=Res5(roi_size=14, stride=2),
        box_head=MeanBoxHead(),
        mask_head=FCNMaskHead(convs=0),
        pad_to=1,
    ),
)

# Matterport -------------------------------------------------------------------------------------

UNLIMITED = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), growth_limit="none")
SQUARE = SquarePad(size=1024, shorter=800)
MATTERPORT = Trial(
    model=ModelConfig(
        backbone=FPN(
            trunk=ResNet(
                depth=101, stride_in="1x1", norm_eps=1e-3, trainable_stages=5, pool="after"
            ),
            levels=LevelRule(epsilon=0.0, rounding="nearest", side_growth=-1.0, by_image=True),
        ),
        rpn=RPN(
            anchors=Anchors(ratios=(2.0, 1.0, 0.5)),
            width=512,
            objectness="softmax",
            coder=UNLIMITED,
            pre_nms_train=6000,
            pre_nms_test=6000,
            levels="together",
            ranking="probabilities",
            beta=1.0,
            box_normaliser="positives",
        ),
        roi_op=CropAndResize(),
        box_head=FCBoxHead(coder=UNLIMITED, box_normaliser="positives"),
        mask_head=FCNMaskHead(norm="frozen", init="glorot", predictor_init="glorot"),
        mask_targets=MiniMaskTargets(),
        detection=Detection(min_score=0.7, candidates="best", nms_iou=0.3),
        paste=Paste(method="whole"),
        rois_per_image=200,
        positive_fraction=0.33,
        fill_negatives=False,
        add_ground_truth=False,
        pixel_mean=(123.7, 116.8, 103.9),
        pixel_std=(1.0, 1.0, 1.0),
        pixel_range=255,
        pad_to=64,
    ),
    train=TrainConfig(optimiser=SGD(rate=1e-3), batch_size=16, clip=5.0, augment=(SQUARE, Flip())),
    evaluate=EvaluateConfig(transforms=(SQUARE,)),
)

PEERS = {
    "torchvision": TORCHVISION,
    "torchvision_coco_v1": TORCHVISION_COCO_V1,
    "torchvision_keypoints": TORCHVISION_KEYPOINTS,
    "torchvision_v2": TORCHVISION_V2,
    "detectron2_fpn": DETECTRON2_FPN,
    "detectron2_fpn_3x": replace(DETECTRON2_FPN, train=THREE_X),
    "detectron2_c4": DETECTRON2_C4,
    "detectron2_dc5": DETECTRON2_DC5,
    "mmdetection_fpn": MMDETECTION_FPN,
    "mmdetection_fpn_caffe": MMDETECTION_FPN_CAFFE,
    "mmdetection_c4": MMDETECTION_C4,
    "detectron_fpn": DETECTRON_FPN,
    "detectron_c4": DETECTRON_C4,
    "matterport": MATTERPORT,
}
"""By the name that `convert-weights --preset` takes."""
