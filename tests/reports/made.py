"""Records and studies made up for the tests of pages."""

import base64
import io
import json

import numpy as np
import torch
from PIL import Image

from mrcnn.data.annotations import encode_mask
from reports.record import Record
from reports.study import Row, Study

PAPER = {"pool": (26.9, 48.8, 26.4), "align": (30.3, 51.2, 31.5)}
METRICS = ("mask AP", "mask AP50", "mask AP75", "box AP")


def record(name, seed, ap, error=None, **made_by):
    return Record(
        kind="trial",
        id=f"{name}{seed}",
        code_id="c0de",
        config={"seed": seed},
        data={"name": "Shapes"},
        metrics={} if error else {m: ap + 10.0 * i for i, m in enumerate(METRICS)},
        cost={} if error else {"total_s": 90.0, "ms_per_step": 100.0, "parameters": 1e6},
        history=() if error else tuple({"step": s, "loss": 9.0 / s} for s in range(1, 40)),
        error=error,
        made_by={"code_id": "c0de", "torch": "2", "device": "cpu", "threads": 1, **made_by},
    )


def study(folder, rows, seeds=1, **changes):
    """rows: name -> a list, per seed a record, or None where a run is missing."""
    made = []
    for name, records in rows.items():
        folders = tuple(folder / f"{name}{seed}" for seed in range(seeds))
        for place, one in zip(folders, records, strict=True):
            if one is not None:
                one.save(place)
                if one.error is None:
                    (place / "gallery.json").write_text(json.dumps(pictures(len(made))))
        value = f"Layer({name!r})"
        seeds_of = tuple(range(seeds))
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
