"""Picture strips: the same images under every variant, the ground truth first."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from reports import grids
from reports.plot import png

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#FFFFFF")
UNMATCHED = "#999999"
MIN_SCORE = 0.3
Entry = Mapping[str, Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Panel:
    """What one panel draws: (mask, colour, caption) of each object, and a line below."""

    objects: tuple[tuple[Mask, str, str, Sequence[float]], ...]
    below: str


def strip(galleries: Mapping[str, dict[str, Any]], images: int = 4) -> bytes | None:
    """A PNG of the images in which the variants differ most; None without pictures.

    A variant's score on an image is the mean over objects of the best mask IoU among its
    detections of the same class that score at least MIN_SCORE. "Differ most": the spread of that.
    Where the variants read their RoIs differently, a last line shows that on one object.
    """
    chosen = differing(galleries, images)
    if not chosen:
        return None
    first = next(iter(galleries.values()))
    columns, closer = ["ground truth", *galleries], grids.telling(galleries, chosen)
    count = len(chosen) + (closer is not None)
    figure = Figure(figsize=(2.1 * len(columns), 2.35 * count + 0.3), layout="constrained")
    axes_of = figure.subplots(count, len(columns), squeeze=False)
    for line, i in zip(axes_of, chosen, strict=False):
        panels = [truth_panel(first["images"][i], first["classes"])]
        panels += [found_panel(g["images"][i], first["classes"]) for g in galleries.values()]
        for axes, panel in zip(line, panels, strict=True):
            _draw(axes, pixels(first["images"][i]), panel)
    if closer is not None:
        _draw_grids(axes_of[-1], galleries, closer)
    for axes, name in zip(axes_of[0], columns, strict=True):
        axes.set_title(name, fontsize=10)
    return png(figure, 100)


def enlarged(galleries: Mapping[str, dict[str, Any]], images: int = 4) -> int | None:
    """The image whose object a strip enlarges; None if the variants read alike or do not say."""
    return grids.telling(galleries, differing(galleries, images))


def differing(galleries: Mapping[str, dict[str, Any]], images: int) -> list[int]:
    """The images with objects on which the variants' scores spread most, in their order."""
    if not galleries:
        return []
    first = next(iter(galleries.values()))
    spread = {}
    for i in range(min(len(g["images"]) for g in galleries.values())):
        scores = [quality(g["images"][i]) for g in galleries.values()]
        if first["images"][i]["truth"]:
            spread[i] = max(scores) - min(scores)
    return sorted(sorted(spread, key=lambda i: (-spread[i], i))[:images])


def _draw_grids(line: Any, galleries: Mapping[str, dict[str, Any]], i: int) -> None:
    """One object enlarged, and over it what each variant reads of it."""
    image = next(iter(galleries.values()))["images"][i]
    readings = grids.of_image(galleries, i) or {}
    grid = next(iter(readings.values()))
    target = image["truth"][grid["object"]]
    frame = grids.window(list(readings.values()), target["box"])
    for axes, one in zip(line, [None, *readings.values()], strict=True):
        grids.draw_object(axes, pixels(image), decoded(target), target["box"], frame)
        grids.draw_cells(axes, one or grid, frame)
        if one is None:
            axes.set_xlabel(f"{image['name']}: exact box", fontsize=7)
        else:
            grids.draw_reading(axes, one)
            axes.set_xlabel(
                f"edges off by up to {grids.off_by(one, target['box']):.1f} px", fontsize=7
            )


def pixels(image: Entry) -> NDArray[np.uint8]:
    """The picture itself, (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["png"]))).convert("RGB"))


def decoded(entry: Entry) -> Mask:
    """An object's mask, (h, w)."""
    return coco_mask.decode(entry["rle"]).astype(bool)


def confident(image: Entry) -> list[Entry]:
    """The detections that are shown and scored."""
    return [d for d in image["detections"] if d["score"] >= MIN_SCORE and d["rle"]]


def matched(image: Entry) -> list[tuple[int | None, float]]:
    """Per confident detection, the object it overlaps most (if by 0.3 or more) and the IoU."""
    found, truth = confident(image), image["truth"]
    if not found or not truth:
        return [(None, 0.0) for _ in found]
    ious = coco_mask.iou([d["rle"] for d in found], [t["rle"] for t in truth], [0] * len(truth))
    best = ious.argmax(1)
    return [
        (int(j) if row[j] >= 0.3 else None, float(row[j]))
        for row, j in zip(ious, best, strict=True)
    ]


def quality(image: Entry) -> float:
    """The mean over objects of the best IoU of a confident detection of the same class."""
    best = [0.0] * len(image["truth"])
    for detection, (j, iou) in zip(confident(image), matched(image), strict=True):
        if j is not None and image["truth"][j]["label"] == detection["label"]:
            best[j] = max(best[j], iou)
    return sum(best) / max(len(best), 1)


def truth_panel(image: Entry, classes: Sequence[str]) -> Panel:
    """The annotated objects, a colour each."""
    objects = tuple(
        (decoded(t), COLOURS[i % len(COLOURS)], classes[t["label"] - 1], t["box"])
        for i, t in enumerate(image["truth"])
    )
    return Panel(objects, image["name"])


def found_panel(image: Entry, classes: Sequence[str]) -> Panel:
    """The confident detections, each in the colour of the object it overlaps most."""
    objects = tuple(
        (
            decoded(d),
            UNMATCHED if j is None else COLOURS[j % len(COLOURS)],
            f"{classes[d['label'] - 1]} {d['score']:.2f}",
            d["box"],
        )
        for d, (j, _) in zip(confident(image), matched(image), strict=True)
    )
    return Panel(objects, f"mean best IoU {quality(image):.2f}")


def _draw(axes: Any, image: NDArray[np.uint8], panel: Panel) -> None:
    axes.imshow(image, interpolation="nearest")
    for mask, colour, caption, (x1, y1, x2, y2) in panel.objects:
        rgb = tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        layer = np.zeros((*mask.shape, 4))
        layer[mask] = (*rgb, 0.45)
        axes.imshow(layer, interpolation="nearest")
        if mask.any() and not mask.all():
            axes.contour(mask, [0.5], colors=[colour], linewidths=1.2)
        axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=colour, linewidth=0.7)
        box = {"facecolor": "black", "alpha": 0.6, "pad": 0.8, "edgecolor": "none"}
        axes.text(x1, y1, caption, fontsize=5.5, color="white", va="bottom", bbox=box, clip_on=True)
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(panel.below, fontsize=7)
