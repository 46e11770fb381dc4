"""What a trained network finds on validation images, scored, timed and kept to be looked at."""

import base64
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor, nn

from mrcnn.augmented import predict_augmented
from mrcnn.config import Trial
from mrcnn.data.annotations import encode_mask
from mrcnn.data.dataset import Dataset, Example
from mrcnn.flops import flops_g
from mrcnn.given_boxes import ious_given_boxes, quality
from mrcnn.matches import Arrays
from mrcnn.model import MaskRCNN
from mrcnn.precision import float32_products
from mrcnn.progress import Show
from mrcnn.ranks import ALONE, Ranks
from mrcnn.sampling_points import roi_grid
from mrcnn.scoring import scored
from mrcnn.structures import Detections, Pyramid, Targets
from mrcnn.views import View, view

GALLERY = 12
"""How many validation images are kept with their detections, for people to look at."""


@dataclass(frozen=True)
class Part:
    """What a batch of images gives.

    start     place of its first image
    results   the detections as COCO results
    exhibits  the images to be looked at, without those beyond the gallery
    ious      of the masks in given boxes
    ms        milliseconds that each image took, by what for
    """

    start: int
    results: list[dict[str, Any]]
    exhibits: list[dict[str, Any]]
    ious: list[float]
    ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """metrics in points of 0 .. 100 (NaN where undefined); predictions as COCO results.

    matches   which detection found an object, as `matches_of` has it; None where nothing was scored
    cost      of predicting: "ms_per_image", from pixels to pasted masks, and of it
              "mask_branch_ms", its RoI layer and pasting included, both medians over the batches;
              "flops_g", see there. Not of the mask branch after several views of each image
    """

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]
    gallery: dict[str, Any]
    matches: Arrays | None = None
    cost: dict[str, float] = field(default_factory=dict)


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
    found_in: list[Part] = []
    for turn in range(-(-len(starts) // ranks.of)):  # as many on each rank: they ask when to stop
        for start in starts[turn * ranks.of + ranks.rank :][:1]:
            found_in.append(_found(model, dataset, trial, start, count))
        done = min((turn + 1) * ranks.of * trial.evaluate.batch_size, count)
        progress("evaluate", done, count)
    every = sorted((p for part in ranks.gathered(found_in) for p in part), key=lambda p: p.start)
    predictions = [result for part in every for result in part.results]
    if not ranks.leads:
        return Evaluation(metrics={}, predictions=predictions, gallery={})
    seen = {dataset.example(i).image_id for i in range(count)} if count < len(dataset) else None
    most, poses = trial.evaluate.max_detections, trial.evaluate.pose_score
    truth = dataset.ground_truth()
    metrics, matches = scored(truth, predictions, most, seen, kinds_of(model), poses)
    if model.mask_head is not None and trial.evaluate.augment is None:
        metrics |= quality([iou for part in every for iou in part.ious])
    shown = [one for part in every for one in part.exhibits][:GALLERY]
    return Evaluation(
        metrics=metrics,
        predictions=predictions,
        gallery={"classes": list(dataset.classes), "images": shown},
        matches=matches,
        cost=_cost(model, dataset, trial, every),
    )


def _cost(model: MaskRCNN, dataset: Dataset, trial: Trial, parts: list[Part]) -> dict[str, float]:
    names = parts[0].ms if parts else ()
    times = {name: median(part.ms[name] for part in parts) for name in names}
    first = view(dataset.example(0).image.float(), trial.evaluate.transforms)
    with predicting(model):
        return {**times, "flops_g": flops_g(model, model.images([first.image]))}


def _found(model: MaskRCNN, dataset: Dataset, trial: Trial, start: int, count: int) -> Part:
    """What a batch of images gives."""
    rows = range(start, min(start + trial.evaluate.batch_size, count))
    examples = [dataset.example(i) for i in rows]
    seen = look(model, [e.image for e in examples], trial)
    results: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for row, example, detections in zip(rows, examples, seen.found, strict=True):
        ids, shift = dataset.category_ids, dataset.half_pixel
        results += as_results(detections, example.image_id, ids, shift)
        if row < GALLERY:
            shape = view(example.image.float(), trial.evaluate.transforms)
            grid = roi_grid(model, example.targets, shape)
            shown.append(exhibit(example, detections) | {"roi_grid": grid})
    ious: list[float] = []
    if seen.pyramid is not None and model.mask_head is not None:
        with predicting(model):
            targets = [e.targets for e in examples]
            ious = ious_given_boxes(model, seen.pyramid, seen.views, targets)
    return Part(start, results, shown, ious, seen.ms)


def detect(
    model: MaskRCNN, images: list[Shaped[Tensor, "3 _h _w"]], trial: Trial
) -> list[Detections]:
    """Detections with pasted masks, in the pixels of the images given (RGB, 0 .. 255).

    The images are resized as the trial evaluates, and boxes brought back axis by axis.
    """
    return look(model, images, trial).found


@dataclass(frozen=True)
class Look:
    """What `detect` gives, and how it came about.

    views     the images as the network saw them
    pyramid   their features; None where each was seen in several views
    ms        milliseconds for each image, as the cost of an `Evaluation`
    """

    found: list[Detections]
    views: list[View]
    pyramid: Pyramid | None
    ms: dict[str, float]


def look(model: MaskRCNN, images: list[Shaped[Tensor, "3 _h _w"]], trial: Trial) -> Look:
    """The work of `detect`."""
    if trial.evaluate.augment is not None:
        return _in_views(model, images, trial)
    began = _now(model)
    views = [view(image.float(), trial.evaluate.transforms) for image in images]
    with predicting(model):
        batch = model.images([seen.image for seen in views])
        pyramid, proposals = model.proposed(batch)
        boxes = model.detect(pyramid, proposals, batch.sizes)
        masks_began = _now(model)
        masked = model.detect_masks(pyramid, boxes)
        masks_s = _now(model) - masks_began
        posed = model.detect_keypoints(pyramid, masked)
    found = [_in_original(one.to("cpu"), seen) for one, seen in zip(posed, views, strict=True)]
    paste_began = _now(model)
    found = [_pasted(model, one, seen) for one, seen in zip(found, views, strict=True)]
    ended = _now(model)
    ms = {"ms_per_image": 1e3 * (ended - began) / len(images)}
    if model.mask_head is not None:
        ms["mask_branch_ms"] = 1e3 * (masks_s + ended - paste_began) / len(images)
    return Look(found, views, pyramid, ms)


@contextmanager
def predicting(model: nn.Module) -> Iterator[None]:
    """Within the block the network is as it is for predicting; after it, as it was."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), float32_products("ieee"):
            yield
    finally:
        model.train(training)


def _now(model: MaskRCNN) -> float:
    """Seconds on a clock, once the network's device has done all that it was asked."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def _in_views(model: MaskRCNN, images: list[Tensor], trial: Trial) -> Look:
    began = _now(model)
    whole = [view(image.float(), ()) for image in images]
    with predicting(model):
        found = [predict_augmented(model, image, trial.evaluate).to("cpu") for image in images]
    found = [_pasted(model, one, seen) for one, seen in zip(found, whole, strict=True)]
    return Look(found, whole, None, {"ms_per_image": 1e3 * (_now(model) - began) / len(images)})


def _in_original(found: Detections, seen: View) -> Detections:
    """Boxes and keypoints of a view in the pixels of the image, padding taken off."""
    found = replace(found, boxes=seen.left(found.boxes))
    if found.keypoints is None:
        return found
    x, y, score = found.keypoints.unbind(2)
    points = seen.left(torch.stack([x, y, x, y], 2).flatten(0, 1))[:, :2]
    kept = torch.cat([points.unflatten(0, x.shape), score[..., None]], 2)
    return replace(found, keypoints=kept)


def _pasted(model: MaskRCNN, found: Detections, seen: View) -> Detections:
    """Detections in the pixels of the image with their masks there."""
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


def kinds_of(model: MaskRCNN) -> tuple[str, ...]:
    """What of a network's detections there is to score."""
    heads = {"mask": model.mask_head, "box": model.box_head, "keypoint": model.keypoint_head}
    return tuple(kind for kind, head in heads.items() if head is not None)


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
