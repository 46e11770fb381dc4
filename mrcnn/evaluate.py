"""Average precision by pycocotools, and what a trained network finds on validation images."""

import base64
import io
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from mrcnn.augmented import predict_augmented
from mrcnn.config import Trial
from mrcnn.data.annotations import encode_mask, loaded, quiet
from mrcnn.data.dataset import Dataset, Example
from mrcnn.data.keypoints import names_of, sigmas
from mrcnn.model import MaskRCNN
from mrcnn.precision import float32_products
from mrcnn.progress import Show
from mrcnn.ranks import ALONE, Ranks
from mrcnn.structures import Detections, Targets
from mrcnn.views import View, view

GALLERY = 12
"""How many validation images are kept with their detections, for people to look at."""

Found = tuple[int, list[dict[str, Any]], list[dict[str, Any]]]
"""Of a batch: its first image's place, the detections as COCO results, exhibits."""

KINDS = {"mask": "segm", "box": "bbox", "keypoint": "keypoints"}
RESULT = {"mask": "segmentation", "box": "bbox", "keypoint": "keypoints"}
MOST_POSES = 20
"""Detections of an image that count in the keypoint AP: COCO's definition."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """metrics in points of 0 .. 100 (NaN where undefined); predictions as COCO results."""

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]
    gallery: dict[str, Any]


def evaluate(
    model: MaskRCNN,
    dataset: Dataset,
    trial: Trial,
    progress: Show,
    *,
    limit: int | None = None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Detect in every image of `dataset` and score what was found in the images' own pixels.

    limit   score only the first so many images
    ranks   the processes that share the images; rank 0 scores what all have found, and gets the
            Evaluation of one process. The others get their own predictions and no metrics.
    """
    count = min(len(dataset), limit or len(dataset))
    starts = range(0, count, trial.evaluate.batch_size)
    found_in: list[Found] = []
    for turn in range(-(-len(starts) // ranks.of)):  # as many on each rank: they ask when to stop
        for start in starts[turn * ranks.of + ranks.rank :][:1]:
            found_in.append(_found(model, dataset, trial, start, count))
        done = min((turn + 1) * ranks.of * trial.evaluate.batch_size, count)
        progress("evaluate", done, count)
    every = sorted((f for part in ranks.gathered(found_in) for f in part), key=lambda f: f[0])
    predictions = [result for _, results, _ in every for result in results]
    shown = [one for _, _, exhibits in every for one in exhibits]
    if not ranks.leads:
        return Evaluation(metrics={}, predictions=predictions, gallery={})
    seen = {dataset.example(i).image_id for i in range(count)} if count < len(dataset) else None
    most = trial.evaluate.max_detections
    poses = trial.evaluate.pose_score
    metrics = score(dataset.ground_truth(), predictions, most, seen, kinds_of(model), poses)
    gallery = {"classes": list(dataset.classes), "images": shown[:GALLERY]}
    return Evaluation(metrics=metrics, predictions=predictions, gallery=gallery)


def _found(model: MaskRCNN, dataset: Dataset, trial: Trial, start: int, count: int) -> Found:
    """What a batch of images gives. Those beyond the gallery are not kept to be looked at."""
    rows = range(start, min(start + trial.evaluate.batch_size, count))
    examples = [dataset.example(i) for i in rows]
    found = detect(model, [e.image for e in examples], trial)
    results: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for row, example, detections in zip(rows, examples, found, strict=True):
        ids, shift = dataset.category_ids, dataset.half_pixel
        results += as_results(detections, example.image_id, ids, shift)
        if row < GALLERY:
            shown.append(exhibit(example, detections))
    return start, results, shown


def detect(
    model: MaskRCNN, images: list[Shaped[Tensor, "3 _h _w"]], trial: Trial
) -> list[Detections]:
    """Detections with pasted masks, in the pixels of the images given (RGB, 0 .. 255).

    The images are resized as the trial evaluates, and boxes brought back axis by axis.
    """
    if trial.evaluate.augment is not None:
        return [_in_views(model, image, trial) for image in images]
    views = [view(image.float(), trial.evaluate.transforms) for image in images]
    training = model.training
    model.eval()
    with float32_products("ieee"):
        found = model.predict(model.images([seen.image for seen in views]))
    model.train(training)
    return [
        _in_original(model, one.to("cpu"), seen) for one, seen in zip(found, views, strict=True)
    ]


def _in_views(model: MaskRCNN, image: Tensor, trial: Trial) -> Detections:
    training = model.training
    model.eval()
    with float32_products("ieee"):
        found = predict_augmented(model, image, trial.evaluate)
    model.train(training)
    return _in_original(model, found.to("cpu"), view(image.float(), ()))


def _in_original(model: MaskRCNN, found: Detections, seen: View) -> Detections:
    """Detections of a view in the pixels of the image, padding taken off, masks pasted."""
    found = replace(found, boxes=seen.left(found.boxes))
    if found.keypoints is not None:
        x, y, score = found.keypoints.unbind(2)
        points = seen.left(torch.stack([x, y, x, y], 2).flatten(0, 1))[:, :2]
        kept = torch.cat([points.unflatten(0, x.shape), score[..., None]], 2)
        found = replace(found, keypoints=kept)
    if found.mask_probabilities is None:
        return found
    masks = model.config.paste(found.mask_probabilities, found.boxes, seen.size)
    return replace(found, masks=masks)


def as_results(
    found: Detections, image_id: int, category_ids: tuple[int, ...], half_pixel: float = 0.0
) -> list[dict[str, Any]]:
    """The detections of one image in COCO's result format; boxes as x, y, width, height; keypoints
    as x, y, score in a row.

    half_pixel   what reading has added to the data's keypoints, and is taken off here
    """
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
        if found.keypoints is not None:
            shift = torch.tensor([half_pixel, half_pixel, 0.0])
            result["keypoints"] = (found.keypoints[i] - shift).flatten().tolist()
        results.append(result)
    return results


def score(
    truth: COCO,
    predictions: list[dict[str, Any]],
    max_detections: int = 100,
    image_ids: set[int] | None = None,
    kinds: tuple[str, ...] | None = None,
    pose_score: Literal["box", "keypoints"] = "box",
) -> dict[str, float]:
    """AP, AP50, AP75 and AP by size for masks, boxes and keypoints, and average recall; points of
    0 .. 100.

    max_detections   of an image that count, the best first; for keypoints it is MOST_POSES
    image_ids        the images scored; None scores all of the ground truth
    kinds            of "mask", "box", "keypoint"; None: those that every prediction has
    pose_score       see `EvaluateConfig`

    NaN where the ground truth has no object of that size. Keypoints have no small size.
    Source: the COCO evaluation of detections and keypoints, as pycocotools computes it.
    """
    if kinds is None:
        kinds = tuple(k for k, key in RESULT.items() if all(key in p for p in predictions))
    if not names_of(truth.dataset["categories"]):
        kinds = tuple(kind for kind in kinds if kind != "keypoint")
    metrics: dict[str, float] = {}
    for kind in kinds:
        results = predictions
        if kind == "keypoint":
            results = [_for_keypoints(p, pose_score) for p in predictions]
        metrics |= _of_kind(truth, results, kind, max_detections, image_ids)
    return metrics


def kinds_of(model: MaskRCNN) -> tuple[str, ...]:
    """What of a network's detections there is to score."""
    heads = {"mask": model.mask_head, "box": model.box_head, "keypoint": model.keypoint_head}
    return tuple(kind for kind, head in heads.items() if head is not None)


def _of_kind(
    truth: COCO,
    predictions: list[dict[str, Any]],
    kind: str,
    max_detections: int,
    image_ids: set[int] | None,
) -> dict[str, float]:
    with quiet():
        found = truth.loadRes([dict(p) for p in predictions]) if predictions else _nothing(truth)
        run = COCOeval(truth, found, KINDS[kind])
        run.params.maxDets = [1, 10, max_detections]
        if kind == "keypoint":
            _set_keypoints(run.params, truth.dataset["categories"])
        if image_ids is not None:
            run.params.imgIds = sorted(image_ids)
        run.evaluate()
        run.accumulate()
    # (IoU threshold, recall, class, area range, max detections); -1 where there is no object
    precision, recall = run.eval["precision"][..., -1], run.eval["recall"][..., -1]
    half, three_quarters = (int(round((iou - 0.5) / 0.05)) for iou in (0.5, 0.75))
    metrics = {
        f"{kind} AP": _mean(precision[..., 0]),
        f"{kind} AP50": _mean(precision[half, ..., 0]),
        f"{kind} AP75": _mean(precision[three_quarters, ..., 0]),
    }
    for i, size in enumerate(run.params.areaRngLbl[1:], start=1):
        metrics[f"{kind} AP {size}"] = _mean(precision[..., i])
    return metrics | {f"{kind} AR": _mean(recall[..., 0])}


def _for_keypoints(prediction: dict[str, Any], pose_score: str) -> dict[str, Any]:
    """What COCO's format has in a result of keypoints: the box and the mask have no say in it."""
    kept = {key: prediction[key] for key in ("image_id", "category_id", "keypoints", "score")}
    if pose_score == "keypoints":
        kept["score"] = float(np.mean(kept["keypoints"][2::3]))
    return kept


def _set_keypoints(params: Any, categories: list[dict[str, Any]]) -> None:
    params.maxDets = [MOST_POSES]
    params.kpt_oks_sigmas = sigmas(len(names_of(categories)))
    params.catIds = [c["id"] for c in categories if c.get("keypoints")]


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
        {
            "label": int(targets.labels[i]),
            "box": targets.boxes[i].tolist(),
            "rle": encode_mask(targets.masks[i]),
            **_exhibited(targets.keypoints, i),
        }
        for i in range(len(targets))
    ]
    detections = [
        {
            "label": int(found.labels[i]),
            "score": round(float(found.scores[i]), 4),
            "box": [round(x, 2) for x in found.boxes[i].tolist()],
            "rle": encode_mask(found.masks[i]) if found.masks is not None else None,
            **_exhibited(found.keypoints, i),
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


def _exhibited(keypoints: Tensor | None, i: int) -> dict[str, Any]:
    """x, y and visibility or score of the keypoints of object i, if there are any."""
    if keypoints is None:
        return {}
    return {"keypoints": [[round(v, 2) for v in point] for point in keypoints[i].tolist()]}


def no_targets(image: Shaped[Tensor, "3 h w"]) -> Targets:
    """The targets of an image of which nothing is known."""
    return Targets(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0, *image.shape[1:], dtype=torch.bool),
    )
