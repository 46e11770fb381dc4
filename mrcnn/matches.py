"""Which detection found an object and which did not: all that an average precision is made of.

A run of pycocotools is kept as a few arrays, from which the AP of any weighting of the images
(a bootstrap's, say) is a cumulative sum, without another run.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

Arrays = dict[str, NDArray[Any]]


def matches_of(runs: Mapping[str, COCOeval]) -> Arrays:
    """The arrays of finished runs over the same images, by kind ("mask", "box", "keypoint",
    "boundary").

    iou_thresholds (T,), image_ids (I,), category_ids (K,), areas (A,): names, "all" first. And for
    each kind, of its n detections that count, category by category, best first within one, equal
    scores in pycocotools' order:

    KIND_category (n,)      index into category_ids
    KIND_image (n,)         index into image_ids
    KIND_score (n,)
    KIND_matched (A, T, n)  has found an object, counted or not
    KIND_ignored (A, T, n)  is left out of the count
    KIND_truth (A, K, I)    objects to be found: those that are not ignored

    A size that a kind has no AP for (keypoints have no small, boundaries all sizes as one alone)
    holds no object there, and all detections ignored: its AP is undefined like that of any size
    without objects.
    """
    if not runs:
        return {}
    params = [run.params for run in runs.values()]
    areas = max((list(p.areaRngLbl) for p in params), key=len)
    categories = np.unique(np.concatenate([p.catIds for p in params]))
    arrays: Arrays = {
        "iou_thresholds": np.asarray(params[0].iouThrs),
        "areas": np.asarray(areas),
        "image_ids": np.asarray(params[0].imgIds),
        "category_ids": categories,
    }
    for kind, run in runs.items():
        part = _of_run(run, areas, categories)
        arrays |= {f"{kind}_{name}": array for name, array in part.items()}
    return arrays


def _of_run(run: COCOeval, areas: list[str], categories: NDArray[Any]) -> Arrays:
    """The arrays of one kind, in the places of the common areas and categories."""
    params = run.params
    shape = len(params.catIds), len(params.areaRng), len(params.imgIds)
    grid = np.empty(shape, object)
    grid.reshape(-1)[:] = run.evalImgs
    columns = [areas.index(name) for name in params.areaRngLbl]
    rows = np.searchsorted(categories, params.catIds)
    truth = np.zeros((len(areas), len(categories), shape[2]), np.int16)
    for k, a, i in np.ndindex(*shape):
        if grid[k, a, i] is not None:
            truth[columns[a], rows[k], i] = np.count_nonzero(grid[k, a, i]["gtIgnore"] == 0)
    every = [_of_category(one, columns, len(areas), len(params.iouThrs)) for one in grid]
    joined = {name: np.concatenate([part[name] for part in every], -1) for name in every[0]}
    counts = [len(part["score"]) for part in every]
    return {"category": np.repeat(rows, counts).astype(np.int16), **joined, "truth": truth}


def _of_category(grid: NDArray[Any], columns: list[int], areas: int, thresholds: int) -> Arrays:
    """The detections of one category in all images; grid: pycocotools' results (area, image)."""
    held = [i for i, one in enumerate(grid[0]) if one is not None]
    counts = [len(grid[0, i]["dtScores"]) for i in held]
    score = np.concatenate([[], *(grid[0, i]["dtScores"] for i in held)])
    order = np.argsort(-score, kind="mergesort")
    matched = np.zeros((areas, thresholds, len(score)), bool)
    ignored = np.ones_like(matched)
    for a, column in enumerate(columns):
        for name, into in (("dtMatches", matched), ("dtIgnore", ignored)):
            if held:
                found = np.concatenate([grid[a, i][name] for i in held], 1)
                into[column] = found.astype(bool)[:, order]
    image = np.repeat(np.asarray(held, np.int32), counts)[order]
    return {
        "image": image,
        "score": score[order].astype(np.float32),
        "matched": matched,
        "ignored": ignored,
    }
