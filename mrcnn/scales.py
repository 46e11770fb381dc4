"""The one function that brings any trial to a smaller scale."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from mrcnn.backbone import C5, FPN
from mrcnn.box_head import AnyBoxHead, ConvBoxHead, FCBoxHead
from mrcnn.config import EvaluateConfig, ModelConfig, Trial
from mrcnn.data.drawing import KEYPOINTS
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import Dihedral
from mrcnn.keypoint_head import KeypointHead
from mrcnn.mask_head import AnyMaskHead, FCNMaskHead, MLPMaskHead
from mrcnn.mask_targets import AnyMaskTargets, MaskTargets, PolygonTargets
from mrcnn.optimise import AdamW, CosineSchedule, TrainConfig
from mrcnn.pretrain import DensePretraining
from mrcnn.spec import unknown
from mrcnn.trunk import AnyTrunk, ResNet, SmallResNet


def at_scale(trial: Trial, scale: str) -> Trial:
    """The same trial with everything but the varied choices brought to a size.

    "coco"    as it stands: the paper's recipe, on GPUs
    "medium"  Shapes at 512 px, the trial's own trunk and heads, 300 steps: for one GPU
    "small"   Shapes at 128 px, our small trunk, 300 steps: minutes on two CPU cores
    "smoke"   the same code path in seconds; its numbers mean nothing

    Raises ValueError for an unknown scale. Source: our own measurements, no paper.
    """
    if scale not in SCALES:
        raise ValueError(unknown(scale, list(SCALES), "scale"))
    return SCALES[scale](trial)


def medium(trial: Trial) -> Trial:
    """True trunks at their true strides (C5 at 32) and true heads on large Shapes, in bf16.

    Timed on one H200, of R50-FPN: 387 ms a step, 0.27 s for each validation image, 0.1 s on one
    core to draw an image. So a trial is to take two and a half minutes, and the data as long, once.
    What such trials reach has not been seen: none was run to its end.
    The trunk starts from dense pretraining instead of ImageNet, so its batch norm learns and all
    of its stages do.
    """
    dense = replace(
        DensePretraining().train, optimiser=AdamW(rate=5e-4), warmup_steps=50, precision="bf16"
    )
    return replace(
        trial,
        model=_medium_model(trial.model),
        data=Shapes(size=512, train=1500, val=100),
        train=TrainConfig(
            steps=300,
            batch_size=16,
            optimiser=AdamW(rate=5e-4),
            schedule=CosineSchedule(),
            warmup_steps=100,
            warmup_factor=0.0,
            clip=5.0,
            precision="bf16",
            augment=(Dihedral(),),
        ),
        evaluate=_of_shapes(trial.evaluate),
        pretraining=DensePretraining(train=dense),
        body=None,
    )


def small(trial: Trial) -> Trial:
    """C4 at its stride 16, FPN at 4, 8 and 16, C5 at 16 instead of 32; about a fifth of the width.

    At stride 32 a picture of 128 px has 4 x 4 cells, in which nothing could be told apart.
    A long pretraining, once per trunk, pays for short trials. Mask AP of C4 with RoIAlign after 300
    steps (200 images, one seed): 9.4 from 500 steps of pretraining; 10.7 with the stem and res2
    constant, as in every peer, which takes a sixth off a step; 16.2 from 2 x 500 steps, and then
    7.1 with RoIPool, 6.1 with softmax masks. Half the batch and 550 steps, or twice the rate as
    well, gained less than 1.
    """
    dense = replace(DensePretraining().train, steps=1000)
    return replace(
        trial,
        model=_small_model(trial.model),
        data=Shapes(val=300),
        train=TrainConfig(
            steps=300,
            batch_size=8,
            optimiser=AdamW(),
            schedule=CosineSchedule(),
            warmup_steps=50,
            warmup_factor=0.0,
            clip=5.0,
            augment=(Dihedral(),),
        ),
        evaluate=_of_shapes(trial.evaluate),
        pretraining=DensePretraining(train=dense),
        body=None,
    )


def smoke(trial: Trial) -> Trial:
    """Small, then cut to eight steps on a handful of images."""
    trial = small(trial)
    trunk = trial.model.backbone.trunk
    assert isinstance(trunk, SmallResNet)
    tiny = replace(trunk, widths=(8, 8, 16, 16, 32), blocks=trunk.blocks // 2)
    backbone = replace(trial.model.backbone, trunk=tiny)
    pretraining = DensePretraining(train=replace(DensePretraining().train, steps=8, batch_size=4))
    return replace(
        trial,
        model=replace(trial.model, backbone=backbone),
        data=Shapes(size=64, train=48, val=12),
        train=replace(trial.train, steps=8, batch_size=4, warmup_steps=4),
        pretraining=pretraining,
    )


def _of_shapes(evaluate: EvaluateConfig) -> EvaluateConfig:
    """Whole pictures, eight at a time; what else an evaluation says stays."""
    return replace(evaluate, transforms=(), batch_size=8)


def _medium_model(model: ModelConfig) -> ModelConfig:
    """Its own, for eight classes; fewer RoIs, as a picture has six objects at most."""
    rpn = model.rpn
    few = replace(
        rpn,
        pre_nms_train=min(rpn.pre_nms_train, 1000),
        pre_nms_test=min(rpn.pre_nms_test, 1000),
        post_nms_train=min(rpn.post_nms_train, 300),
        post_nms_test=min(rpn.post_nms_test, 300),
    )
    return replace(
        model,
        backbone=replace(model.backbone, trunk=_from_scratch(model.backbone.trunk)),
        rpn=few,
        mask_targets=_without_polygons(model.mask_targets),
        num_keypoints=len(KEYPOINTS),
        detection=replace(model.detection, nms_iou=0.5),
        num_classes=8,
        rois_per_image=min(model.rois_per_image, 128),
    )


def _from_scratch(trunk: AnyTrunk) -> AnyTrunk:
    """Frozen statistics mean nothing to weights that do not come with them."""
    if isinstance(trunk, SmallResNet):
        return trunk
    norm = "batch" if trunk.norm in ("frozen", "eval") else trunk.norm
    return replace(trunk, norm=norm, trainable_stages=5)


def _small_model(model: ModelConfig) -> ModelConfig:
    sizes: tuple[tuple[float, ...], ...] = ((20.0, 36.0, 64.0),)
    backbone = replace(model.backbone, trunk=_small_trunk(model))
    if isinstance(backbone, FPN):
        backbone = replace(
            backbone, channels=48, strides=(4, 8, 16), extra_level=False, canonical_side=56.0
        )
        sizes = ((20.0,), (36.0,), (64.0,))
    rpn = replace(
        model.rpn,
        width=model.rpn.width and model.rpn.width * 3 // 16,
        anchors=replace(model.rpn.anchors, sizes=sizes),
        pre_nms_train=256,
        pre_nms_test=256,
        post_nms_train=48,
        post_nms_test=48,
        anchors_per_image=128,
    )
    return replace(
        model,
        backbone=backbone,
        rpn=rpn,
        box_head=_small_box_head(model.box_head),
        mask_head=_small_mask_head(model.mask_head),
        mask_targets=_without_polygons(model.mask_targets),
        keypoint_head=_small_keypoint_head(model.keypoint_head),
        num_keypoints=len(KEYPOINTS),
        detection=replace(model.detection, nms_iou=0.5),
        num_classes=8,
        rois_per_image=16,
        positive_fraction=0.4,
    )


def _small_trunk(model: ModelConfig) -> SmallResNet:
    """With the strides in the same convolutions; C5 at 16 in place of 32.

    Two blocks a stage stand for ResNet-50, four for deeper ones, four grouped ones for ResNeXt.
    The stem and res2 stay as they were pretrained, as every peer's do.
    """
    trunk = model.backbone.trunk
    c5 = isinstance(model.backbone, C5)
    strides = (2, 2, 2, 1 if c5 else 2, 2)
    made = SmallResNet(stride_in=trunk.stride_in, strides=strides, trainable_stages=3)
    if isinstance(trunk, ResNet):
        deep, grouped = trunk.depth > 50, trunk.groups > 1
        made = replace(made, blocks=4 if deep else 2, groups=4 if grouped else 1)
    return made


def _without_polygons(targets: AnyMaskTargets) -> AnyMaskTargets:
    """Of bitmaps, which is what Shapes has."""
    return MaskTargets() if isinstance(targets, PolygonTargets) else targets


def _small_box_head(head: AnyBoxHead) -> AnyBoxHead:
    if isinstance(head, (FCBoxHead, ConvBoxHead)):
        head = replace(head, widths=tuple(width // 4 for width in head.widths))
    if isinstance(head, ConvBoxHead):
        head = replace(head, width=head.width * 3 // 16)
    return replace(head, class_agnostic=True)


def _small_mask_head(head: AnyMaskHead | None) -> AnyMaskHead | None:
    if isinstance(head, FCNMaskHead):
        return replace(head, width=head.width * 3 // 16)
    if isinstance(head, MLPMaskHead):
        return replace(head, widths=tuple(width // 4 for width in head.widths))
    return None


def _small_keypoint_head(head: KeypointHead | None) -> KeypointHead | None:
    return head and replace(head, convs=head.convs // 2, width=head.width // 8)


SCALES: Mapping[str, Callable[[Trial], Trial]] = {
    "coco": lambda trial: trial,
    "medium": medium,
    "small": small,
    "smoke": smoke,
}
