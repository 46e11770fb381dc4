"""Everything that decides a training run, as frozen values."""

from dataclasses import dataclass, field
from typing import Literal

from mrcnn.backbone import C4, C5, FPN, Res5
from mrcnn.box_head import AnyBoxHead, FCBoxHead, MeanBoxHead
from mrcnn.boxes import BoxConvention
from mrcnn.data.coco import CocoFolder
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import AnyTransform, Resize
from mrcnn.detection import Detection
from mrcnn.keypoint_head import KeypointDecode, KeypointHead, KeypointLoss
from mrcnn.levels import LevelRule
from mrcnn.mask_head import (
    AnyMaskHead,
    AnyMaskLoss,
    FCNMaskHead,
    SigmoidMaskLoss,
)
from mrcnn.mask_targets import AnyMaskTargets, MaskTargets
from mrcnn.matching import Matching
from mrcnn.optimise import TrainConfig
from mrcnn.paste import Paste
from mrcnn.pretrain import DensePretraining
from mrcnn.roi_ops import AnyRoIOp, RoIAlign
from mrcnn.rpn import RPN
from mrcnn.spec import NOT_IDENTITY, PREDICTION_ONLY
from mrcnn.structures import IMAGENET_MEAN, IMAGENET_STD, PixelFormat, PixelOrder
from mrcnn.views import TestTimeAugmentation


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network. Equal configs build equal networks; nothing here is derived from anything else.

    roi_trunk             res5 on every RoI; needed by C4, and by nothing else
    mask_head             None builds a box detector (Faster R-CNN)
    class_agnostic_masks  one mask per RoI instead of one per class
    keypoint_head         None builds no keypoint branch; with both, masks and keypoints share boxes
    num_keypoints         of each object: 17 for COCO's people, 3 in Shapes
    rpn_features          "shared": one backbone for the RPN and the RoIs (every peer); "separate":
                          the RPN has one of its own, from the same initial weights if those are
                          given, and no gradient goes from one to the other: with
                          train.rpn_steps, the paper's main tables ("trained separately and do not
                          share features", sec. 3.1)
    num_classes           foreground classes; background is never counted
    box_convention        "continuous": a box is x2 - x1 wide (detectron2, mmdetection,
                          torchvision); "inclusive": x2 - x1 + 1 (Detectron): see `BoxConvention`.
                          Detectron goes over to it, and back, at the original image's scale, here
                          at the network's: under a resize by s, sides differ by up to s - 1 pixels.
                          Its FPN level rule and paste are `LevelRule` and `Paste`. Matterport's
                          corners in units of width - 1 are not modelled
    rois_per_image        trained on, at most: 512 in every peer (and the paper's FPN), Matterport
                          200, the paper's C4 64
    positive_fraction     of them that have an object, at most: 0.25, Matterport 0.33
    fill_negatives        True: background fills what is left (the paper and all peers but one);
                          False: there is only as much as keeps the fraction (Matterport)
    roi_matching          RoIs to objects: 0.5; mmdetection's FPN has keep_best with least_best 0.5
                          and claimed_by "claimer"
    add_ground_truth      objects' own boxes among the proposals: all peers but Matterport
    pixel_mean, pixel_std   subtracted and divided by, in `pixel_order` and 0 .. `pixel_range`
    pixel_order           of the channels that the network reads, whatever images come as: "rgb" in
                          torchvision, mmdetection's style "pytorch" and Matterport; "bgr" in
                          Detectron, detectron2 and mmdetection's style "caffe"
    pixel_range           1: torchvision; 255: all others. 1 with the ImageNet mean and std is 255
                          with mean (123.675, 116.28, 103.53) and std (58.395, 57.12, 57.375),
                          mmdetection's; Detectron and detectron2 divide by 1
    pad_to                sides of a batch are padded, after normalisation, with zeros to a multiple
                          of it: 32 everywhere with an FPN and in mmdetection; 1, so only to the
                          largest image of the batch, in Detectron's and detectron2's C4; 64 in
                          Matterport, which pads before (`SquarePad`)

    Raises ValueError on a combination no network can have.
    Source: He et al. 2017, sec. 3, "Network Architecture" and sec. 3.1.
    """

    backbone: C4 | C5 | FPN = FPN()
    rpn: RPN = RPN()
    roi_op: AnyRoIOp = RoIAlign()
    roi_trunk: Res5 | None = None
    box_head: AnyBoxHead = FCBoxHead()
    mask_head: AnyMaskHead | None = FCNMaskHead()
    mask_loss: AnyMaskLoss = SigmoidMaskLoss()
    class_agnostic_masks: bool = False
    mask_targets: AnyMaskTargets = MaskTargets()
    detection: Detection = field(default=Detection(), metadata=PREDICTION_ONLY)
    paste: Paste = field(default=Paste(), metadata=PREDICTION_ONLY)
    keypoint_head: KeypointHead | None = None
    keypoint_loss: KeypointLoss = KeypointLoss()
    keypoint_decode: KeypointDecode = field(default=KeypointDecode(), metadata=PREDICTION_ONLY)
    num_keypoints: int = 17
    rpn_features: Literal["shared", "separate"] = "shared"
    num_classes: int = 80
    rois_per_image: int = 512
    positive_fraction: float = 0.25
    roi_matching: Matching = Matching(positive=0.5, negative=0.5)
    add_ground_truth: bool = True
    fill_negatives: bool = True
    box_convention: BoxConvention = "continuous"
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD
    pixel_order: PixelOrder = "rgb"
    pixel_range: Literal[1, 255] = 1
    pad_to: int = 32

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.rois_per_image < 1:
            raise ValueError(f"need at least 1, got {self.num_classes=}, {self.rois_per_image=}")
        if self.num_keypoints < 1:
            raise ValueError(f"num_keypoints must be at least 1, got {self.num_keypoints}")
        if not 0 <= self.positive_fraction <= 1:
            raise ValueError(f"positive_fraction must be 0 to 1, got {self.positive_fraction}")
        if isinstance(self.backbone, C4) != (self.roi_trunk is not None):
            raise ValueError("C4 needs roi_trunk=Res5(), and only C4 can have one")
        if self.pad_to < 1 or min(self.pixel_std) <= 0:
            raise ValueError(
                f"pad_to and pixel_std must be positive, got {self.pad_to}, {self.pixel_std}"
            )
        if (self.roi_trunk is None) == isinstance(self.box_head, MeanBoxHead):
            raise ValueError("MeanBoxHead goes with roi_trunk=Res5(), the other heads without it")

    @property
    def box_roi_size(self) -> int:
        """Bins per side of the RoI features of the box branch, before res5 if RoIs run it."""
        if self.roi_trunk:
            return self.roi_trunk.roi_size
        assert not isinstance(self.box_head, MeanBoxHead)
        return self.box_head.roi_size

    @property
    def mask_roi_size(self) -> int:
        """The same for the mask branch."""
        if self.roi_trunk:
            return self.roi_trunk.roi_size
        return self.mask_head.roi_size if self.mask_head else 0

    @property
    def mask_size(self) -> int:
        """Side of the predicted mask, in mask pixels: 14 for C4, 28 for FPN and C5."""
        return self.mask_head.growth * self.mask_features_size if self.mask_head else 0

    @property
    def mask_features_size(self) -> int:
        """Side of the features that the mask head itself reads: after res5 if RoIs run it."""
        return self.mask_roi_size // (self.roi_trunk.stride if self.roi_trunk else 1)

    @property
    def keypoint_roi_size(self) -> int:
        """Bins per side of the RoI features of the keypoint branch, before res5 if RoIs run it."""
        if self.roi_trunk:
            return self.roi_trunk.roi_size
        return self.keypoint_head.roi_size if self.keypoint_head else 0

    @property
    def pixels(self) -> PixelFormat:
        """How images are read."""
        return PixelFormat(
            mean=self.pixel_mean,
            std=self.pixel_std,
            order=self.pixel_order,
            top=self.pixel_range,
            pad_to=self.pad_to,
        )

    @property
    def canonical_side(self) -> float:
        return self.backbone.canonical_side if isinstance(self.backbone, FPN) else 224.0

    @property
    def levels(self) -> LevelRule:
        return self.backbone.levels if isinstance(self.backbone, FPN) else LevelRule()


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How a trained network is scored on the validation images.

    transforms       of each image before the network sees it
    max_detections   per image in the average precision: 100 for COCO
    augment          several views of each image, one by one; None looks once, as all main tables
                     of the paper and all peers do by default
    pose_score       what ranks detections in the keypoint AP: "box", their class score (the
                     peers, and Detectron's KEYPOINT_CONFIDENCE: bbox), or "keypoints", the mean
                     score of their keypoints (Detectron's logit and prob, by keypoint_decode)
    """

    transforms: tuple[AnyTransform, ...] = (Resize(),)
    max_detections: int = 100
    batch_size: int = 1
    augment: TestTimeAugmentation | None = None
    pose_score: Literal["box", "keypoints"] = "box"

    def __post_init__(self) -> None:
        if min(self.max_detections, self.batch_size) < 1:
            raise ValueError(f"need at least 1, got {self.max_detections=}, {self.batch_size=}")


@dataclass(frozen=True, kw_only=True)
class BodyWeights:
    """What a ResNet trunk starts from: a torchvision classifier's state dict, .pth or .safetensors.

    sha256   of the file, which is what the trial's identity depends on
    """

    file: str = field(metadata=NOT_IDENTITY)
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that decides one training run. Equal trials differ by hardware noise alone.

    pretraining   of the trunk, on dense labels of the same data
    body          the trunk's weights from a file instead; without either they are random

    Raises ValueError if both are given, or if the RPN is to be trained first on shared features.
    """

    model: ModelConfig = ModelConfig()
    data: Shapes | CocoFolder = field(default_factory=Shapes)
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = field(default=EvaluateConfig(), metadata=PREDICTION_ONLY)
    pretraining: DensePretraining | None = None
    body: BodyWeights | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pretraining is not None and self.body is not None:
            raise ValueError("pretraining and body weights exclude each other: choose one")
        if self.train.rpn_steps and self.model.rpn_features == "shared":
            raise ValueError(
                f"train.rpn_steps must be 0 with model.rpn_features='shared', "
                f"got {self.train.rpn_steps}: what the RPN reads would go on changing"
            )
