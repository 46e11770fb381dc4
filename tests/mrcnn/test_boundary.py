"""Boundary IoU by definition and by hand, and an AP that sees outlines."""

import numpy as np
import pytest

from mrcnn.boundary import boundary, boundary_iou, boundary_run, width
from mrcnn.data.annotations import quiet
from mrcnn.scoring import finished_run, score
from tests.mrcnn.scenes import SIZE, found, random_scene, truth_of


def by_definition(mask, distance):
    """Pixels that have a pixel outside the mask, or beyond the image, within the square."""
    side = 2 * distance + 1
    squares = np.lib.stride_tricks.sliding_window_view(np.pad(mask, distance), (side, side))
    return mask & ~squares.all((2, 3))


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 7, 16])
def test_a_boundary_is_what_lies_near_the_outside(distance):
    rng = np.random.default_rng(distance)
    noise = rng.random((40, 33)) > 0.02
    disc = np.hypot(*np.mgrid[-20:20, -15:18]) < 14
    for mask in (noise, disc, np.ones((40, 33), bool), np.zeros((40, 33), bool)):
        assert (boundary(mask, distance) == by_definition(mask, distance)).all()


def test_a_square_by_hand():
    """12 x 12 with a ring of 2: 144 - 64 = 80; one moved by 1 shares 2 x 10 x 1 less of it."""
    mask = np.zeros((30, 30), bool)
    mask[5:17, 5:17] = True
    ring = boundary(mask, 2)
    assert ring.sum() == 80
    assert boundary_iou(ring, ring) == 1
    inner = np.zeros_like(mask)
    inner[7:15, 7:15] = True
    assert boundary_iou(ring, boundary(inner, 2)) == 0  # though the mask IoU is 64 / 144
    assert boundary_iou(np.zeros_like(mask), np.zeros_like(mask)) == 0


@pytest.mark.parametrize(
    ("height", "side", "wide"), [(128, 128, 4), (480, 640, 16), (8, 8, 1), (20, 20, 1)]
)
def test_two_hundredths_of_the_diagonal(height, side, wide):
    assert width({"height": height, "width": side}) == wide


def test_ground_truth_has_a_hundred_and_outlines_cost():
    """One pixel less all around leaves a mask IoU of 0.87 and, at a width of 1, no boundary."""
    truth = truth_of([(1, 1, (5, 5, 35, 35), False)])
    best = score(truth, [found(1, 1, (5, 5, 35, 35), 0.9)], kinds=("mask",))
    assert best["mask boundary AP"] == best["mask AP"] == pytest.approx(100)
    less = score(truth, [found(1, 1, (6, 6, 34, 34), 0.9)], kinds=("mask",))
    assert less["mask AP"] == pytest.approx(80)
    assert less["mask boundary AP"] == 0


def whole_ious(run):
    """The overlaps of all pairs by definition, without leaving any out."""
    kept = {}
    for at, ious in run.ious.items():
        kept[at] = np.array(ious, copy=True)
        order = np.argsort([-one["score"] for one in run._dts[at]], kind="mergesort")
        for i, j in np.ndindex(*np.shape(ious)[:2] if len(ious) else (0, 0)):
            one, other = run._dts[at][order[i]], run._gts[at][j]
            if not other["iscrowd"]:
                masks = run.cocoDt.annToMask(one), run.cocoGt.annToMask(other)
                outlines = [by_definition(m.astype(bool), 1) for m in masks]
                kept[at][i, j] = min(ious[i, j], boundary_iou(*outlines))
    return kept


def test_it_is_pycocotools_with_the_lesser_overlap():
    assert width({"height": SIZE, "width": SIZE}) == 1
    for seed in range(2):
        run = finished_run(*random_scene(seed, images=4), "mask")
        with quiet():
            finer = boundary_run(run)
        ours, before = finer.eval["precision"], run.eval["precision"]
        run.ious = whole_ious(run)
        with quiet():
            params = run.params
            run.evalImgs = [
                run.evaluateImg(i, k, area, params.maxDets[-1])
                for k in params.catIds
                for area in params.areaRng
                for i in params.imgIds
            ]
            run.accumulate()
        assert (ours[..., 0, :] == run.eval["precision"][..., 0, :]).all()
        assert (ours[..., 0, :] != before[..., 0, :]).any()
