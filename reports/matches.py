"""What each detection was matched with, as evaluation left it: enough to score again."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = "matches.npz"
KINDS = ("mask", "box", "keypoint", "boundary")


@dataclass(frozen=True, eq=False)
class Scored:
    """The detections of one kind: category by category, within one by falling score.

    category   (n,) places in `Matches.category_ids`
    image      (n,) places in `Matches.image_ids`
    score      (n,)
    matched    (areas, thresholds, n) whether an object was found
    ignored    (areas, thresholds, n) whether the detection counts neither for nor against
    truth      (areas, categories, images) objects there are to find
    """

    category: NDArray[np.integer[Any]]
    image: NDArray[np.integer[Any]]
    score: NDArray[np.floating[Any]]
    matched: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truth: NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Matches:
    """All of a run's detections on its test images; `kinds` has those that were scored."""

    iou_thresholds: NDArray[np.floating[Any]]
    areas: tuple[str, ...]
    image_ids: NDArray[np.integer[Any]]
    category_ids: NDArray[np.integer[Any]]
    kinds: Mapping[str, Scored]


def load_matches(folder: Path) -> Matches | None:
    """The matches of a run; None if it left none.

    Raises ValueError naming the file and what is wrong with it.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            matches = _read(dict(arrays))
        for kind, scored in matches.kinds.items():
            _check(kind, scored, matches)
    except KeyError as error:
        raise ValueError(f"{path}: not a file of matches (no array {error})") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path}: not a file of matches ({said})") from None
    return matches


def _read(arrays: Mapping[str, NDArray[Any]]) -> Matches:
    names = ("category", "image", "score", "matched", "ignored", "truth")
    kinds = [kind for kind in KINDS if f"{kind}_category" in arrays]
    return Matches(
        iou_thresholds=arrays["iou_thresholds"],
        areas=tuple(str(name) for name in arrays["areas"]),
        image_ids=arrays["image_ids"],
        category_ids=arrays["category_ids"],
        kinds={k: Scored(**{n: arrays[f"{k}_{n}"] for n in names}) for k in kinds},
    )


def _check(kind: str, scored: Scored, matches: Matches) -> None:
    """Raises ValueError for arrays that do not fit each other, or rows in another order."""
    n = len(scored.category)
    areas, thresholds = len(matches.areas), len(matches.iou_thresholds)
    categories, images = len(matches.category_ids), len(matches.image_ids)
    for name, shape in {
        "image": (n,),
        "score": (n,),
        "matched": (areas, thresholds, n),
        "ignored": (areas, thresholds, n),
        "truth": (areas, categories, images),
    }.items():
        found = getattr(scored, name).shape
        if found != shape:
            raise ValueError(f"{kind}_{name} has shape {found}, expected {shape}")
    for name, most in {"category": categories, "image": images}.items():
        places = getattr(scored, name)
        if n and not 0 <= places.min() <= places.max() < most:
            raise ValueError(f"{kind}_{name} has a place outside 0 .. {most - 1}")
    step = np.diff(scored.category.astype(np.int64))
    if np.any(step < 0) or np.any(np.diff(scored.score)[step == 0] > 0):
        raise ValueError(f"{kind}: rows must go category by category, by falling score")
