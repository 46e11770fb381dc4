"""Detections against ground truth, as pycocotools scores them, and what its runs also tell."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.boundary import boundary_run
from mrcnn.data.annotations import loaded, quiet
from mrcnn.data.keypoints import names_of, sigmas
from mrcnn.errors import missed_ap
from mrcnn.matches import Arrays, matches_of

KINDS = {"mask": "segm", "box": "bbox", "keypoint": "keypoints"}
RESULT = {"mask": "segmentation", "box": "bbox", "keypoint": "keypoints"}
MOST_POSES = 20
"""Detections of an image that count in the keypoint AP: COCO's definition."""

PoseScore = Literal["box", "keypoints"]


def score(
    truth: COCO,
    predictions: list[dict[str, Any]],
    max_detections: int = 100,
    image_ids: set[int] | None = None,
    kinds: tuple[str, ...] | None = None,
    pose_score: PoseScore = "box",
) -> dict[str, float]:
    """AP, AP50, AP75 and AP by size for masks, boxes and keypoints, and average recall; of masks
    also boundary AP and the AP50 that each kind of error costs. Points of 0 .. 100.

    max_detections   of an image and class that count, the best first; for keypoints it is
                     MOST_POSES
    image_ids        the images scored; None scores all of the ground truth
    kinds            of "mask", "box", "keypoint"; None: those that every prediction has
    pose_score       see `EvaluateConfig`

    NaN where the ground truth has no object of that size. Keypoints have no small size.
    Source: the COCO evaluation of detections and keypoints, as pycocotools computes it; see
    `boundary_run` and `missed_ap`.
    """
    return scored(truth, predictions, max_detections, image_ids, kinds, pose_score)[0]


def scored(
    truth: COCO,
    predictions: list[dict[str, Any]],
    max_detections: int = 100,
    image_ids: set[int] | None = None,
    kinds: tuple[str, ...] | None = None,
    pose_score: PoseScore = "box",
) -> tuple[dict[str, float], Arrays]:
    """What `score` gives, and the arrays of `matches_of` the same runs."""
    if kinds is None:
        kinds = tuple(k for k, key in RESULT.items() if all(key in p for p in predictions))
    if not names_of(truth.dataset["categories"]):
        kinds = tuple(kind for kind in kinds if kind != "keypoint")
    metrics: dict[str, float] = {}
    runs: dict[str, COCOeval] = {}
    for kind in kinds:
        results = predictions
        if kind == "keypoint":
            results = [_for_keypoints(p, pose_score) for p in predictions]
        runs[kind] = finished_run(truth, results, kind, max_detections, image_ids)
        metrics |= _averages(runs[kind], kind)
        if kind == "mask":  # before another kind marks the objects that it ignores
            with quiet():
                runs["boundary"] = boundary_run(runs[kind])
            metrics["mask boundary AP"] = _mean(runs["boundary"].eval["precision"])
            metrics |= missed_ap(runs[kind])
    return metrics, matches_of(runs)


def finished_run(
    truth: COCO,
    predictions: list[dict[str, Any]],
    kind: str,
    max_detections: int = 100,
    image_ids: set[int] | None = None,
) -> COCOeval:
    """pycocotools' run of one kind, evaluated and accumulated; arguments as for `score`."""
    with quiet():
        found = truth.loadRes([dict(p) for p in predictions]) if predictions else _nothing(truth)
        run = COCOeval(truth, found, KINDS[kind])
        run.params.maxDets = [max_detections]
        if kind == "keypoint":
            _set_keypoints(run.params, truth.dataset["categories"])
        if image_ids is not None:
            run.params.imgIds = sorted(image_ids)
        run.evaluate()
        run.accumulate()
    return run


def _averages(run: COCOeval, kind: str) -> dict[str, float]:
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
