"""The named points of annotated objects: read, checked, completed, and how far apart is near."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pycocotools.cocoeval import Params
from torch import Tensor

SIGMA = 0.05
"""How far off a keypoint may be, for points that COCO has not measured: see `sigmas`."""

Entries = Sequence[Mapping[str, Any]]


def names_of(categories: Entries) -> tuple[str, ...]:
    """The names of the keypoints that a data set's objects have; none where it has none."""
    named = [c["keypoints"] for c in categories if c.get("keypoints")]
    return tuple(str(name) for name in named[0]) if named else ()


def flip_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Keypoints that swap names in a mirror: those called left_x and right_x."""
    places = {name: i for i, name in enumerate(names)}
    lefts = [n for n in names if n.startswith("left_") and n.replace("left_", "right_") in places]
    return tuple((places[n], places[n.replace("left_", "right_")]) for n in lefts)


def complete(data: dict[str, Any], file: Path) -> None:
    """Give each object of a category with keypoints its own, unseen where the file has none.

    Raises ValueError naming the file, the annotation and what is wrong with its keypoints.
    """
    names = {c["id"]: c.get("keypoints") or [] for c in data["categories"]}
    if len({len(points) for points in names.values() if points}) > 1:
        raise ValueError(f"{file}: categories with different numbers of keypoints")
    for entry in data["annotations"]:
        points = names[entry["category_id"]]
        if not points:
            continue
        given = entry.setdefault("keypoints", [0] * 3 * len(points))
        for problem in problems(given, len(points)):
            raise ValueError(f"{file}: annotation {entry['id']}: {problem}")
        entry.setdefault("num_keypoints", sum(seen > 0 for seen in given[2::3]))


def problems(keypoints: Any, count: int) -> Iterator[str]:
    """What is wrong with the x, y, visibility of `count` keypoints in a row; nothing if nothing."""
    if not isinstance(keypoints, list) or len(keypoints) != 3 * count:
        size = len(keypoints) if isinstance(keypoints, list) else keypoints
        yield f"its keypoints are {size} numbers, not 3 for each of the category's {count}"
    elif not np.isfinite(keypoints).all():
        yield "its keypoints are not finite"
    elif not set(keypoints[2::3]) <= {0, 1, 2}:
        yield f"a keypoint's visibility is none of 0, 1, 2: {sorted(set(keypoints[2::3]))}"


def annotated(
    annotations: Entries, count: int, half_pixel: float
) -> Float[Tensor, "n {count} 3"] | None:
    """The keypoints of objects; unseen for those without. None where the data set has none.

    half_pixel   what is added to the x and y of those annotated
    """
    if not count:
        return None
    rows = [a.get("keypoints", [0] * 3 * count) for a in annotations]
    points = torch.tensor(rows, dtype=torch.float32).reshape(-1, count, 3)
    points[..., :2] += half_pixel * (points[..., 2:] > 0)
    return points


def sigmas(count: int) -> NDArray[np.float64]:
    """The tolerance of each of `count` keypoints in the object keypoint similarity (OKS).

    A point that is off by 2 sigma times the root of the object's area counts e^-1/2. COCO measured
    them on people's 17 keypoints: that many get COCO's. Others, such as those of Shapes, get
    SIGMA each. Source: the COCO keypoint evaluation, as pycocotools has it.
    """
    people: NDArray[np.float64] = Params(iouType="keypoints").kpt_oks_sigmas
    return people if count == len(people) else np.full(count, SIGMA)
