"""The keypoint branch: one heat map for each keypoint of a RoI, and a point read from each.

A heat map of m x m cells covers its RoI. Cell i of a row covers [i, i + 1) m-ths of the RoI's
width, so a keypoint at x lies in cell floor((x - x1) * m / w), and a cell's middle is i + 0.5.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mrcnn.averages import average


@dataclass(frozen=True, kw_only=True)
class KeypointHead:
    """3x3 convolutions, a stride-2 deconvolution that predicts, and a bilinear enlargement.

    convs, width  8 convolutions of 512 channels: the paper, Detectron, detectron2, torchvision
    roi_size      bins per side of the RoI features it reads: 14
    upsample      factor of the enlargement: 2, so that 14 bins become 56 cells; 1 for none
    border        what the enlargement reads beyond the map: "replicate" its last cell (detectron2,
                  torchvision), or "zero" (Detectron's fixed deconvolution, which darkens the rim)

    Source: He et al. 2017, sec. 5; Detectron, keypoint_rcnn_heads.py and BilinearInterpolation.
    """

    convs: int = 8
    width: int = 512
    roi_size: int = 14
    upsample: int = 2
    border: Literal["replicate", "zero"] = "replicate"

    def __post_init__(self) -> None:
        if self.convs < 0 or min(self.width, self.roi_size, self.upsample) < 1:
            raise ValueError(f"a keypoint head needs positive sizes, got {self}")

    def build(self, channels: int, num_keypoints: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before in [channels, *[self.width] * self.convs][: self.convs]:
            layers += [nn.Conv2d(before, self.width, 3, padding=1), nn.ReLU(inplace=True)]
        deep = self.width if self.convs else channels
        layers += [nn.ConvTranspose2d(deep, num_keypoints, 4, stride=2, padding=1)]
        for layer in layers:
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        if self.upsample > 1:
            layers += [Enlarge(self.upsample, zero_border=self.border == "zero")]
        return nn.Sequential(*layers)


class Enlarge(nn.Module):
    """Bilinear enlargement by a whole factor, cells and not corners aligned."""

    def __init__(self, factor: int, *, zero_border: bool) -> None:
        super().__init__()
        self.factor, self.zero_border = factor, zero_border

    def forward(self, maps: Float[Tensor, "r k h w"]) -> Float[Tensor, "r k h2 w2"]:
        maps = F.pad(maps, [1] * 4) if self.zero_border else maps
        big = F.interpolate(maps, scale_factor=float(self.factor), mode="bilinear")
        f = self.factor
        return big[..., f:-f, f:-f] if self.zero_border else big


def cells(
    keypoints: Float[Tensor, "n k 3"], rois: Float[Tensor, "n 4"], size: int
) -> tuple[Int[Tensor, "n k"], Bool[Tensor, "n k"]]:
    """Which of the size x size cells each keypoint lies in, by row, and whether it counts.

    It counts if it is annotated (visibility above 0, so hidden ones do) and inside its RoI; one
    exactly on the right or lower edge lies in the last cell. The cell of others is 0.

    Source: Detectron, utils/keypoints.py; the same in detectron2 and torchvision.
    """
    column, row = (
        _cell(keypoints[..., axis], rois[:, axis, None], rois[:, axis + 2, None], size)
        for axis in (0, 1)
    )
    inside = (column >= 0) & (row >= 0) & (column < size) & (row < size)
    counts = inside & (keypoints[..., 2] > 0)
    return torch.where(counts, row * size + column, 0.0).long(), counts


def _cell(place: Tensor, low: Tensor, high: Tensor, size: int) -> Tensor:
    cell = ((place - low) * (size / (high - low))).floor()
    return torch.where(place == high, size - 1.0, cell)


@dataclass(frozen=True, kw_only=True)
class KeypointLoss:
    """Each keypoint is one choice among m x m cells: softmax over all of them, cross-entropy.

    rois       "positives"       all positive RoIs of the box head (torchvision)
               "with keypoints"  those of them with a keypoint that counts inside (detectron2): the
                                 same loss, fewer RoIs to compute
               "own draw"        a draw of its own among all proposals that match an object and hold
                                 a keypoint of it (Detectron)
    normaliser "visible"  keypoints that count in this batch (the paper's words, torchvision, and
                          the default of Detectron and detectron2)
               "possible" keypoints there would be if every image had all its positive RoIs and
                          every keypoint counted (their NORMALIZE_..._BY_VISIBLE_KEYPOINTS: False)
    weight     of this loss in the sum: 1; Detectron and detectron2 advise 4 with "possible"

    Source: He et al. 2017, sec. 5 (one-hot mask, m^2-way softmax, "for each visible keypoint").
    """

    rois: Literal["positives", "with keypoints", "own draw"] = "positives"
    normaliser: Literal["visible", "possible"] = "visible"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"keypoint_loss.weight must be above 0, got {self.weight}")

    def __call__(
        self,
        logits: Float[Tensor, "n k m m"],
        keypoints: Float[Tensor, "n _p 3"],
        rois: Float[Tensor, "n 4"],
        possible: float,
    ) -> Float[Tensor, ""]:
        """The loss of n RoIs, row i showing the object of keypoints[i]; 0 if no keypoint counts.

        possible   keypoints the batch could have had, which "possible" divides by
        """
        if logits.shape[1] != keypoints.shape[1]:
            raise ValueError(
                f"model.num_keypoints is {logits.shape[1]}, the data's objects have "
                f"{keypoints.shape[1]} keypoints"
            )
        cell, counts = cells(keypoints, rois, logits.shape[-1])
        rows = logits.flatten(2)[counts]
        total = F.cross_entropy(rows, cell[counts], reduction="sum") + 0.0 * logits.sum()
        count = int(counts.sum()) if self.normaliser == "visible" else possible
        return self.weight * average(total, count)


@dataclass(frozen=True, kw_only=True)
class KeypointDecode:
    """From heat maps to points: each map is resized to its box in pixels, bicubic, and the middle
    of the pixel with the largest logit is the keypoint.

    score       of a keypoint: the "logit" there (torchvision), its "probability" under a softmax
                over the resized map (Detectron), or the same divided by the sum over the m x m
                cells instead, which does not depend on the box's size: "share" (detectron2)
    least_side  a map is not resized below so many pixels: 0, or Detectron's INFERENCE_MIN_SIZE

    Boxes are in pixels of the network's input, as in detectron2 and torchvision; Detectron uses
    those of the original image. Source: Detectron, utils/keypoints.py, heatmaps_to_keypoints.
    """

    score: Literal["logit", "probability", "share"] = "logit"
    least_side: int = 0

    def __post_init__(self) -> None:
        if self.least_side < 0:
            raise ValueError(f"least_side must be 0 or more pixels, got {self.least_side}")

    def __call__(
        self, logits: Float[Tensor, "n k m m"], boxes: Float[Tensor, "n 4"]
    ) -> Float[Tensor, "n k 3"]:
        """x, y in the pixels of the boxes, and score, of each keypoint of each box."""
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
        pixels = sides.ceil().clamp(min=self.least_side)
        found = logits.new_zeros(*logits.shape[:2], 3)
        for i, (width, height) in enumerate(pixels.long().tolist()):
            big = F.interpolate(logits[i : i + 1], (height, width), mode="bicubic")[0].flatten(1)
            peak, at = big.max(1)
            place = torch.stack([at % width, at // width], 1) + 0.5
            found[i, :, :2] = place * (sides[i] / pixels[i]) + boxes[i, :2]
            found[i, :, 2] = self._score(peak, big, logits[i].flatten(1))
        return found

    def _score(self, peak: Tensor, big: Tensor, cells: Tensor) -> Tensor:
        if self.score == "logit":
            return peak
        over = big if self.score == "probability" else cells
        return (peak - over.logsumexp(1)).exp()
