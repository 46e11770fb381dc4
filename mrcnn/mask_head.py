"""The mask branch: its heads and its two losses."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mrcnn.averages import average
from mrcnn.box_head import column
from mrcnn.norms import AnyNorm, convolution
from mrcnn.spec import PREDICTION_ONLY

Init = Literal["msra", "gaussian", "glorot"]
"""Random weights: normal of variance 2 / fan out, normal of deviation 0.001, Glorot uniform."""


@dataclass(frozen=True, kw_only=True)
class FCNMaskHead:
    """3x3 convolutions, a stride-2 deconvolution and a 1x1 predictor: masks stay pixels throughout.

    convs           4 with FPN and C5; 0 in C4, where res5 came before
    roi_size        bins per side of the RoI features it reads
    norm            after each 3x3 convolution, which then has no bias: "none" (the paper,
                    Detectron, detectron2, mmdetection, torchvision v1), "batch" (torchvision v2,
                    Matterport, whose convolutions keep a bias that the norm absorbs), "group"
                    (Detectron's and detectron2's GN baselines), "sync" (detectron2's "new
                    baselines")
    deconvs         each doubles the side: 1 everywhere; 2 give masks of 56 x 56 from 14 x 14
    upsample        bilinear enlargement of the predicted logits; 1 everywhere, and 2 is another
                    way to 56 x 56 (Detectron's MRCNN.UPSAMPLE_RATIO, whose border falls to 0)
    init            of convolutions and deconvolutions: "msra" (the baselines of Detectron, which
                    sets it in each, detectron2, mmdetection, torchvision), "gaussian" (Detectron's
                    default), "glorot" (Matterport, Keras's default)
    predictor_init  of the 1x1 predictor: "msra" (Detectron, mmdetection, torchvision), "gaussian"
                    (detectron2; Detectron for class-agnostic masks, which may diverge without),
                    "glorot" (Matterport)

    Source: He et al. 2017, Fig. 4 and Table 2e; Detectron, modeling/mask_rcnn_heads.py;
    detectron2, roi_heads/mask_head.py; mmdetection, mask_heads/fcn_mask_head.py; torchvision,
    mask_rcnn.py; Matterport, model.py, build_fpn_mask_graph.
    """

    convs: int = 4
    width: int = 256
    roi_size: int = 14
    norm: AnyNorm = "none"
    deconvs: int = 1
    upsample: int = 1
    init: Init = "msra"
    predictor_init: Init = "msra"

    def __post_init__(self) -> None:
        least = min(self.convs, self.deconvs)
        if least < 0 or min(self.width, self.roi_size, self.upsample) < 1:
            raise ValueError(f"a mask head needs positive sizes, got {self}")

    @property
    def growth(self) -> int:
        """How many times as large as the RoI features the mask is, along each side."""
        return int(2**self.deconvs) * self.upsample

    def build(self, channels: int, masks: int, roi_size: int) -> nn.Module:
        layers: list[nn.Module] = []
        for _ in range(self.convs):
            layers += [*convolution(channels, self.width, 3, self.norm), nn.ReLU(inplace=True)]
            channels = self.width
        for _ in range(self.deconvs):
            layers += [nn.ConvTranspose2d(channels, self.width, 2, stride=2), nn.ReLU(inplace=True)]
            channels = self.width
        layers += [nn.Conv2d(channels, masks, 1)]
        if self.upsample > 1:
            layers += [nn.Upsample(scale_factor=self.upsample, mode="bilinear")]
        return _initialised(nn.Sequential(*layers), self.init, self.predictor_init)


@dataclass(frozen=True, kw_only=True)
class MLPMaskHead:
    """Fully connected layers that draw all pixels of all masks at once.

    widths                of the hidden layers; the paper's rows are (1024, 1024) and
                          (1024, 1024, 1024)
    roi_size              as in `FCNMaskHead`; the mask is twice as large
    init, predictor_init  as in `FCNMaskHead`; Detectron's MRCNN.USE_FC_OUTPUT predicts from
                          "gaussian", the paper does not say

    Source: He et al. 2017, Table 2e.
    """

    widths: tuple[int, ...] = (1024, 1024)
    roi_size: int = 14
    init: Init = "msra"
    predictor_init: Init = "msra"

    def __post_init__(self) -> None:
        if min(*self.widths, self.roi_size, 1) < 1:
            raise ValueError(f"a mask head needs positive sizes, got {self}")

    @property
    def growth(self) -> int:
        """As in `FCNMaskHead`."""
        return 2

    def build(self, channels: int, masks: int, roi_size: int) -> nn.Module:
        side = self.growth * roi_size
        layers: list[nn.Module] = [nn.Flatten()]
        widths = (channels * roi_size**2, *self.widths)
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        layers += [nn.Linear(widths[-1], masks * side**2), nn.Unflatten(1, (masks, side, side))]
        return _initialised(nn.Sequential(*layers), self.init, self.predictor_init)


AnyMaskHead = FCNMaskHead | MLPMaskHead


def _initialised(head: nn.Sequential, init: Init, predictor_init: Init) -> nn.Sequential:
    weighted = [x for x in head if isinstance(x, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    for layer in weighted:
        kind = predictor_init if layer is weighted[-1] else init
        if kind == "msra":
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif kind == "gaussian":
            nn.init.normal_(layer.weight, std=0.001)
        else:
            nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return head


def own_logits(
    head: nn.Module, features: Float[Tensor, "r c s s"], labels: Int[Tensor, " r"]
) -> Float[Tensor, "r 1 m m"]:
    """The logits of each RoI's class alone: those of a dense head, without the other classes'.

    labels   of the RoIs, as for the mask loss; a head of one mask has the same for all

    Neither in training nor in predicting is there an (r, k, m, m) tensor, which for LVIS's 1,203
    classes would take 3.7 MB per RoI. Only for losses in which classes do not compete.
    """
    assert isinstance(head, nn.Sequential)
    at = max(i for i, x in enumerate(head) if isinstance(x, (nn.Conv2d, nn.Linear)))
    hidden, predictor, last = head[:at](features), head[at], head[at + 1 :]
    if isinstance(predictor, nn.Linear):
        masks, *sides = last[0].unflattened_size  # type: ignore
        pixels = _class_by_class(predictor, hidden, column(labels, masks), masks)
        return pixels.unflatten(1, (1, *sides))
    assert isinstance(predictor, nn.Conv2d)
    assert predictor.bias is not None
    rows = column(labels, predictor.out_channels)
    weight, bias = predictor.weight[rows].flatten(1), predictor.bias[rows]
    mixed = torch.bmm(weight[:, None], hidden.flatten(2)) + bias[:, None, None]
    drawn: Tensor = last(mixed.unflatten(2, hidden.shape[2:]))
    return drawn


def _class_by_class(
    predictor: nn.Linear, hidden: Float[Tensor, "r w"], rows: Int[Tensor, " r"], masks: int
) -> Float[Tensor, "r p"]:
    """A fully connected predictor, whose weights are too many to be copied for each RoI."""
    used, which = rows.unique(return_inverse=True)
    weights = predictor.weight.unflatten(0, (masks, -1))[used].unbind()
    biases = predictor.bias.unflatten(0, (masks, -1))[used].unbind()
    order, parts = [], [hidden.new_zeros(0, predictor.out_features // masks)]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        order.append((which == i).nonzero()[:, 0])
        parts.append(F.linear(hidden[order[-1]], weight, bias))
    drawn = torch.cat(parts)
    unused = hidden.sum() + predictor.weight.sum() + predictor.bias.sum()
    return drawn[torch.cat(order).argsort()] if order else drawn + 0.0 * unused


@dataclass(frozen=True)
class SigmoidMaskLoss:
    """Each class has a mask of its own, and only the true class's is trained: no competition.

    Every implementation averages over all pixels of all positives; Detectron does so by dividing
    by the pixels whose target is not "ignore", which are those of the true class's mask.
    Source: He et al. 2017, sec. 3, "L_mask"; Table 2b, row "sigmoid".
    """

    @property
    def competing(self) -> bool:
        """Whether a mask depends on the logits of other classes."""
        return False

    def channels(self, num_classes: int) -> int:
        return num_classes

    def __call__(
        self,
        logits: Float[Tensor, "n k m m"],
        labels: Int[Tensor, " n"],
        targets: Float[Tensor, "n m m"],
    ) -> Float[Tensor, ""]:
        """Mean binary cross-entropy over the pixels of all positive RoIs; 0 without any."""
        chosen = _of_class(logits, labels, logits.shape[1])
        if not len(chosen):
            return average(logits.sum() * 0.0, 0)
        entropy = F.binary_cross_entropy_with_logits(chosen, targets, reduction="sum")
        return average(entropy, targets.numel())

    def probabilities(
        self, logits: Float[Tensor, "n k m m"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n m m"]:
        """The predicted class's mask probability at each mask pixel."""
        return _of_class(logits, labels, logits.shape[1]).sigmoid()


@dataclass(frozen=True, kw_only=True)
class SoftmaxMaskLoss:
    """One distribution over K classes and background per pixel: the classes compete.

    The paper does not say whether background is a channel; here it is, last. The target is the
    RoI's class inside the object and background outside.
    decode   "half": a pixel is set where p_class >= 1/2; "beats background": where
             p_class >= p_background. About half of the measured gap to sigmoid is this choice.

    All K + 1 channels of every RoI are computed: the memory grows with the number of classes.

    Source: He et al. 2017, Table 2b, row "softmax".
    """

    decode: Literal["half", "beats background"] = field(default="half", metadata=PREDICTION_ONLY)

    @property
    def competing(self) -> bool:
        """As in `SigmoidMaskLoss`."""
        return True

    def channels(self, num_classes: int) -> int:
        return num_classes + 1

    def __call__(
        self,
        logits: Float[Tensor, "n k m m"],
        labels: Int[Tensor, " n"],
        targets: Float[Tensor, "n m m"],
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy over the pixels of all positive RoIs; 0 without any."""
        if not len(logits):
            return average(logits.sum() * 0.0, 0)
        background = logits.shape[1] - 1
        inside = column(labels, background)[:, None, None]
        wanted = torch.where(targets >= 0.5, inside, background)
        return average(F.cross_entropy(logits, wanted, reduction="sum"), wanted.numel())

    def probabilities(
        self, logits: Float[Tensor, "n k m m"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n m m"]:
        """A value that reaches 1/2 exactly where `decode` sets the pixel."""
        chosen = _of_class(logits, labels, logits.shape[1] - 1)
        rest = logits[:, -1] if self.decode == "beats background" else None
        if rest is not None:
            return (chosen - rest).sigmoid()
        return (chosen - logits.logsumexp(1)).exp()


AnyMaskLoss = SigmoidMaskLoss | SoftmaxMaskLoss


def _of_class(logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, column(labels, classes)]
