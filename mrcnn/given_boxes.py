"""Masks of objects whose boxes and classes are given: how good the mask branch is by itself."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mrcnn.model import MaskRCNN
from mrcnn.structures import Detections, Pyramid, Targets
from mrcnn.views import View

THRESHOLDS = np.linspace(0.5, 0.95, 10)


@torch.no_grad()
def ious_given_boxes(
    model: MaskRCNN, pyramid: Pyramid, views: Sequence[View], targets: Sequence[Targets]
) -> list[float]:
    """The IoU of every object of a batch with the mask predicted for its own box and class.

    pyramid   of the views, as prediction has made it
    targets   of the images that the views show, in the images' own pixels
    """
    given = [_as_found(one).to(model.device) for one in targets]
    seen = [
        replace(one, boxes=view.entered(one.boxes)) for one, view in zip(given, views, strict=True)
    ]
    ious: list[float] = []
    for found, target, view in zip(model.detect_masks(pyramid, seen), targets, views, strict=True):
        probabilities = found.mask_probabilities
        assert probabilities is not None
        masks = model.config.paste(probabilities.cpu(), target.boxes, view.size)
        ious += mask_ious(masks, target.masks).tolist()
    return ious


def quality(ious: Sequence[float]) -> dict[str, float]:
    """The two measures of such IoUs, in points; NaN without objects.

    mask AP, boxes given    the mean over IoU thresholds 0.5, 0.55 .. 0.95 of the share of objects
                            that reach it
    mask IoU, boxes given   the mean IoU

    All objects that a network can be trained on count alike, whatever their class.
    Source: our own; the AP of a detector that finds all boxes and nothing else comes close to it.
    """
    found = np.asarray(ious, np.float64)
    if not len(found):
        return dict.fromkeys(("mask AP, boxes given", "mask IoU, boxes given"), float("nan"))
    return {
        "mask AP, boxes given": 100 * float((found[:, None] >= THRESHOLDS).mean()),
        "mask IoU, boxes given": 100 * float(found.mean()),
    }


def mask_ious(a: Bool[Tensor, "n h w"], b: Bool[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """The IoU of each mask with its counterpart; 0 where both are empty."""
    both = (a & b).flatten(1).sum(1)
    return both / (a | b).flatten(1).sum(1).clamp(min=1)


def _as_found(target: Targets) -> Detections:
    return Detections(target.boxes, target.labels, torch.ones(len(target)))
