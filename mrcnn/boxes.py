"""Pure functions on (n, 4) boxes x1, y1, x2, y2 in image pixels."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST_GROWTH = math.log(1000 / 16)
"""Limit of dw and dh before exp: a 16 px anchor never becomes wider than 1000 px."""

BoxConvention = Literal["continuous", "inclusive"]
"""What a box's far corner is: "continuous", the far edge of the last pixel, so width = x2 - x1
(everybody but Detectron); "inclusive", the last pixel itself, so width = x2 - x1 + 1 (Detectron).

An inclusive box (x1, y1, x2, y2) is the continuous box (x1, y1, x2 + 1, y2 + 1), and every formula
with a + 1 is the one without it on that box: sides, area, IoU, NMS, encode and decode, smallest
side. So boxes are continuous everywhere here, ground truth and final boxes included, and
"inclusive" changes only what reads the corners themselves: `clip`, `inside`, and `corners` for RoI
layers, mask and keypoint frames.
Source: Detectron, utils/boxes.py.
"""


def area(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Width times height, in square pixels; negative for a box that is turned inside out once."""
    width, height = sides(boxes)
    return width * height


def sides(boxes: Float[Tensor, "*n 4"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """(x2 - x1, y2 - y1): boxes are continuous everywhere, see `BoxConvention`."""
    return boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]


def corners(boxes: Float[Tensor, "*n 4"], convention: BoxConvention) -> Float[Tensor, "*n 4"]:
    """Boxes with their far corners as a convention writes them: 1 less where it is inclusive.

    What Detectron hands to its RoI layers, and the frame that it draws masks and keypoints in.
    """
    return boxes if convention == "continuous" else boxes - boxes.new_tensor([0.0, 0, 1, 1])


def clip(
    boxes: Float[Tensor, "*n 4"],
    size: tuple[int, int],
    convention: BoxConvention = "continuous",
) -> Float[Tensor, "*n 4"]:
    """Boxes cut to an image of `size` (height, width).

    "continuous"  0 <= x <= width, 0 <= y <= height: a box outside loses all its area
    "inclusive"   corners to 0 .. width - 1, 0 .. height - 1: it keeps a side of one pixel
    """
    height, width = size
    pixel = 0 if convention == "continuous" else 1
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(
        [
            x1.clamp(0, width - pixel),
            y1.clamp(0, height - pixel),
            x2.clamp(pixel, width),
            y2.clamp(pixel, height),
        ],
        -1,
    )


def inside(
    boxes: Float[Tensor, "n 4"],
    size: tuple[int, int],
    margin: float,
    convention: BoxConvention = "continuous",
) -> Bool[Tensor, " n"]:
    """Which boxes leave an image of `size` (height, width) by less than `margin` pixels.

    At the near edges exactly `margin` is still inside, at the far edges it is not: every peer has
    it so, which with continuous corners excludes a box that ends on the image's very edge.
    """
    height, width = size
    x1, y1, x2, y2 = corners(boxes, convention).unbind(-1)
    near = (x1 >= -margin) & (y1 >= -margin)
    return near & (x2 < width + margin) & (y2 < height + margin)


def large_enough(boxes: Float[Tensor, "n 4"], side: float = 0.0) -> Bool[Tensor, " n"]:
    """Both sides at least `side` pixels; for side 0, strictly positive."""
    width, height = sides(boxes)
    smallest = torch.minimum(width, height)
    return smallest > 0 if side == 0 else smallest >= side


@dataclass(frozen=True, kw_only=True)
class BoxCoder:
    """Between a box and its deltas (dx, dy, dw, dh) from an anchor or RoI.

    weights        multiply the deltas. 1 in the RPN and (10, 10, 5, 5) in the box head of
                   Detectron, detectron2 and torchvision; mmdetection divides by (.1, .1, .2, .2),
                   the same. Matterport has (10, 10, 5, 5) in both
    growth_limit   of dw and dh before exp. "above": at most log(1000 / 16) (Detectron, detectron2,
                   torchvision); "both": its absolute value (mmdetection); "none" (Matterport, the
                   papers)

    Source: Girshick et al. 2014, "R-CNN", appendix C; weights: Girshick 2015, "Fast R-CNN", sec.
    2.3 (targets of unit variance), as constants since Detectron.
    """

    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    growth_limit: Literal["above", "both", "none"] = "above"

    def __post_init__(self) -> None:
        if min(self.weights) <= 0:
            raise ValueError(f"weights of a box coder must be positive, got {self.weights}")

    def encode(
        self, boxes: Float[Tensor, "n 4"], anchors: Float[Tensor, "n 4"]
    ) -> Float[Tensor, "n 4"]:
        """Deltas that `decode` turns back into `boxes`. Sides must be positive."""
        width, height = sides(anchors)
        box_width, box_height = sides(boxes)
        centre_x, centre_y = anchors[:, 0] + width / 2, anchors[:, 1] + height / 2
        box_x, box_y = boxes[:, 0] + box_width / 2, boxes[:, 1] + box_height / 2
        deltas = [
            (box_x - centre_x) / width,
            (box_y - centre_y) / height,
            torch.log(box_width / width),
            torch.log(box_height / height),
        ]
        return torch.stack(deltas, 1) * torch.tensor(self.weights).to(boxes)

    def decode(
        self, deltas: Float[Tensor, "n *k 4"], anchors: Float[Tensor, "n 4"]
    ) -> Float[Tensor, "n *k 4"]:
        """Boxes that `deltas` make of `anchors`.

        Several deltas per anchor, (n, k, 4), give several boxes per anchor.
        """
        anchors = anchors.view(len(anchors), *[1] * (deltas.dim() - 2), 4)
        width, height = sides(anchors)
        dx, dy, dw, dh = (deltas / torch.tensor(self.weights).to(deltas)).unbind(-1)
        x, y = anchors[..., 0] + width / 2 + dx * width, anchors[..., 1] + height / 2 + dy * height
        half_width, half_height = self._grown(dw) * width / 2, self._grown(dh) * height / 2
        return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], -1)

    def _grown(self, growth: Tensor) -> Tensor:
        if self.growth_limit != "none":
            least = -LARGEST_GROWTH if self.growth_limit == "both" else None
            growth = growth.clamp(min=least, max=LARGEST_GROWTH)
        return growth.exp()


BOX_HEAD_CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
"""Of every peer's box head."""
