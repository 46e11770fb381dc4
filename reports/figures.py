"""The figures of a study's page, each with what to see in it. What records lack is left out."""

import base64
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports import pictures, plot
from reports.matches import Matches, load_matches
from reports.plot import Curve
from reports.resample import measure, precision_recall
from reports.study import Row, Study, gallery
from reports.table import MORE, Contrast, values

SIZES = ("small", "medium", "large")
ERRORS = ("classification", "localisation", "both", "duplicate", "background", "missed")
COSTS = {"training, minutes": "train_min", "one image, GFLOPs": "flops_g"}


@dataclass(frozen=True)
class Picture:
    """An image of the page: its file, a short name, what to see in it, and its bytes."""

    file: str
    name: str
    caption: str
    content: bytes
    wide: bool = False

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.content).decode()

    @property
    def anchor(self) -> str:
        return self.file.removesuffix(".png")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the page: a plot has more pixels than that, for sharp screens."""
        width, height = struct.unpack(">II", self.content[16:24])
        scale = 1.0 if self.wide else 96 / plot.DPI
        return round(scale * width), round(scale * height)


def drawn(study: Study, found: Sequence[Contrast]) -> list[Picture]:
    """Every figure there is something to draw in, findings first."""
    return [one for one in _figures(study, found) if one is not None]


def _figures(study: Study, found: Sequence[Contrast]) -> Iterator[Picture | None]:
    if any(c.ours for c in found):
        caption = effects_caption(study, found)
        yield Picture("effects.png", "Findings", caption, plot.effects(study, found))
    yield _bars(study)
    yield _precision_recall(study)
    yield _sizes(study)
    yield _strip(study)
    yield _errors(study)
    yield _given(study)
    yield _costs(study)
    if any(row.finished and row.finished[0].history for row in study.rows):
        caption = (
            "Training loss of each row's first finished run, a mean over ten notes at a time. A "
            "line that still falls at the end says that its row would gain from more steps."
        )
        yield Picture("curves.png", "Training curves", caption, plot.curves(study))


def effects_caption(study: Study, found: Sequence[Contrast]) -> str:
    """What to see in the findings, and which noise their intervals cover."""
    over = "thick over seeds, thin over seeds and test images together"
    if all(c.ours is None or c.ours.half_width is None for c in found):
        over = "none here: one seed"
    elif all(c.ours is None or c.ours.both is None for c in found):
        over = "over seeds alone: the noise of the test images is not known"
    return (
        f"Differences in {study.metrics[0]}: ours as dots, the published ones as diamonds. What "
        f"counts is the side of 0, not the distance. 95 % intervals, {over}; at the right the "
        "verdict, corrected for the number of findings."
    )


def _bars(study: Study) -> Picture | None:
    shown = {m: m for m in study.metrics[:6] if measured(study, m)}
    if not shown:
        return None
    caption = (
        "Our results row by row: the mean, its 95 % interval over seeds and a stroke per seed. "
        "Rows share seeds, so that differences are surer than overlapping intervals suggest."
    )
    return Picture("bars.png", "Average precision", caption, plot.bars(study, shown))


def measured(study: Study, metric: str) -> bool:
    """Whether any finished run has the metric."""
    return any(values(row.finished, metric) for row in study.rows)


def _panels(
    study: Study, file: str, name: str, wanted: Mapping[str, str], caption: str, one: bool = False
) -> Picture | None:
    """Bars of those metrics (title -> metric) that any run has; None if none has any.

    one   on one scale
    """
    shown = {title: metric for title, metric in wanted.items() if measured(study, metric)}
    if not shown:
        return None
    return Picture(file, name, caption, plot.bars(study, shown, one_scale=one))


def _sizes(study: Study) -> Picture | None:
    what = study.metrics[0].split(" AP")[0]
    caption = (
        f"{what} AP by size of the objects (COCO's: small is under 32², large from 96² pixels); "
        "sizes that the test images lack are left out. See which size an effect comes from."
    )
    wanted = {f"{size} objects": f"{what} AP {size}" for size in SIZES}
    return _panels(study, "sizes.png", "By size", wanted, caption)


def _errors(study: Study) -> Picture | None:
    caption = (
        "What errors cost: the mask AP50 that each kind alone, mended, would win back. A row with "
        "long bars under localisation finds the objects and outlines them badly."
    )
    wanted = {kind: f"missed AP: {kind}" for kind in ERRORS}
    return _panels(study, "errors.png", "Errors", wanted, caption, one=True)


def _given(study: Study) -> Picture | None:
    caption = (
        "Quality of the masks themselves: AP by the agreement of outlines, and AP and mean IoU "
        "when the true boxes are given. A difference seen here is not one of detection."
    )
    return _panels(study, "masks.png", "Mask quality", {m: m for m in MORE}, caption)


def _costs(study: Study) -> Picture | None:
    shown = {}
    for title, name in COSTS.items():
        known = {plot.cost_of(row, name) for row in study.rows} - {None}
        telling = len(known) > 1  # what all cost alike tells nothing
        if telling and measured(study, study.metrics[0]):
            shown[title] = name
    if not shown:
        return None
    caption = (
        f"{study.metrics[0]} over what it costs; up and to the left is better. Times are of the "
        "machine named below, and of whatever else it did."
    )
    return Picture("costs.png", "Cost and quality", caption, plot.costs(study, shown))


def _strip(study: Study) -> Picture | None:
    found = {row.name: gallery(row.folders) for row in study.rows if row.finished}
    galleries = {name: g for name, g in found.items() if g}
    content = pictures.strip(galleries)
    if not content:
        return None
    caption = (
        "The same validation images under each variant, ground truth first: those in which the "
        "variants differ most. A detection has the colour of the object it overlaps most, grey if "
        f"none, and scores at least {pictures.MIN_SCORE}."
    )
    if pictures.enlarged(galleries) is not None:
        caption += (
            " Last line: one object, its exact box dashed, the feature map's cells in faint white, "
            "and what each variant reads of it: bins in blue, points as yellow dots. Where the "
            "blue frame leaves the dashed box, features and pixels do not match."
        )
    return Picture("pictures.png", "Pictures", caption, content, wide=True)


def _precision_recall(study: Study) -> Picture | None:
    of = measure(study.metrics[0])
    if of is None:
        return None
    loaded = {row.name: _matches(row, of.kind) for row in study.rows}
    loaded = {name: found for name, found in loaded.items() if found}
    panels = {}
    for iou in (0.5, 0.75):
        curves = {name: _mean_curve(found, of.kind, iou) for name, found in loaded.items()}
        panels[f"{of.kind} IoU {iou:.2f}"] = {n: c for n, c in curves.items() if c is not None}
    if not all(panels.values()):
        return None
    caption = (
        "Precision over recall, the mean over classes and seeds. A line that ends early misses "
        "objects; one that starts low is sure of false ones."
    )
    content = plot.precision_over_recall(panels, study)
    return Picture("precision-recall.png", "Precision and recall", caption, content)


def _matches(row: Row, kind: str) -> list[Matches]:
    done = [f for f, r in zip(row.folders, row.records, strict=True) if r and not r.error]
    found = [load_matches(folder) for folder in done]
    return [m for m in found if m is not None and kind in m.kinds]


def _mean_curve(found: Sequence[Matches], kind: str, iou: float) -> Curve | None:
    curves = [precision_recall(one, kind, iou) for one in found]
    precision = np.mean([p for _, p in curves], axis=0)
    if not all(math.isfinite(p) for p in precision):
        return None
    return curves[0][0].tolist(), precision.tolist()
