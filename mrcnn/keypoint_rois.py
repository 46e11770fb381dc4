"""Which RoIs the keypoint branch is trained on, and the object that each of them shows."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

import kernels
from mrcnn.boxes import corners
from mrcnn.config import ModelConfig
from mrcnn.matching import Match
from mrcnn.structures import Targets

Chosen = tuple[list[Tensor], list[Tensor]]
"""Per image: RoIs, and the index of each one's object."""


def posed_positives(
    config: ModelConfig,
    rois: list[Tensor],
    index: list[Tensor],
    labels: list[Tensor],
    targets: list[Targets],
) -> Chosen:
    """The box head's positives, or those of them that hold a keypoint: see `KeypointLoss`."""
    chosen, objects = [], []
    for boxes, i, label, target in zip(rois, index, labels, targets, strict=True):
        able = label > 0
        if config.keypoint_loss.rois != "positives":
            points = keypoints_of(target.keypoints, i, config.num_keypoints)
            able = able & holding(points, corners(boxes, config.box_convention))
        chosen.append(boxes[able])
        objects.append(i[able])
    return chosen, objects


def drawn(
    config: ModelConfig,
    proposals: list[Tensor],
    targets: list[Targets],
    generators: Sequence[torch.Generator],
) -> Chosen:
    """A draw of the keypoint branch's own from each image's proposals."""
    most = int(config.rois_per_image * config.positive_fraction)
    chosen, objects = [], []
    for boxes, target, generator in zip(proposals, targets, generators, strict=True):
        if config.add_ground_truth:
            boxes = torch.cat([boxes, target.boxes])
        match = config.roi_matching(kernels.box_iou(target.boxes, boxes))
        points = keypoints_of(target.keypoints, match.index, config.num_keypoints)
        frames = corners(boxes, config.box_convention)
        some = own_draw(match, frames, points, most, generator)
        chosen.append(boxes[some])
        objects.append(match.index[some])
    return chosen, objects


def keypoints_of(
    keypoints: Float[Tensor, "g k 3"] | None, index: Int[Tensor, " n"], num_keypoints: int
) -> Float[Tensor, "n k 3"]:
    """The keypoints of the objects at `index`; unseen ones where an image has none annotated."""
    if keypoints is None or not len(keypoints):
        return torch.zeros(len(index), num_keypoints, 3, device=index.device)
    return keypoints[index]


def holding(keypoints: Float[Tensor, "n k 3"], rois: Float[Tensor, "n 4"]) -> Bool[Tensor, " n"]:
    """Which RoIs have an annotated keypoint of their object inside, edges included."""
    place, seen = keypoints[..., :2], keypoints[..., 2] > 0
    inside = (place >= rois[:, None, :2]) & (place <= rois[:, None, 2:])
    return (inside.all(2) & seen).any(1)


def own_draw(
    match: Match,
    boxes: Float[Tensor, "n 4"],
    keypoints: Float[Tensor, "n k 3"],
    most: int,
    generator: torch.Generator,
) -> Int[Tensor, " p"]:
    """Which of the boxes train the keypoint head: at most `most` of those that match an object and
    hold a keypoint of it, keypoints[i] being those of the object of box i.

    Source: Detectron, roi_data/keypoint_rcnn.py.
    """
    able = ((match.state == 1) & holding(keypoints, boxes)).nonzero()[:, 0]
    chosen = torch.randperm(len(able), generator=generator)[:most].sort().values
    return able[chosen.to(able.device)]
