"""Pure functions on (n, 4) boxes x1, y1, x2, y2 in image pixels."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST_GROWTH = math.log(1000 / 16)
"""Upper limit of dw and dh before exp: a 16 px anchor never becomes wider than 1000 px."""


def area(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Width times height, in square pixels; negative for a box that is turned inside out once."""
    width, height = sides(boxes)
    return width * height


def sides(boxes: Float[Tensor, "*n 4"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """(x2 - x1, y2 - y1): no + 1 anywhere in this project."""
    return boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]


def clip(boxes: Float[Tensor, "*n 4"], size: tuple[int, int]) -> Float[Tensor, "*n 4"]:
    """Boxes cut to an image of `size` (height, width): 0 <= x <= width, 0 <= y <= height."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    columns, rows = (0, width), (0, height)
    return torch.stack(
        [x1.clamp(*columns), y1.clamp(*rows), x2.clamp(*columns), y2.clamp(*rows)], -1
    )


def large_enough(boxes: Float[Tensor, "n 4"], side: float = 0.0) -> Bool[Tensor, " n"]:
    """Both sides at least `side` pixels; for side 0, strictly positive."""
    width, height = sides(boxes)
    smallest = torch.minimum(width, height)
    return smallest > 0 if side == 0 else smallest >= side


def encode(
    boxes: Float[Tensor, "n 4"],
    anchors: Float[Tensor, "n 4"],
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> Float[Tensor, "n 4"]:
    """Deltas (dx, dy, dw, dh) that `decode` turns back into `boxes`. Sides must be positive.

    weights   multiply the deltas; the box head uses (10, 10, 5, 5), the RPN ones
    Source: Girshick et al. 2014, "R-CNN", appendix C.
    """
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
    return torch.stack(deltas, 1) * torch.tensor(weights).to(boxes)


def decode(
    deltas: Float[Tensor, "n *k 4"],
    anchors: Float[Tensor, "n 4"],
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> Float[Tensor, "n *k 4"]:
    """Boxes that `deltas` make of `anchors`; dw and dh are clamped from above to LARGEST_GROWTH.

    Several deltas per anchor, (n, k, 4), give several boxes per anchor.
    Source: Girshick et al. 2014, appendix C; the clamp: Detectron, detectron2 and torchvision.
    """
    anchors = anchors.view(len(anchors), *[1] * (deltas.dim() - 2), 4)
    width, height = sides(anchors)
    dx, dy, dw, dh = (deltas / torch.tensor(weights).to(deltas)).unbind(-1)
    x, y = anchors[..., 0] + width / 2 + dx * width, anchors[..., 1] + height / 2 + dy * height
    half_width = dw.clamp(max=LARGEST_GROWTH).exp() * width / 2
    half_height = dh.clamp(max=LARGEST_GROWTH).exp() * height / 2
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], -1)
