"""Boundary IoU: how well the outlines of masks agree, which a large mask's IoU hardly shows."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

RATIO = 0.02
"""Width of the boundary as a part of the image's diagonal."""

Bitmap = NDArray[np.bool_]


def boundary_run(run: COCOeval) -> COCOeval:
    """A finished run over masks, scored anew by boundary: precision and recall, all sizes as one.

    A pair's overlap is the lesser of its mask IoU and its boundary IoU, since a boundary alone
    would let two rings pass for a disc; with a crowd region it is the mask's share as before. Only
    pairs whose masks match at the lowest threshold are looked at: no others could match now.

    Source: Cheng et al. 2021, "Boundary IoU", sec. 5 and the evaluation that they published.
    """
    finer = copy.copy(run)
    finer.params = copy.copy(run.params)
    finer.params.areaRng, finer.params.areaRngLbl = run.params.areaRng[:1], ["all"]
    widths = {i: width(run.cocoGt.imgs[i]) for i in run.params.imgIds}
    least = float(min(run.params.iouThrs))
    finer.ious = {at: _lesser(run, at, ious, widths[at[0]], least) for at, ious in run.ious.items()}
    params = finer.params
    finer.evalImgs = [
        finer.evaluateImg(image, category, params.areaRng[0], params.maxDets[-1])
        for category in params.catIds
        for image in params.imgIds
    ]
    finer._paramsEval = copy.deepcopy(params)
    finer.accumulate()
    return finer


def width(image: dict[str, Any]) -> int:
    """The width of the boundary in an image, whole pixels, at least one."""
    return max(1, round(RATIO * float(np.hypot(image["height"], image["width"]))))


def boundary(mask: Bitmap, distance: int) -> Bitmap:
    """The pixels of a mask within `distance` of its outside, diagonal steps counted as one.

    What lies beyond the image is outside.
    """
    found = mask.copy()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return found
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    side = 2 * distance + 1
    inner = mask[place]
    padded = np.zeros((inner.shape[0] + side - 1, inner.shape[1] + side - 1), bool)
    padded[distance:-distance, distance:-distance] = inner
    found[place] &= ~_whole(_whole(padded, side).T, side).T
    return found


def boundary_iou(a: Bitmap, b: Bitmap) -> float:
    """The IoU of two boundaries; 0 where there is none."""
    both, either = int(np.count_nonzero(a & b)), int(np.count_nonzero(a | b))
    return both / max(either, 1)


def _whole(mask: Bitmap, side: int) -> Bitmap:
    """Whether all of `side` rows from each on are set: log(side) steps, each doubling the last."""
    done = 1
    while 2 * done <= side:
        mask = mask[:-done] & mask[done:]
        done *= 2
    return mask[: -(side - done)] & mask[side - done :] if side > done else mask


def _lesser(run: COCOeval, at: Any, ious: Any, distance: int, least: float) -> Any:
    """The IoUs of an image and category, those that matter brought down to the boundary's."""
    if not len(ious):
        return ious
    truth, every = run._gts[at], run._dts[at]
    order = np.argsort([-one["score"] for one in every], kind="mergesort")
    real = np.array([not one["iscrowd"] for one in truth])
    pairs = np.argwhere((ious >= least) & real)
    found = [every[order[i]] for i in np.unique(pairs[:, 0])]
    detections = dict(zip(np.unique(pairs[:, 0]), _boundaries(found, distance), strict=True))
    wanted = np.unique(pairs[:, 1])
    objects = dict(zip(wanted, _boundaries([truth[j] for j in wanted], distance), strict=True))
    lesser = ious.copy()
    for i, j in pairs:
        lesser[i, j] = min(ious[i, j], boundary_iou(detections[i], objects[j]))
    return lesser


def _boundaries(annotations: list[dict[str, Any]], distance: int) -> list[Bitmap]:
    if not annotations:
        return []
    masks = coco_mask.decode([one["segmentation"] for one in annotations])
    return [boundary(masks[..., i].astype(bool), distance) for i in range(masks.shape[2])]
