"""Small random test sets, scored by pycocotools itself and kept as matches the long way round."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reports.matches import FILE, Matches, Scored


def coco(dataset):
    with contextlib.redirect_stdout(io.StringIO()):
        made = COCO()
        made.dataset = dataset
        made.createIndex()
    return made


def scene(generator, images=12, categories=3, side=200.0, digits=6):
    """(ground truth, results) of boxes; the last category has no object, the first image none."""
    objects, results = [], []
    for image in range(2, images + 1):
        for _ in range(generator.integers(0, 5)):
            category = int(generator.integers(1, categories))
            x, y, w, h = (*generator.uniform(0, side / 2, 2), *generator.uniform(8, side / 2, 2))
            objects.append(
                {"id": len(objects) + 1, "image_id": image, "category_id": category}
                | {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(generator.random() < 0.1)}
            )
            for _ in range(generator.integers(0, 3)):
                off = generator.normal(0, 0.12, 4) * [w, h, w, h]
                box = [x + off[0], y + off[1], max(1, w + off[2]), max(1, h + off[3])]
                results.append(result(generator, image, category, box, digits))
        for _ in range(generator.integers(0, 3)):
            box = [*generator.uniform(0, side / 2, 2), *generator.uniform(8, side / 2, 2)]
            category = int(generator.integers(1, categories + 1))
            results.append(result(generator, image, category, box, digits))
    return truth(images, categories, objects), results


def result(generator, image, category, box, digits):
    score = round(float(generator.random()), digits)
    return {"image_id": image, "category_id": category, "bbox": [*box], "score": score}


def truth(images, categories, objects):
    return {
        "images": [{"id": i, "width": 400, "height": 400} for i in range(1, images + 1)],
        "categories": [{"id": k, "name": str(k)} for k in range(1, categories + 1)],
        "annotations": objects,
    }


def evaluated(dataset, results, kind="bbox"):
    """pycocotools' evaluation, accumulated."""
    ours = coco(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(ours, ours.loadRes([dict(r) for r in results]), kind)
        run.evaluate()
        run.accumulate()
    return run


def mean(precision):
    """As pycocotools' summary takes it; in points."""
    defined = precision[precision > -1]
    return 100 * np.mean(defined) if defined.size else np.nan


def matches_of(run, kind="box"):
    """The matches of an evaluation, category by category in pycocotools' order."""
    p = run.params
    areas, images, most = len(p.areaRng), len(p.imgIds), p.maxDets[-1]
    columns = {"category": [], "image": [], "score": [], "matched": [], "ignored": []}
    objects = np.zeros((areas, len(p.catIds), images), np.int16)
    for k in range(len(p.catIds)):
        at = [[(k * areas + a) * images + i for i in range(images)] for a in range(areas)]
        cells = [[run.evalImgs[j] for j in row] for row in at]
        for a, row in enumerate(cells):
            for i, cell in enumerate(row):
                objects[a, k, i] = 0 if cell is None else np.sum(np.array(cell["gtIgnore"]) == 0)
        found = [(i, c) for i, c in enumerate(cells[0]) if c is not None]
        score = np.concatenate([[0.0] * 0, *(c["dtScores"][:most] for _, c in found)])
        order = np.argsort(-score, kind="mergesort")
        image = np.concatenate([[0] * 0, *([i] * len(c["dtScores"][:most]) for i, c in found)])
        columns["category"].append(np.full(len(score), k))
        columns["image"].append(image[order])
        columns["score"].append(score[order])
        for name, key in (("matched", "dtMatches"), ("ignored", "dtIgnore")):
            per_area = [
                np.concatenate(
                    [np.zeros((len(p.iouThrs), 0)), *(row[i][key][:, :most] for i, _ in found)], 1
                )
                for row in cells
            ]
            columns[name].append(np.stack(per_area)[:, :, order] > 0)
    scored = Scored(
        category=np.concatenate(columns["category"]).astype(np.int16),
        image=np.concatenate(columns["image"]).astype(np.int32),
        score=np.concatenate(columns["score"]),
        matched=np.concatenate(columns["matched"], 2),
        ignored=np.concatenate(columns["ignored"], 2),
        truth=objects,
    )
    return Matches(
        iou_thresholds=np.array(p.iouThrs),
        areas=tuple(p.areaRngLbl),
        image_ids=np.array(p.imgIds),
        category_ids=np.array(p.catIds),
        kinds={kind: scored},
    )


def save(matches, folder, **changes):
    """matches.npz as an evaluation leaves it; `changes` replace arrays."""
    arrays = {
        "iou_thresholds": matches.iou_thresholds,
        "areas": np.array(matches.areas),
        "image_ids": matches.image_ids,
        "category_ids": matches.category_ids,
    }
    for kind, scored in matches.kinds.items():
        arrays |= {f"{kind}_{name}": value for name, value in vars(scored).items()}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / FILE, **(arrays | changes))


def drawn(generator, images, skill=0.0, noise=0.15, categories=2, per_image=3, thresholds=10):
    """Made-up matches with no picture behind them: objects found the better, the higher `skill`.

    `generator` draws the images; what is hard about one is the same for whoever is scored on it.
    """
    n = images * per_image
    image = np.repeat(np.arange(images), per_image)
    category = generator.integers(0, categories, n)
    hard = np.repeat(generator.normal(0, 0.15, images), per_image)
    quality = 0.72 + skill - hard + generator.normal(0, noise, n)
    score = np.clip(quality + generator.normal(0, 0.2, n), 0.01, None)
    order = np.lexsort((-score, category))
    levels = np.linspace(0.5, 0.95, thresholds)
    right = quality[order][None] >= levels[:, None]
    objects = np.zeros((1, categories, images), np.int16)
    np.add.at(objects[0], (category, image), 1)
    scored = Scored(
        category=category[order].astype(np.int16),
        image=image[order].astype(np.int32),
        score=score[order],
        matched=right[None],
        ignored=np.zeros_like(right[None]),
        truth=objects,
    )
    names = np.arange(images)
    return Matches(levels, ("all",), names, np.arange(categories), {"mask": scored})
