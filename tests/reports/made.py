"""Records and studies made up for the tests of pages."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from mrcnn.data.annotations import encode_mask
from reports.record import Record
from reports.study import Row, Study

PAPER = {"pool": (26.9, 48.8, 26.4), "align": (30.3, 51.2, 31.5)}
METRICS = ("mask AP", "mask AP50", "mask AP75", "box AP")


def record(name, seed, ap, error=None, more=(), **made_by):
    """more: further metrics, name -> value."""
    return Record(
        kind="trial",
        id=f"{name}{seed}",
        code_id="c0de",
        config={"seed": seed},
        data={"name": "Shapes"},
        metrics={} if error else {m: ap + 10.0 * i for i, m in enumerate(METRICS)} | dict(more),
        cost={}
        if error
        else {"total_s": 90.0, "train_s": 50.0 + ap, "ms_per_step": 100.0, "parameters": 1e6},
        history=() if error else tuple({"step": s, "loss": 9.0 / s} for s in range(1, 40)),
        error=error,
        made_by={"code_id": "c0de", "torch": "2", "device": "cpu", "threads": 1, **made_by},
    )


def study(folder, rows, **changes):
    """rows: name -> a list, per seed a record, or None where a run is missing."""
    made = []
    for name, records in rows.items():
        folders = tuple(folder / f"{name}{seed}" for seed in range(len(records)))
        for place, one in zip(folders, records, strict=True):
            if one is not None:
                one.save(place)
                if one.error is None:
                    (place / "gallery.json").write_text(json.dumps(pictures(len(made))))
        value = f"Layer({name!r})"
        seeds_of = tuple(range(len(records)))
        made.append(
            Row(name=name, value=value, seeds=seeds_of, folders=folders, records=tuple(records))
        )
    options = dict(
        title="Layers",
        question="Does it matter?",
        source="He et al. 2017, Table 2c",
        field="model.roi_op",
        baseline="align",
        metrics=METRICS,
        published=PAPER,
        published_on="COCO minival, R50-C4",
        ours_on="Shapes, 128 px, small trunk, 500 steps",
        comparable=False,
        contrasts=(("align", "pool"),),
        command="python -m ablations run layers",
    )
    return Study(**{**options, **changes}, rows=tuple(made))


def changed(one, **fields):
    """A record with other fields; its cost is added to."""
    return replace(one, **fields | {"cost": {**one.cost, **fields.get("cost", {})}})


MORE = {
    "mask AP small": 12.0,
    "mask AP large": float("nan"),
    "mask boundary AP": 15.0,
    "mask AP, boxes given": 44.0,
    "mask IoU, boxes given": 70.0,
    "missed AP: localisation": 8.0,
    "missed AP: missed": 3.0,
}


def whole_study(folder, seeds=2, **changes):
    """Two layers with all that a run can leave: every metric, matches, grids that differ."""
    rows = {
        name: [record(name, s, ap + s, more=MORE) for s in range(seeds)]
        for name, ap in (("pool", 22.0), ("align", 41.0))
    }
    made = study(folder, rows, **changes)
    for i, row in enumerate(made.rows):
        for run in row.folders:
            save_matches(run, seed=i)
            gallery = pictures(i)
            for image in gallery["images"]:
                image["roi_grid"] = grid(8 - 4 * i)
            (run / "gallery.json").write_text(json.dumps(gallery))
    return made


def grid(start, stop=24):
    """Two bins a side over [start, stop), a point in the middle of each."""
    middle = (start + stop) / 2
    bins = [[start, middle], [middle, stop]]
    points = [[(a + b) / 2] for a, b in bins]
    shape = {"object": 0, "stride": [8, 8], "origin": [0, 0]}
    return shape | {"columns": bins, "rows": bins, "x": points, "y": points}


def save_matches(folder, seed=0, images=6, count=40):
    """matches.npz of random detections in two categories: valid, and of no meaning."""
    draw = np.random.default_rng(seed)
    category = np.sort(draw.integers(0, 2, count)).astype(np.int16)
    score = draw.random(count).astype(np.float32)
    arrays = {
        "iou_thresholds": np.linspace(0.5, 0.95, 10),
        "areas": np.array(["all", "small"]),
        "image_ids": np.arange(images),
        "category_ids": np.arange(1, 3),
    }
    for kind in ("mask", "box"):
        matched = draw.random((2, 1, count)) * 1.6 > np.linspace(0.5, 0.95, 10)[:, None]
        arrays |= {
            f"{kind}_category": category,
            f"{kind}_image": draw.integers(0, images, count).astype(np.int32),
            f"{kind}_score": score[np.lexsort((-score, category))],
            f"{kind}_matched": matched,
            f"{kind}_ignored": np.zeros((2, 10, count), bool),
            f"{kind}_truth": np.full((2, 2, images), 4, np.int16),
        }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "matches.npz", **arrays)


def pictures(shift):
    """Two images with a square each; detections are off by `shift` pixels."""
    images = []
    for i in range(2):
        pixels = np.full((32, 32, 3), 60 * i + 40, np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append(
            {
                "name": f"image {i}",
                "png": base64.b64encode(buffer.getvalue()).decode(),
                "width": 32,
                "height": 32,
                "truth": [{"label": 1, "box": [8, 8, 24, 24], "rle": square(0)}],
                "detections": [
                    {"label": 1, "score": 0.9, "box": [8, 8, 24, 24], "rle": square(shift * i)}
                ],
            }
        )
    return {"classes": ["square"], "images": images}


def square(shift):
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[8:24, 8 + shift : 24 + shift] = True
    return encode_mask(mask)
