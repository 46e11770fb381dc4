"""Average precision over again with other weights of the images: the noise of the test set.

A detection stays matched as it was: whatever images are drawn, only how often each counts changes.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.matches import FILE, Matches, load_matches

RECALLS = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO reads a precision."""
RESAMPLES = 1000
AT_ONCE = 2**22
"""Precisions held at a time."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """What a metric's name means. `iou` None is the mean over all thresholds."""

    kind: str
    area: str = "all"
    iou: float | None = None


@dataclass(frozen=True, eq=False)
class Draws:
    """A metric of one run on every resampled set of images, and which images there are."""

    values: Floats
    images: int
    of: str


def measure(metric: str) -> Measure | None:
    """Of a name like "mask AP", "box AP75", "mask AP small" or "mask boundary AP"; None if matches
    do not tell it.
    """
    if metric == "mask boundary AP":
        return Measure("boundary")
    found = re.fullmatch(r"(mask|box|keypoint) AP(\d\d)?(?: (small|medium|large))?", metric)
    if found is None:
        return None
    kind, iou, area = found.groups()
    return Measure(kind, area or "all", int(iou) / 100 if iou else None)


def ap(
    matches: Matches, kind: str, weights: ArrayLike, *, area: str = "all", iou: float | None = None
) -> Floats:
    """Average precision in points for each row of weights, one weight per image.

    With every weight 1 it is what pycocotools computes, to the last bit; a weight of 2 counts an
    image twice. NaN where no object is left.
    Raises ValueError for a kind, area or threshold that was not scored.
    Source: COCO's evaluation: precision made monotone, read at 101 recalls, averaged over
    thresholds and categories that have objects.
    """
    rows = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    categories = len(matches.category_ids)
    thresholds = 1 if iou is not None else len(matches.iou_thresholds)
    step = max(1, AT_ONCE // (thresholds * len(RECALLS) * max(1, categories)))
    found = [
        _mean(one)
        for start in range(0, len(rows), step)
        for one in _curves(matches, kind, rows[start : start + step], area, iou)
    ]
    return np.array(found)


def precision_recall(
    matches: Matches, kind: str, iou: float, *, area: str = "all"
) -> tuple[Floats, Floats]:
    """(recalls, precision at each): the mean over categories that have objects; 0 .. 1."""
    ones = np.ones((1, len(matches.image_ids)))
    curves = _curves(matches, kind, ones, area, iou)[0, 0]  # (recalls, categories)
    defined = curves[:, curves[0] > -1]
    return RECALLS, defined.mean(1) if defined.size else np.full(len(RECALLS), np.nan)


def image_variance(
    a: Sequence[Matches],
    b: Sequence[Matches],
    metric: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Variance of the mean of a - b by the choice of test images: a paired bootstrap.

    All runs are scored on the same resampled images, so that what is hard about an image cancels.
    Raises ValueError if the runs were not scored on the same images, or not by that metric.
    """
    drawn = [[draws(m, metric, resamples, seed) for m in side] for side in (a, b)]
    found = variance_between(*drawn)
    if found is None:
        raise ValueError(f"{metric}: the runs were scored on different images or categories")
    return found


def draws(matches: Matches, metric: str, resamples: int = RESAMPLES, seed: int = 0) -> Draws:
    """The metric on `resamples` sets of as many images, drawn with replacement.

    Raises ValueError for a metric that cannot be had from matches.
    """
    of = measure(metric)
    if of is None or of.kind not in matches.kinds:
        raise ValueError(f"{metric!r} cannot be had from matches of {sorted(matches.kinds)}")
    images = len(matches.image_ids)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(images, np.full(images, 1 / images), size=resamples)
    named = matches.image_ids.tobytes() + b"/" + matches.category_ids.tobytes()
    values = ap(matches, of.kind, weights, area=of.area, iou=of.iou)
    return Draws(values, images, hashlib.sha256(named).hexdigest())


def variance_between(a: Sequence[Draws], b: Sequence[Draws]) -> float | None:
    """Variance of the mean difference over resamples; None if they are not of the same images.

    A resample without an object of that size has no AP and is left out.
    """
    if len({d.of for d in (*a, *b)}) != 1 or a[0].images < 2:
        return None
    change = np.mean([d.values for d in a], axis=0) - np.mean([d.values for d in b], axis=0)
    change = change[np.isfinite(change)]
    if len(change) < 2:
        return None
    # a resample scatters by (n - 1) / n of what a fresh set of images does
    return float(change.var(ddof=1) * a[0].images / (a[0].images - 1))


def between_runs(a: Sequence[Path], b: Sequence[Path], metric: str) -> tuple[float | None, int]:
    """(variance by the choice of test images, their number) of the runs in some folders.

    (None, 0) where it is not known: a run without matches, other images, another kind of metric.
    Raises ValueError naming a file of matches that is broken.
    """
    drawn: list[Draws] = []
    for folder in (*a, *b):
        found = draws_of(folder, metric)
        if found is None:
            return None, 0
        drawn.append(found)
    noise = variance_between(drawn[: len(a)], drawn[len(a) :])
    return (None, 0) if noise is None else (noise, drawn[0].images)


def draws_of(folder: Path, metric: str) -> Draws | None:
    """The draws of a run by its folder, kept while its file stays as it is; None without any."""
    if measure(metric) is None or not (folder / FILE).exists():
        return None
    state = (folder / FILE).stat()
    return _kept(folder.resolve(), state.st_mtime_ns, state.st_size, metric)


@lru_cache(maxsize=4096)
def _kept(folder: Path, changed: int, size: int, metric: str) -> Draws | None:
    matches, of = load_matches(folder), measure(metric)
    if matches is None or of is None or of.kind not in matches.kinds:
        return None
    return draws(matches, metric)


def _mean(precision: Floats) -> float:
    defined = precision[precision > -1]
    return float(100 * defined.mean()) if defined.size else float("nan")


def _curves(matches: Matches, kind: str, weights: Floats, area: str, iou: float | None) -> Floats:
    """(weights, thresholds, recalls, categories): precision; -1 where there is no object."""
    from reports.precision import fill  # compiled: only where it is needed

    scored, a = matches.kinds[_named(kind, matches.kinds)], _place(area, matches.areas)
    some = slice(None) if iou is None else [_threshold(iou, matches.iou_thresholds)]
    ignored = scored.ignored[a][some]
    states: NDArray[Any] = np.where(ignored, 0, np.where(scored.matched[a][some], 1, 2))
    categories = len(matches.category_ids)
    starts = np.searchsorted(scored.category, np.arange(categories + 1))
    objects = weights @ scored.truth[a].T.astype(np.float64)
    out = np.full((len(weights), len(states), len(RECALLS), categories), -1.0)
    fill(
        starts,
        scored.image.astype(np.int64),
        np.ascontiguousarray(states, dtype=np.int8),
        np.ascontiguousarray(weights),
        np.ascontiguousarray(objects),
        RECALLS,
        out,
    )
    return out


def _named(kind: str, kinds: Any) -> str:
    if kind not in kinds:
        raise ValueError(f"{kind!r} was not scored; there are {sorted(kinds)}")
    return kind


def _place(area: str, areas: tuple[str, ...]) -> int:
    if area not in areas:
        raise ValueError(f"area {area!r} was not scored; there are {areas}")
    return areas.index(area)


def _threshold(iou: float, thresholds: NDArray[Any]) -> int:
    near = np.flatnonzero(np.isclose(thresholds, iou))
    if not len(near):
        raise ValueError(f"IoU {iou} was not scored; there are {thresholds.tolist()}")
    return int(near[0])
