"""Average precision by pycocotools, and what a trained network finds on validation images."""

import base64
import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from mrcnn.config import Trial
from mrcnn.data.annotations import encode_mask, loaded, quiet
from mrcnn.data.dataset import Dataset, Example
from mrcnn.data.transforms import apply
from mrcnn.model import MaskRCNN
from mrcnn.precision import float32_products
from mrcnn.progress import Show
from mrcnn.seeds import generator
from mrcnn.structures import Detections, Targets

GALLERY = 12
"""How many validation images are kept with their detections, for people to look at."""

KINDS = {"mask": "segm", "box": "bbox"}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """metrics in points of 0 .. 100 (NaN where undefined); predictions as COCO results."""

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]
    gallery: dict[str, Any]


def evaluate(
    model: MaskRCNN, dataset: Dataset, trial: Trial, progress: Show, *, limit: int | None = None
) -> Evaluation:
    """Detect in every image of `dataset` and score what was found in the images' own pixels.

    limit   score only the first so many images
    """
    count = min(len(dataset), limit or len(dataset))
    predictions: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for start in range(0, count, trial.evaluate.batch_size):
        rows = range(start, min(start + trial.evaluate.batch_size, count))
        examples = [dataset.example(i) for i in rows]
        found = detect(model, [e.image for e in examples], trial)
        for example, detections in zip(examples, found, strict=True):
            results = as_results(detections, example.image_id, dataset.category_ids)
            predictions += results
            if len(shown) < GALLERY:
                shown.append(exhibit(example, detections))
        progress("evaluate", rows.stop, count)
    seen = {dataset.example(i).image_id for i in range(count)} if count < len(dataset) else None
    metrics = score(dataset.ground_truth(), predictions, trial.evaluate.max_detections, seen)
    gallery = {"classes": list(dataset.classes), "images": shown}
    return Evaluation(metrics=metrics, predictions=predictions, gallery=gallery)


def detect(
    model: MaskRCNN, images: list[Shaped[Tensor, "3 _h _w"]], trial: Trial
) -> list[Detections]:
    """Detections with pasted masks, in the pixels of the images given (RGB, 0 .. 255).

    The images are resized as the trial evaluates, and boxes brought back axis by axis.
    """
    views = [
        apply(trial.evaluate.transforms, Example(i, no_targets(i), 0, ""), generator(0))
        for i in (image.float() for image in images)
    ]
    training = model.training
    model.eval()
    with float32_products("ieee"):
        found = model.predict(model.images([view.image for view in views]))
    model.train(training)
    return [
        _in_original(model, one.to("cpu"), image, view.image)
        for one, image, view in zip(found, images, views, strict=True)
    ]


def _in_original(model: MaskRCNN, found: Detections, image: Tensor, view: Tensor) -> Detections:
    height, width = image.shape[1:]
    ratio = torch.tensor([width / view.shape[2], height / view.shape[1]]).repeat(2)
    found = replace(found, boxes=found.boxes * ratio)
    if found.mask_probabilities is None:
        return found
    masks = model.config.paste(found.mask_probabilities, found.boxes, (height, width))
    return replace(found, masks=masks)


def as_results(
    found: Detections, image_id: int, category_ids: tuple[int, ...]
) -> list[dict[str, Any]]:
    """The detections of one image in COCO's result format; boxes as x, y, width, height."""
    results = []
    for i in range(len(found)):
        x1, y1, x2, y2 = found.boxes[i].tolist()
        result: dict[str, Any] = {
            "image_id": image_id,
            "category_id": category_ids[int(found.labels[i]) - 1],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(found.scores[i]),
        }
        if found.masks is not None:
            result["segmentation"] = encode_mask(found.masks[i])
        results.append(result)
    return results


def score(
    truth: COCO,
    predictions: list[dict[str, Any]],
    max_detections: int = 100,
    image_ids: set[int] | None = None,
) -> dict[str, float]:
    """AP, AP50, AP75 and AP by size for masks and boxes, and average recall; points of 0 .. 100.

    max_detections   of an image that count, the best first
    image_ids        the images scored; None scores all of the ground truth

    NaN where the ground truth has no object of that size. Masks are left out if no prediction has
    any. Source: the COCO detection evaluation, as pycocotools computes it.
    """
    metrics: dict[str, float] = {}
    masks = all("segmentation" in p for p in predictions)
    for kind, name in KINDS.items():
        if kind == "mask" and not masks:
            continue
        metrics |= _of_kind(truth, predictions, kind, name, max_detections, image_ids)
    return metrics


def _of_kind(
    truth: COCO,
    predictions: list[dict[str, Any]],
    kind: str,
    name: str,
    max_detections: int,
    image_ids: set[int] | None,
) -> dict[str, float]:
    with quiet():
        found = truth.loadRes([dict(p) for p in predictions]) if predictions else _nothing(truth)
        run = COCOeval(truth, found, name)
        run.params.maxDets = [1, 10, max_detections]
        if image_ids is not None:
            run.params.imgIds = sorted(image_ids)
        run.evaluate()
        run.accumulate()
    # (IoU threshold, recall, class, area range, max detections); -1 where there is no object
    precision, recall = run.eval["precision"][..., -1], run.eval["recall"][..., -1]
    half, three_quarters = (int(round((iou - 0.5) / 0.05)) for iou in (0.5, 0.75))
    return {
        f"{kind} AP": _mean(precision[..., 0]),
        f"{kind} AP50": _mean(precision[half, ..., 0]),
        f"{kind} AP75": _mean(precision[three_quarters, ..., 0]),
        f"{kind} AP small": _mean(precision[..., 1]),
        f"{kind} AP medium": _mean(precision[..., 2]),
        f"{kind} AP large": _mean(precision[..., 3]),
        f"{kind} AR": _mean(recall[..., 0]),
    }


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(100 * defined.mean()) if defined.size else float("nan")


def _nothing(truth: COCO) -> COCO:
    kept = {key: truth.dataset[key] for key in ("images", "categories")}
    return loaded({**kept, "annotations": []})


def exhibit(example: Example, found: Detections) -> dict[str, Any]:
    """One image with its objects and detections, ready to be drawn by whoever reads JSON."""
    buffer = io.BytesIO()
    pixels = example.image.to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    targets = example.targets
    truth = [
        {"label": int(label), "box": box.tolist(), "rle": encode_mask(mask)}
        for label, box, mask in zip(targets.labels, targets.boxes, targets.masks, strict=True)
    ]
    detections = [
        {
            "label": int(found.labels[i]),
            "score": round(float(found.scores[i]), 4),
            "box": [round(x, 2) for x in found.boxes[i].tolist()],
            "rle": encode_mask(found.masks[i]) if found.masks is not None else None,
        }
        for i in range(len(found))
    ]
    return {
        "name": example.name,
        "png": base64.b64encode(buffer.getvalue()).decode(),
        "width": example.image.shape[2],
        "height": example.image.shape[1],
        "truth": truth,
        "detections": detections,
    }


def no_targets(image: Shaped[Tensor, "3 h w"]) -> Targets:
    """The targets of an image of which nothing is known."""
    return Targets(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0, *image.shape[1:], dtype=torch.bool),
    )
