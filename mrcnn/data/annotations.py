"""COCO's own terms: run-length masks, and ground truth as pycocotools reads it."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torch import Tensor


def encode_mask(mask: Bool[Tensor, "h w"]) -> dict[str, Any]:
    """COCO's compressed run-length encoding, its counts a string."""
    encoded = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def polygons_of(segmentation: Any) -> tuple[Float[Tensor, "_v 2"], ...]:
    """The polygons of an annotation, of three corners or more; none for run lengths.

    Source: detectron2, detection_utils.py, which leaves out shorter ones as well.
    """
    rows = segmentation if isinstance(segmentation, list) else []
    return tuple(
        torch.tensor(row, dtype=torch.float64).view(-1, 2)
        for row in rows
        if len(row) >= 6 and len(row) % 2 == 0
    )


def as_ground_truth(
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    classes: Sequence[str],
    category_ids: Sequence[int],
    keypoints: Sequence[str] = (),
) -> COCO:
    """The COCO object of annotations made here; ids are given in order.

    keypoints   names of those that every category has; none by default
    """
    numbered = [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)]
    named = {"keypoints": list(keypoints)} if keypoints else {}
    categories = [
        {"id": i, "name": name, **named} for i, name in zip(category_ids, classes, strict=True)
    ]
    return loaded({"info": {}, "images": images, "annotations": numbered, "categories": categories})


def loaded(data: dict[str, Any]) -> COCO:
    """pycocotools' index over an annotation file that is already in memory."""
    truth = COCO()
    truth.dataset = data
    with quiet():
        truth.createIndex()
    return truth


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what pycocotools prints as it works."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
