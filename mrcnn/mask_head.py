"""The mask branch: its heads, its two losses, and what a head is asked to draw."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

import kernels
from mrcnn.averages import average
from mrcnn.box_head import column


@dataclass(frozen=True, kw_only=True)
class FCNMaskHead:
    """3x3 convolutions, a stride-2 deconvolution and a 1x1 predictor: masks stay pixels throughout.

    convs      4 with FPN and C5; 0 in C4, where res5 came before
    roi_size   bins per side of the RoI features it reads; the mask is twice as large

    Source: He et al. 2017, Fig. 4 and Table 2e.
    """

    convs: int = 4
    width: int = 256
    roi_size: int = 14

    def __post_init__(self) -> None:
        if self.convs < 0 or min(self.width, self.roi_size) < 1:
            raise ValueError(f"a mask head needs positive sizes, got {self}")

    def build(self, channels: int, masks: int, roi_size: int) -> nn.Module:
        layers: list[nn.Module] = []
        for before in [channels, *[self.width] * self.convs][: self.convs]:
            layers += [nn.Conv2d(before, self.width, 3, padding=1), nn.ReLU(inplace=True)]
        deep = self.width if self.convs else channels
        layers += [nn.ConvTranspose2d(deep, self.width, 2, stride=2), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(self.width, masks, 1)]
        return _initialised(nn.Sequential(*layers))


@dataclass(frozen=True, kw_only=True)
class MLPMaskHead:
    """Fully connected layers that draw all pixels of all masks at once.

    widths     of the hidden layers; the paper's rows are (1024, 1024) and (1024, 1024, 1024)
    roi_size   as in `FCNMaskHead`

    Source: He et al. 2017, Table 2e.
    """

    widths: tuple[int, ...] = (1024, 1024)
    roi_size: int = 14

    def __post_init__(self) -> None:
        if min(*self.widths, self.roi_size, 1) < 1:
            raise ValueError(f"a mask head needs positive sizes, got {self}")

    def build(self, channels: int, masks: int, roi_size: int) -> nn.Module:
        side = 2 * roi_size
        layers: list[nn.Module] = [nn.Flatten()]
        widths = (channels * roi_size**2, *self.widths)
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        layers += [nn.Linear(widths[-1], masks * side**2), nn.Unflatten(1, (masks, side, side))]
        return _initialised(nn.Sequential(*layers))


AnyMaskHead = FCNMaskHead | MLPMaskHead


def _initialised(head: nn.Sequential) -> nn.Sequential:
    for layer in head:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            layer.bias.data.zero_()  # type: ignore[union-attr]
    return head


@dataclass(frozen=True)
class SigmoidMaskLoss:
    """Each class has a mask of its own, and only the true class's is trained: no competition.

    Source: He et al. 2017, sec. 3, "L_mask"; Table 2b, row "sigmoid".
    """

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
            return logits.sum() * 0.0
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

    Source: He et al. 2017, Table 2b, row "softmax".
    """

    decode: Literal["half", "beats background"] = "half"

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
            return logits.sum() * 0.0
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


@dataclass(frozen=True, kw_only=True)
class MaskTargets:
    """What the mask of a RoI should be: its object's bitmap, seen through the RoI.

    sampling_ratio, aligned   of the RoIAlign that reads the bitmap
    threshold                 the share of a mask pixel that must be object; None keeps the share
                              itself as a soft target (torchvision)

    Source: He et al. 2017, sec. 3.1: "the intersection between an RoI and its associated
    ground-truth mask"; detectron2 for 1/2 and adaptive sampling.
    """

    sampling_ratio: int | Literal["adaptive"] = "adaptive"
    aligned: bool = True
    threshold: float | None = 0.5

    def __call__(
        self,
        masks: Bool[Tensor, "g h w"],
        index: Int[Tensor, " n"],
        rois: Float[Tensor, "n 4"],
        size: int,
    ) -> Float[Tensor, "n {size} {size}"]:
        """(n, size, size) targets of n RoIs, RoI i showing object `index[i]`."""
        return kernels.crop_masks(
            masks,
            index,
            rois.float(),
            size=size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True)
class Paste:
    """From a mask in the frame of its box to a bitmap of the image.

    method      "exact": read at the centre of every image pixel, box not rounded (detectron2);
                "grown": box rounded outward and resized (torchvision)
    threshold   probability at which a pixel is set

    Source: He et al. 2017, sec. 3.1 "Inference" (resize to the RoI, binarise at 0.5).
    """

    method: Literal["exact", "grown"] = "exact"
    threshold: float = 0.5

    def __call__(
        self, masks: Float[Tensor, "n m m"], boxes: Float[Tensor, "n 4"], size: tuple[int, int]
    ) -> Bool[Tensor, "n h w"]:
        return kernels.paste_masks(
            masks, boxes, size=size, method=self.method, threshold=self.threshold
        )
