"""Named trials."""

from dataclasses import replace

from mrcnn.anchors import Anchors
from mrcnn.backbone import C4, C5, FPN, Res5
from mrcnn.box_head import MeanBoxHead
from mrcnn.config import EvaluateConfig, ModelConfig, Trial
from mrcnn.data.coco import CocoFolder
from mrcnn.data.transforms import AnyTransform, Dihedral, Flip, RandomCrop, Resize, ResizeRange
from mrcnn.detection import Detection
from mrcnn.keypoint_head import KeypointHead
from mrcnn.mask_head import FCNMaskHead
from mrcnn.optimise import SGD, StepSchedule, TrainConfig
from mrcnn.peers import PEERS
from mrcnn.pretrain import DensePretraining
from mrcnn.rpn import RPN
from mrcnn.scales import SCALES as SCALES
from mrcnn.scales import at_scale as at_scale
from mrcnn.scales import small
from mrcnn.trunk import ResNet

PAPER_NMS = Detection(nms_iou=0.3)
"""The paper's main tables; 0.5 belongs to its updated baseline (appendix B)."""

ONE_LEVEL = RPN(
    anchors=Anchors(sizes=((32.0, 64.0, 128.0, 256.0, 512.0),)),
    pre_nms_train=12_000,
    pre_nms_test=6_000,
    post_nms_test=300,
)
"""15 anchors per cell of a single map; 300 test proposals (He et al. 2017, sec. 3.1)."""


def _c4(depth: int) -> ModelConfig:
    return ModelConfig(
        backbone=C4(trunk=ResNet(depth=depth)),  # type: ignore[arg-type]
        rpn=ONE_LEVEL,
        roi_trunk=Res5(),
        box_head=MeanBoxHead(),
        mask_head=FCNMaskHead(convs=0),
        rois_per_image=64,
        detection=PAPER_NMS,
    )


R50_C4 = Trial(model=_c4(50))
R101_C4 = Trial(model=_c4(101))
R50_C5 = Trial(
    model=ModelConfig(backbone=C5(), rpn=ONE_LEVEL, rois_per_image=64, detection=PAPER_NMS)
)
R50_FPN = Trial(model=ModelConfig(detection=PAPER_NMS))
R101_FPN = Trial(model=ModelConfig(backbone=FPN(trunk=ResNet(depth=101)), detection=PAPER_NMS))

X101_FPN = Trial(
    model=ModelConfig(
        backbone=FPN(trunk=ResNet(depth=101, groups=32, width_per_group=8)), detection=PAPER_NMS
    ),
    train=TrainConfig(batch_size=8, optimiser=SGD(rate=0.01)),
)
"""One image per GPU, at half the rate (He et al. 2017, sec. 3.1)."""


def stage_wise(trial: Trial) -> Trial:
    """The RPN trained first and apart, features not shared: the paper's main tables (sec. 3.1)."""
    steps = trial.train.steps
    return replace(
        trial,
        model=replace(trial.model, rpn_features="separate"),
        train=replace(trial.train, steps=2 * steps, rpn_steps=steps),
    )


R50_FPN_KEYPOINTS = Trial(
    model=ModelConfig(mask_head=None, keypoint_head=KeypointHead(), num_classes=1),
    data=CocoFolder(
        root="coco",
        train="annotations/person_keypoints_train.json",
        val="annotations/person_keypoints_val.json",
        least_keypoints=1,
    ),
    train=TrainConfig(
        steps=90_000,
        schedule=StepSchedule(milestones=(6 / 9, 8 / 9)),
        augment=(ResizeRange(), Flip()),
    ),
)
"""People and their 17 keypoints (He et al. 2017, sec. 5): 640 to 800 pixels, NMS at 0.5."""

R50_FPN_MASK_KEYPOINTS = replace(
    R50_FPN_KEYPOINTS, model=replace(R50_FPN_KEYPOINTS.model, mask_head=FCNMaskHead())
)
"""Box, mask and keypoints at once (He et al. 2017, Table 5, last row)."""


def _real(steps: int, pretraining_steps: int, augment: tuple[AnyTransform, ...]) -> Trial:
    """The small FPN on photographs or microscopy, from dense pretraining on the same images.

    That is too short for any stage to stay as it is.
    """
    trial = small(R50_FPN)
    trunk = replace(trial.model.backbone.trunk, trainable_stages=5)
    dense = replace(
        DensePretraining().train, steps=pretraining_steps, batch_size=8, augment=augment
    )
    return replace(
        trial,
        model=replace(
            trial.model,
            backbone=replace(trial.model.backbone, trunk=trunk),
            rpn=replace(
                trial.model.rpn,
                pre_nms_train=600,
                pre_nms_test=1000,
                post_nms_train=200,
                post_nms_test=500,
            ),
            rois_per_image=32,
        ),
        train=replace(trial.train, steps=steps, warmup_steps=100, augment=augment),
        pretraining=DensePretraining(train=dense),
    )


def _nuclei() -> Trial:
    """Small round objects, hundreds an image: fine anchors, random crops, whole images to test."""
    trial = _real(600, 200, (RandomCrop(size=160), Dihedral()))
    anchors = replace(trial.model.rpn.anchors, sizes=((12.0,), (24.0,), (48.0,)))
    model = replace(
        trial.model,
        rpn=replace(trial.model.rpn, anchors=anchors),
        detection=replace(trial.model.detection, limit=400),
        num_classes=1,
    )
    evaluate = EvaluateConfig(transforms=(), max_detections=400)
    return replace(trial, model=model, evaluate=evaluate)


def _photographs(*augment: AnyTransform) -> Trial:
    """COCO's 80 classes at 192 px: enough to learn a few images by heart, not to learn COCO."""
    view = Resize(short=(192,), long=256)
    trial = _real(600, 200, (view, *augment))
    anchors = replace(trial.model.rpn.anchors, sizes=((24.0,), (64.0,), (140.0,)))
    rpn = replace(trial.model.rpn, anchors=anchors)
    model = replace(trial.model, rpn=rpn, num_classes=80)
    return replace(trial, model=model, evaluate=EvaluateConfig(transforms=(view,)))


PRESETS = {
    "r50_c4": R50_C4,
    "r101_c4": R101_C4,
    "r50_c5": R50_C5,
    "r50_fpn": R50_FPN,
    "r101_fpn": R101_FPN,
    "r50_fpn_keypoints": R50_FPN_KEYPOINTS,
    "r50_fpn_mask_keypoints": R50_FPN_MASK_KEYPOINTS,
    "x101_fpn": X101_FPN,
    "paper_c4": stage_wise(R50_C4),
    "paper_fpn": stage_wise(R50_FPN),
    **PEERS,
    "small_c4": small(R50_C4),
    "small_c5": small(R50_C5),
    "small_fpn": small(R50_FPN),
    "small_keypoints": small(R50_FPN_KEYPOINTS),
    "nuclei": _nuclei(),
    "photographs": _photographs(Flip()),
    "by_heart": _photographs(),
}
