"""COCO's own terms: run-length masks, and ground truth as pycocotools reads it."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torch import Tensor


def encode_mask(mask: Bool[Tensor, "h w"]) -> dict[str, Any]:
    """COCO's compressed run-length encoding, its counts a string."""
    encoded = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def as_ground_truth(
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    classes: Sequence[str],
    category_ids: Sequence[int],
) -> COCO:
    """The COCO object of annotations made here; ids are given in order."""
    numbered = [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)]
    categories = [{"id": i, "name": name} for i, name in zip(category_ids, classes, strict=True)]
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
