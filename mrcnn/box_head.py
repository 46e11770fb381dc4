"""Which class a RoI is of and where exactly its box lies."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

import kernels
from mrcnn.averages import average
from mrcnn.boxes import clip, decode, encode, large_enough
from mrcnn.structures import Detections

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of the box head's deltas: they bring dx, dy, dw, dh to about unit variance (Girshick 2015)."""


@dataclass(frozen=True, kw_only=True)
class FCBoxHead:
    """Flattened RoI features through fully connected layers (FPN and C5).

    roi_size        bins per side of the RoI features it reads
    class_agnostic  one box per RoI instead of one per class
    beta            where the smooth L1 loss turns linear: 1 in Fast R-CNN, 1/9 in torchvision

    Source: Lin et al. 2017 (FPN), sec. 4.2; He et al. 2017, Fig. 4 right.
    """

    widths: tuple[int, ...] = (1024, 1024)
    roi_size: int = 7
    class_agnostic: bool = False
    beta: float = 1.0

    def build(self, channels: int, num_classes: int) -> "BoxHead":
        widths = (channels * self.roi_size**2, *self.widths)
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        boxes = 1 if self.class_agnostic else num_classes
        return BoxHead(nn.Sequential(*layers), widths[-1], num_classes, boxes)


@dataclass(frozen=True, kw_only=True)
class MeanBoxHead:
    """The spatial mean of RoI features that res5 has already processed (C4).

    Fields as in `FCBoxHead`. Source: He et al. 2017, Fig. 4 left; He et al. 2016, appendix A.
    """

    class_agnostic: bool = False
    beta: float = 1.0

    def build(self, channels: int, num_classes: int) -> "BoxHead":
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return BoxHead(mean, channels, num_classes, 1 if self.class_agnostic else num_classes)


AnyBoxHead = FCBoxHead | MeanBoxHead


class BoxHead(nn.Module):
    """(class logits, background first; deltas of each box the head predicts)."""

    def __init__(self, body: nn.Module, width: int, num_classes: int, boxes: int) -> None:
        super().__init__()
        self.body = body
        self.classes = nn.Linear(width, num_classes + 1)
        self.deltas = nn.Linear(width, 4 * boxes)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        for layer in (self.classes, self.deltas):
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: Float[Tensor, "r c s s"]
    ) -> tuple[Float[Tensor, "r k1"], Float[Tensor, "r b 4"]]:
        hidden = self.body(features)
        return self.classes(hidden).float(), self.deltas(hidden).float().unflatten(1, (-1, 4))


def box_losses(
    logits: Float[Tensor, "r k1"],
    deltas: Float[Tensor, "r b 4"],
    labels: Int[Tensor, " r"],
    rois: Float[Tensor, "r 4"],
    boxes: Float[Tensor, "r 4"],
    beta: float,
) -> dict[str, Float[Tensor, ""]]:
    """Cross-entropy of the class and smooth L1 of the true class's deltas, over all sampled RoIs.

    labels   0 for background, whose RoIs count in both averages but have no box error
    boxes    the object each RoI was matched to; not read where the label is 0

    Source: Girshick 2015, eq. 1 to 3.
    """
    positive = (labels > 0).nonzero()[:, 0]
    wanted = encode(boxes[positive], rois[positive], WEIGHTS)
    error = deltas[positive, column(labels[positive], deltas.shape[1])] - wanted
    smooth = F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="sum")
    return {
        "class": average(F.cross_entropy(logits, labels, reduction="sum"), len(labels)),
        "box": average(smooth + 0.0 * deltas.sum(), len(labels)),
    }


def column(labels: Int[Tensor, " r"], outputs: int) -> Int[Tensor, " r"]:
    """Where the output for each label stands: label - 1, or 0 in a class-agnostic head."""
    return labels - 1 if outputs > 1 else torch.zeros_like(labels)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """From class scores to the final boxes of an image.

    min_score    a class scoring at most this is not a candidate
    nms_iou      class-wise NMS: 0.3 in the paper's main tables, 0.5 in its updated baseline
    limit        detections kept per image, over all classes
    min_side     boxes narrower than this are dropped; 0 drops empty ones

    Source: He et al. 2017, sec. 3.1 "Inference"; appendix B for the thresholds.
    """

    min_score: float = 0.05
    nms_iou: float = 0.5
    limit: int = 100
    min_side: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.min_score <= 1 and 0 <= self.nms_iou <= 1) or self.limit < 1:
            raise ValueError(f"need thresholds of 0 to 1 and a limit of at least 1, got {self}")

    def __call__(
        self,
        logits: Float[Tensor, "r k1"],
        deltas: Float[Tensor, "r b 4"],
        rois: Float[Tensor, "r 4"],
        size: tuple[int, int],
    ) -> Detections:
        """Detections of one image of `size` (height, width), best first; masks still missing."""
        scores = logits.softmax(1)[:, 1:]
        boxes = clip(decode(deltas, rois, WEIGHTS), size)
        boxes = boxes.expand(-1, scores.shape[1], -1)
        roi, label = (scores > self.min_score).nonzero(as_tuple=True)
        boxes, scores = boxes[roi, label], scores[roi, label]
        good = large_enough(boxes, self.min_side) & boxes.isfinite().all(1)
        boxes, scores, label = boxes[good], scores[good], label[good]
        kept = kernels.batched_nms(boxes, scores, label, iou_threshold=self.nms_iou)[: self.limit]
        return Detections(boxes[kept], label[kept] + 1, scores[kept])
