"""What bfloat16 costs in accuracy: the same network, its answers beside those of float32."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.detector.agreement import Agreement, agreement
from benchmarks.detector.peer_network import FULL, Scale
from benchmarks.detector.twins import Twins, image_of, twins
from mrcnn.checkpoint import load_model
from mrcnn.evaluate import detect, evaluate
from mrcnn.precision import Precision, autocast
from mrcnn.progress import Show, silent


def moved(
    precision: Precision = "bf16", scale: Scale = FULL, images: int = 4, show: Show = silent
) -> dict[str, Any]:
    """A row: detections in some images in this precision, matched one to one with fp32's."""
    pair, found = twins(scale), []
    for number in range(images):
        found.append([_found(pair, number, kind) for kind in ("fp32", precision)])
        show(f"{precision} beside fp32", number + 1, images)
    low, full = [f[1] for f in found], [f[0] for f in found]
    return {
        "model": f"ours, {scale.name}, random weights",
        "precision": precision,
        "images": images,
        **summary(agreement(low, full)),
    }


def _found(pair: Twins, seed: int, precision: Precision) -> Any:
    with autocast(precision, "cpu"):
        return detect(pair.ours, [image_of(pair.scale, 100 + seed)], pair.trial)[0]


def summary(found: Agreement) -> dict[str, Any]:
    """An agreement in quantiles: median, 95 %, worst; of the IoU of masks median, 5 %, worst."""
    rows: dict[str, Any] = {"matched": len(found.box_px), "alone": list(found.alone)}
    for name, values in asdict(found).items():
        if name != "alone" and values:
            ends = (0.5, 0.05, 0.0) if name == "mask_iou" else (0.5, 0.95, 1.0)
            rows[name] = np.quantile(values, ends).tolist()
    return rows


def average_precision(
    model: Path,
    precisions: tuple[Precision, ...] = ("fp32", "bf16"),
    limit: int | None = None,
    show: Show = silent,
) -> dict[str, Any]:
    """A row: mask and box AP of a trained network of ours on its validation images, by precision.

    Raises ValueError for a file that is not one of ours.
    """
    network, trial, _ = load_model(model)
    row: dict[str, Any] = {"model": f"ours, trained, {trial.data}"}
    with TemporaryDirectory() as folder:
        dataset = trial.data.open("val", Path(folder))
        for precision in precisions:
            with autocast(precision, "cpu"):
                found = evaluate(network, dataset, trial, show, limit=limit)
            row[precision] = {name: found.metrics[name] for name in ("mask AP", "box AP")}
            row[precision]["ms_per_image"] = found.cost["ms_per_image"]
    return row


def precision_in_words(row: Mapping[str, Any]) -> str:
    """A row of either kind as a line."""
    if "matched" not in row:
        cells = [
            f"{kind}: mask AP {one['mask AP']:.1f}, box AP {one['box AP']:.1f}, "
            f"{one['ms_per_image']:.0f} ms an image"
            for kind, one in row.items()
            if kind != "model"
        ]
        return f"{row['model']}; {'; '.join(cells)}"
    words = f"{row['precision']} beside fp32, {row['model']}: {row['matched']} detections matched, "
    words += f"{row['alone'][0]} and {row['alone'][1]} alone"
    if row["matched"]:
        box, score = row["box_px"][0], row["score"][0]
        words += f"; medians: boxes {box:.2g} px apart, scores {score:.2g}"
        words += f", mask IoU {row['mask_iou'][0]:.3f}" if "mask_iou" in row else ""
    return words
