"""How far two networks' answers lie apart: detections matched one to one, losses and gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import kernels
from mrcnn.given_boxes import mask_ious
from mrcnn.structures import Detections

LEAST_IOU = 0.5


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of detections of the same images by two networks, one beside the other.

    alone      of the one and of the other: without a partner of their class
    box_px     of each pair, the largest difference of a corner's coordinate, pixels
    score      of each pair, the difference of scores
    mask_iou   of each pair, the IoU of the pasted masks
    """

    alone: tuple[int, int]
    box_px: tuple[float, ...]
    score: tuple[float, ...]
    mask_iou: tuple[float, ...]

    def __str__(self) -> str:
        if not self.box_px:
            return f"no pairs; {self.alone[0]} and {self.alone[1]} alone"
        return (
            f"{len(self.box_px)} detections matched, {self.alone[0]} and {self.alone[1]} alone; "
            f"boxes within {max(self.box_px):.2g} px (median {median(self.box_px):.2g}), "
            f"scores within {max(self.score):.2g} (median {median(self.score):.2g}), "
            f"mask IoU at least {min(self.mask_iou):.4f} (median {median(self.mask_iou):.4f})"
        )


def agreement(ours: Sequence[Detections], theirs: Sequence[Detections]) -> Agreement:
    """Detections of each image matched one to one within a class, by the greatest sum of IoU."""
    alone, box_px, score, mask_iou = [0, 0], [], [], []
    for mine, other in zip(ours, theirs, strict=True):
        rows, columns = matched(mine, other)
        alone[0] += len(mine) - len(rows)
        alone[1] += len(other) - len(rows)
        box_px += (mine.boxes[rows] - other.boxes[columns]).abs().amax(1).tolist()
        score += (mine.scores[rows] - other.scores[columns]).abs().tolist()
        if mine.masks is not None and other.masks is not None:
            pair = mine.masks[rows], other.masks[columns]
            empty = ~(pair[0] | pair[1]).flatten(1).any(1)  # as equal as masks can be
            mask_iou += torch.where(empty, 1.0, mask_ious(*pair)).tolist()
    return Agreement(
        alone=(alone[0], alone[1]),
        box_px=tuple(box_px),
        score=tuple(score),
        mask_iou=tuple(mask_iou),
    )


def matched(mine: Detections, other: Detections) -> tuple[Tensor, Tensor]:
    """Rows of pairs of one class whose boxes overlap by LEAST_IOU."""
    overlap = kernels.box_iou(mine.boxes.float(), other.boxes.float())
    overlap = overlap * (mine.labels[:, None] == other.labels)
    rows, columns = (torch.from_numpy(i) for i in _assigned(overlap))
    good = overlap[rows, columns] >= LEAST_IOU
    return rows[good], columns[good]


def _assigned(overlap: Tensor) -> tuple[np.ndarray, np.ndarray]:
    found: tuple[np.ndarray, np.ndarray] = linear_sum_assignment(overlap.numpy(), maximize=True)
    return found


def assert_same_detections(ours: Sequence[Detections], theirs: Sequence[Detections]) -> Agreement:
    """The agreement of two that compute the same up to rounding.

    Raises AssertionError with it otherwise. Rounding may turn a near-tie of NMS, and with it one
    detection in fifty of either; a corner on the edge of a pixel moves a row of a mask, and a pixel
    of a small one is more than a fiftieth of it: as many masks may differ, by a tenth at most.
    """
    found = agreement(ours, theirs)
    most = max(1, sum(len(one) for one in theirs) // 50)
    right = max(found.alone) <= most and len(found.box_px) > 0
    right = right and all(px <= 1e-2 for px in found.box_px)
    right = right and all(score <= 1e-3 for score in found.score)
    right = right and sum(iou < 0.98 for iou in found.mask_iou) <= most
    right = right and all(iou >= 0.9 for iou in found.mask_iou)
    if not right:
        raise AssertionError(f"other detections than the peer's: {found}")
    return found


def assert_same_boxes(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> int:
    """How many boxes of either have no other within a hundredth of a pixel.

    Raises AssertionError if it is more than one in a hundred.
    """
    gaps = [(a[:, None] - b).abs().amax(2) for a, b in zip(ours, theirs, strict=True)]
    alone = sum(int((gap.amin(i) > 1e-2).sum()) for gap in gaps for i in (0, 1))
    count = sum(map(len, ours)) + sum(map(len, theirs))
    if alone > count / 100:
        raise AssertionError(f"{alone} of {count} proposals are not the peer's as well")
    return alone


def assert_same_losses(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    gradients: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
) -> str:
    """How far losses and gradients lie apart, in words.

    Raises AssertionError if it is more than rounding: 1e-4 of a loss, or 1e-3 of the gradient of
    all parameters as one vector.
    """
    if ours.keys() != theirs.keys() or gradients[0].keys() != gradients[1].keys():
        raise AssertionError(f"other losses or parameters: {sorted(ours)} and {sorted(theirs)}")
    gaps = [abs(ours[n] - theirs[n]) / max(abs(theirs[n]), 1e-12) for n in theirs]
    error = sum(float((gradients[0][n] - g).square().sum()) for n, g in gradients[1].items())
    norm = sum(float(g.square().sum()) for g in gradients[1].values())
    turned = (error / norm) ** 0.5
    said = f"losses within {max(gaps):.1e} of themselves, the gradient {turned:.1e} of its length"
    if not (all(gap <= 1e-4 for gap in gaps) and turned <= 1e-3):  # NaN is neither
        raise AssertionError(f"another training step than the peer's: {said}")
    return said
