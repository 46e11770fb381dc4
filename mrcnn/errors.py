"""What keeps the AP down: each false detection's kind of error, and the AP that it costs."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

KINDS = ("classification", "localisation", "both", "duplicate", "background")
"""Of a false detection; an object that none of the first two comes near is "missed"."""
ERRORS = (*KINDS, "missed")
RIGHT = -1
FOREGROUND, BACKGROUND = 0.5, 0.1
"""IoU at which an object is found, and below which a detection shows none at all."""

Ints = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The detections of all images, image by image and best first, and the objects of each class.

    error     place in KINDS, or RIGHT
    category  index of the class that it was given
    mended    index of the class in which it would find an object once its error is mended; -1
              where it would not be there any more
    objects   to be found, of each class
    missed    of them those that no mended detection would find, of each class
    """

    category: Ints
    score: NDArray[np.float64]
    error: Ints
    mended: Ints
    objects: Ints
    missed: Ints

    def ap(self, mended: Collection[str] = ()) -> float:
        """AP at IoU 0.5 in points, the mean over the classes with objects, as if these kinds of
        error were mended; NaN without objects.

        A class all of whose objects were missed, and are mended, has 100 if nothing else was found
        in it, else 0.
        """
        kinds = [place for place, name in enumerate(KINDS) if name in mended]
        better = np.isin(self.error, kinds)
        category = np.where(better, self.mended, self.category)
        right = (self.error == RIGHT) | better
        left = self.objects - self.missed if "missed" in mended else self.objects
        found = [
            average_precision(self.score[category == k], right[category == k], int(left[k]))
            for k in self.objects.nonzero()[0]
        ]
        return 100 * float(np.mean(found)) if found else float("nan")


def missed_ap(run: COCOeval) -> dict[str, float]:
    """How many points of AP50 would be won if one kind of error alone were mended.

    run   a finished one of masks or boxes over all sizes; its matches at IoU 0.5 are taken over

    A false detection is the first of these that fits:
    localisation     IoU of 0.1 to 0.5 with an object of its class
    classification   IoU of 0.5 or more with an object of another class
    duplicate        IoU of 0.5 or more with an object of its class, which a better one has found
    background       IoU below 0.1 with every object
    both             the rest: IoU of 0.1 to 0.5 with an object of another class
    Mended, the best detection near an object that none has found becomes right (localisation,
    classification), and all others go. missed: objects that no such detection is near; mended, they
    are not counted. The numbers do not add up: mending all gives 100, however.

    Source: Bolya et al. 2020, "TIDE", sec. 2 and 3, and the order of the code published with it.
    Matches are pycocotools', so that the AP that is added to is AP50.
    """
    found = findings(run)
    now = found.ap()
    return {f"missed AP: {kind}": found.ap({kind}) - now for kind in ERRORS}


def average_precision(score: NDArray[Any], right: NDArray[Any], objects: int) -> float:
    """Of one class, 0 to 1, at 101 recalls, as COCO has it; ties stay in order."""
    if not objects or not len(score):
        return float(not objects and not len(score))
    hits = right[np.argsort(-score, kind="mergesort")].cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / objects, np.linspace(0, 1, 101), side="left")
    return float(np.append(envelope, 0)[at].mean())


