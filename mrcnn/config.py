"""Everything that decides a training run, as frozen values."""

from dataclasses import dataclass, field

from mrcnn.backbone import C4, C5, FPN, Res5
from mrcnn.box_head import AnyBoxHead, Detection, FCBoxHead, MeanBoxHead
from mrcnn.data.coco import CocoFolder
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import AnyTransform, Resize
from mrcnn.mask_head import (
    AnyMaskHead,
    AnyMaskLoss,
    FCNMaskHead,
    MaskTargets,
    Paste,
    SigmoidMaskLoss,
)
from mrcnn.matching import Matching
from mrcnn.optimise import TrainConfig
from mrcnn.pretrain import DensePretraining
from mrcnn.roi_ops import AnyRoIOp, RoIAlign
from mrcnn.rpn import RPN
from mrcnn.spec import NOT_IDENTITY
from mrcnn.structures import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network. Equal configs build equal networks; nothing here is derived from anything else.

    roi_trunk             res5 on every RoI; needed by C4, and by nothing else
    mask_head             None builds a box detector (Faster R-CNN)
    class_agnostic_masks  one mask per RoI instead of one per class
    num_classes           foreground classes; background is never counted
    rois_per_image, positive_fraction, roi_matching, add_ground_truth   the RoIs trained on
    pixel_mean, pixel_std                 of RGB in 0 .. 1

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
    mask_targets: MaskTargets = MaskTargets()
    detection: Detection = Detection()
    paste: Paste = Paste()
    num_classes: int = 80
    rois_per_image: int = 512
    positive_fraction: float = 0.25
    roi_matching: Matching = Matching(positive=0.5, negative=0.5)
    add_ground_truth: bool = True
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.rois_per_image < 1:
            raise ValueError(f"need at least 1, got {self.num_classes=}, {self.rois_per_image=}")
        if not 0 <= self.positive_fraction <= 1:
            raise ValueError(f"positive_fraction must be 0 to 1, got {self.positive_fraction}")
        if isinstance(self.backbone, C4) != (self.roi_trunk is not None):
            raise ValueError("C4 needs roi_trunk=Res5(), and only C4 can have one")
        if (self.roi_trunk is None) == isinstance(self.box_head, MeanBoxHead):
            raise ValueError("MeanBoxHead goes with roi_trunk=Res5(), FCBoxHead without it")

    @property
    def box_roi_size(self) -> int:
        """Bins per side of the RoI features of the box branch, before res5 if RoIs run it."""
        if self.roi_trunk:
            return self.roi_trunk.roi_size
        assert isinstance(self.box_head, FCBoxHead)
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
        stride = self.roi_trunk.stride if self.roi_trunk else 1
        return 2 * self.mask_roi_size // stride

    @property
    def canonical_side(self) -> float:
        return self.backbone.canonical_side if isinstance(self.backbone, FPN) else 224.0


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How a trained network is scored on the validation images.

    transforms       of each image before the network sees it
    max_detections   per image in the average precision: 100 for COCO
    """

    transforms: tuple[AnyTransform, ...] = (Resize(),)
    max_detections: int = 100
    batch_size: int = 1

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

    Raises ValueError if both are given.
    """

    model: ModelConfig = ModelConfig()
    data: Shapes | CocoFolder = field(default_factory=Shapes)
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    pretraining: DensePretraining | None = None
    body: BodyWeights | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pretraining is not None and self.body is not None:
            raise ValueError("pretraining and body weights exclude each other: choose one")
