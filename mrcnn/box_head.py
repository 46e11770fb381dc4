"""Which class a RoI is of and where exactly its box lies: the heads and their losses."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mrcnn.averages import average
from mrcnn.boxes import BOX_HEAD_CODER, BoxCoder
from mrcnn.norms import AnyNorm, convolution
from mrcnn.rpn import smooth_l1

BoxNormaliser = Literal["sampled", "positives"]
"""What the box loss of a batch is divided by: "sampled", all RoIs that were sampled (Girshick 2015;
Detectron, detectron2, mmdetection, torchvision); "positives", 4 times those with an object, so the
mean over their deltas (Matterport, from its text alone).
"""


@dataclass(frozen=True, kw_only=True)
class FCBoxHead:
    """Flattened RoI features through fully connected layers (FPN and C5).

    roi_size        bins per side of the RoI features it reads
    class_agnostic  one box per RoI instead of one per class (an option of every peer but
                    torchvision and Matterport; R-FCN's choice)
    coder           of the deltas
    beta            where the smooth L1 loss turns linear: 1 (Fast R-CNN, Detectron, Matterport),
                    1/9 (torchvision), 0 for plain L1 (detectron2, mmdetection)
    box_normaliser  see `BoxNormaliser`

    Source: Lin et al. 2017 (FPN), sec. 4.2; He et al. 2017, Fig. 4 right.
    """

    widths: tuple[int, ...] = (1024, 1024)
    roi_size: int = 7
    class_agnostic: bool = False
    coder: BoxCoder = BOX_HEAD_CODER
    beta: float = 1.0
    box_normaliser: BoxNormaliser = "sampled"

    def __post_init__(self) -> None:
        check_head(self.beta, *self.widths, self.roi_size)

    def build(self, channels: int, num_classes: int) -> "BoxHead":
        widths = (channels * self.roi_size**2, *self.widths)
        body = nn.Sequential(nn.Flatten(), *fully_connected(widths))
        return BoxHead(body, widths[-1], num_classes, 1 if self.class_agnostic else num_classes)


@dataclass(frozen=True, kw_only=True)
class ConvBoxHead:
    """3x3 convolutions on the RoI features, then fully connected layers: 4conv1fc by default.

    convs, width    of the 3x3 convolutions
    norm            after each of them: "group" (Wu and He; Detectron's and detectron2's GN
                    baselines), "batch" (torchvision v2), "sync" (mmdetection, detectron2's new
                    baselines); with "none" they have biases
    widths          of the fully connected layers
    The other fields as in `FCBoxHead`.

    Source: Wu and He 2018, "Group Normalization", sec. 4.2: the head with four convolutions.
    """

    convs: int = 4
    width: int = 256
    norm: AnyNorm = "none"
    widths: tuple[int, ...] = (1024,)
    roi_size: int = 7
    class_agnostic: bool = False
    coder: BoxCoder = BOX_HEAD_CODER
    beta: float = 1.0
    box_normaliser: BoxNormaliser = "sampled"

    def __post_init__(self) -> None:
        check_head(self.beta, *self.widths, self.roi_size, self.convs, self.width)

    def build(self, channels: int, num_classes: int) -> "BoxHead":
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *[self.width] * self.convs]):
            layers += [*convolution(before, after, 3, self.norm), nn.ReLU(inplace=True)]
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        widths = (self.width * self.roi_size**2, *self.widths)
        body = nn.Sequential(*layers, nn.Flatten(), *fully_connected(widths))
        return BoxHead(body, widths[-1], num_classes, 1 if self.class_agnostic else num_classes)


@dataclass(frozen=True, kw_only=True)
class MeanBoxHead:
    """The spatial mean of RoI features that res5 has already processed (C4).

    Fields as in `FCBoxHead`. Source: He et al. 2017, Fig. 4 left; He et al. 2016, appendix A.
    """

    class_agnostic: bool = False
    coder: BoxCoder = BOX_HEAD_CODER
    beta: float = 1.0
    box_normaliser: BoxNormaliser = "sampled"

    def __post_init__(self) -> None:
        check_head(self.beta)

    def build(self, channels: int, num_classes: int) -> "BoxHead":
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return BoxHead(mean, channels, num_classes, 1 if self.class_agnostic else num_classes)


AnyBoxHead = FCBoxHead | ConvBoxHead | MeanBoxHead


def check_head(beta: float, *counts: int) -> None:
    """Raises ValueError for a negative beta or a size below 1."""
    if beta < 0 or min(counts, default=1) < 1:
        raise ValueError(f"a box head needs beta >= 0 and positive sizes, got {beta=}, {counts=}")


def fully_connected(widths: tuple[int, ...]) -> list[nn.Module]:
    """Linear layers from each width to the next, a ReLU after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return layers


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
    head: AnyBoxHead,
    logits: Float[Tensor, "r k1"],
    deltas: Float[Tensor, "r b 4"],
    labels: Int[Tensor, " r"],
    rois: Float[Tensor, "r 4"],
    boxes: Float[Tensor, "r 4"],
) -> dict[str, Float[Tensor, ""]]:
    """Cross-entropy of the class over all sampled RoIs, and smooth L1 of the true class's deltas.

    head     the coder, beta and box_normaliser of the loss
    labels   0 for background, whose RoIs have no box error
    boxes    the object each RoI was matched to; not read where the label is 0

    Source: Girshick 2015, eq. 1 to 3.
    """
    positive = (labels > 0).nonzero()[:, 0]
    wanted = head.coder.encode(boxes[positive], rois[positive])
    error = deltas[positive, column(labels[positive], deltas.shape[1])] - wanted
    count = len(labels) if head.box_normaliser == "sampled" else error.numel()
    return {
        "class": average(F.cross_entropy(logits, labels, reduction="sum"), len(labels)),
        "box": average(smooth_l1(error, head.beta) + 0.0 * deltas.sum(), count),
    }


def column(labels: Int[Tensor, " r"], outputs: int) -> Int[Tensor, " r"]:
    """Where the output for each label stands: label - 1, or 0 in a class-agnostic head."""
    return labels - 1 if outputs > 1 else torch.zeros_like(labels)