def findings(run: COCOeval) -> Findings:
    """Every detection that counts, and what is wrong with it."""
    params = run.params
    grid = np.empty((len(params.catIds), len(params.areaRng), len(params.imgIds)), object)
    grid.reshape(-1)[:] = run.evalImgs
    places = [(i, k) for i, k in np.ndindex(grid.shape[2], len(grid)) if grid[k, 0, i] is not None]
    at = int(np.argmin(np.abs(np.asarray(params.iouThrs) - FOREGROUND)))
    cells = [grid[k, 0, i] for i, k in places]
    detections, truth = _rows(places, cells, "dt", at), _rows(places, cells, "gt", at)
    error = np.full(len(detections), RIGHT, np.intp)
    mended = np.full_like(error, -1)
    near = np.zeros(len(truth), bool)
    ends = np.arange(grid.shape[2] + 1)
    first = np.searchsorted(detections["image"], ends), np.searchsorted(truth["image"], ends)
    for i in range(grid.shape[2]):
        found, known = (slice(rows[i], rows[i + 1]) for rows in first)
        _judge(run, detections[found], truth[known], error[found], mended[found], near[known])
    missed = truth["category"][~near & ~truth["right"]]
    return Findings(
        category=detections["category"],
        score=detections["score"],
        error=error,
        mended=mended,
        objects=np.bincount(truth["category"], minlength=len(grid)),
        missed=np.bincount(missed, minlength=len(grid)),
    )


ROW = np.dtype(
    [("image", np.intp), ("category", np.intp), ("id", np.intp), ("score", float), ("right", bool)]
)
"""A detection, or an object: right where it has found one, or has been found."""


def _rows(
    places: list[tuple[int, int]], cells: list[dict[str, Any]], of: str, at: int
) -> NDArray[Any]:
    """The detections ("dt") or objects ("gt") that are not ignored, image by image, best first."""
    counts = [len(one[f"{of}Ids"]) for one in cells]
    rows = np.zeros(sum(counts), ROW)
    if not len(rows):
        return rows
    image, category = np.repeat(np.asarray(places), counts, 0).T
    rows["image"], rows["category"] = image, category
    rows["id"] = np.concatenate([one[f"{of}Ids"] for one in cells])
    rows["right"] = np.concatenate([one[f"{of}Matches"][at] for one in cells]) != 0
    if of == "dt":
        rows["score"] = np.concatenate([one["dtScores"] for one in cells])
        ignored = np.concatenate([one["dtIgnore"][at] for one in cells])
    else:
        ignored = np.concatenate([one["gtIgnore"] for one in cells])
    rows = rows[ignored == 0]
    return rows[np.lexsort((-rows["score"], rows["image"]))]


def _judge(
    run: COCOeval,
    detections: NDArray[Any],
    truth: NDArray[Any],
    error: Ints,
    mended: Ints,
    near: NDArray[np.bool_],
) -> None:
    """Note in the last three, of one image, each false detection's error, its class once mended,
    and whether a mended detection would find each object.
    """
    wrong = np.flatnonzero(~detections["right"])
    ious = _ious(run, detections["id"][wrong], truth["id"])
    same = detections["category"][wrong, None] == truth["category"]
    for row, overlap, own in zip(wrong, ious, same, strict=True):
        kind, target = _kind(overlap, own)
        error[row] = KINDS.index(kind)
        if target >= 0 and not truth["right"][target] and not near[target]:
            near[target], mended[row] = True, truth["category"][target]


def _kind(overlap: NDArray[Any], same: NDArray[np.bool_]) -> tuple[str, int]:
    """The error of a false detection with these IoUs, and the object that it was meant for."""
    own, other = np.where(same, overlap, -1.0), np.where(same, -1.0, overlap)
    best, best_other = own.max(initial=-1), other.max(initial=-1)
    if BACKGROUND <= best < FOREGROUND:
        return "localisation", int(own.argmax())
    if best_other >= FOREGROUND:
        return "classification", int(other.argmax())
    if best >= FOREGROUND:
        return "duplicate", -1
    return ("background" if best_other < BACKGROUND else "both"), -1


def _ious(run: COCOeval, detections: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """IoUs of detections and objects of all classes, by id."""
    if not len(detections) or not len(truth):
        return np.zeros((len(detections), len(truth)))
    key = "bbox" if run.params.iouType == "bbox" else "segmentation"
    found = [run.cocoDt.anns[int(i)][key] for i in detections]
    wanted = [run.cocoGt.anns[int(i)][key] for i in truth]
    return np.asarray(coco_mask.iou(found, wanted, [0] * len(wanted)))
