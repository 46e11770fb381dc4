"""Masks, and boxes that lie in an image, across its border and beyond it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from kernels.conformance.case import Case
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies.boxes import Box, Draw, recipe

SIDES = (1, 2, 3, 5, 7, 14, 28)
"""Of the small masks; 28 is what the paper's mask head gives."""
GRAINS = (1.0, 0.5, 1 / 3, 0.1, math.sqrt(0.5))
BY_BOX: Mapping[str, tuple[str, ...]] = {
    "paste_masks": ("masks", "boxes"),
    "crop_masks": ("index", "boxes"),
}
"""Operator -> its arguments that have a row for each box."""


def sizes(least: int = 1, most: int = 24) -> st.SearchStrategy[list[int]]:
    """(height, width) of an image, small, rarely square."""
    return st.lists(st.integers(least, most), min_size=2, max_size=2)


@st.composite
def placed(draw: Draw, size: list[int], where: str = "across") -> Box:
    """A box with area: "within" the image, "across" its border perhaps, or "beyond" it.

    One within begins in the first two thirds, as far from top and left as it is long at least; one
    across has a part inside.
    """
    grain = draw(st.sampled_from(GRAINS))
    box: list[float] = []
    for length in (size[1], size[0]):
        most = max(round(length / grain), 2)
        if where == "within":
            first, side = (draw(st.integers(1, most * 2 // 3)) for _ in range(2))
            first = max(first, side)
        elif where == "across":
            first = draw(st.integers(-most // 2, most - 1))
            side = draw(st.integers(max(1, 1 - first), most))
        else:
            side = draw(st.integers(1, 2 * most))
            far = round(6 / grain)
            places = (-side - far, -side - 1, -side // 2, most // 2, most, most + far)
            first = draw(st.sampled_from(places))
        box += [first * grain, (first + side) * grain]
    return [box[0], box[2], box[1], box[3]]


def sizeless(size: list[int]) -> st.SearchStrategy[Box]:
    """A box in the image that is a point, a line, or inside out."""
    x, y = st.integers(0, size[1]), st.integers(0, size[0])
    sides = st.sampled_from(((0, 0), (0, 5), (6, 0), (-3, 4), (4, -3), (-4, -4)))
    return st.builds(lambda x, y, by: [float(v) for v in (x, y, x + by[0], y + by[1])], x, y, sides)


def probabilities(n: int) -> st.SearchStrategy[dict[str, Any]]:
    """A recipe of n square masks: probabilities as a rule, any values else."""
    kinds = st.sampled_from(("positive", "positive", "noise", "steps", "offset", "constant"))
    return st.builds(
        lambda kind, m, seed: {"kind": kind, "shape": [n, m, m], "seed": seed},
        kinds,
        st.sampled_from(SIDES),
        st.integers(0, 999),
    )


def bitmaps(n: int, size: list[int]) -> st.SearchStrategy[dict[str, Any]]:
    """A recipe of n bitmaps: 0 and 1, in runs or as noise."""
    return st.builds(
        lambda kind, seed: {"kind": kind, "shape": [n, *size], "seed": seed},
        st.sampled_from(("positive", "smooth")),
        st.integers(0, 999),
    )


@st.composite
def spoilt(draw: Draw, kernel: Kernel, cases: st.SearchStrategy[Case]) -> Case:
    """A case whose last box has a side that is NaN, or infinite where a kernel takes that too."""
    case = draw(cases)
    boxes = [list(box) for box in case.tensors["boxes"]["values"]]
    kinds = ("nan",) if kernel.nonfinite == "nan" else ("nan", "inf", "-inf")
    boxes[-1][draw(st.integers(0, 3))] = float(draw(st.sampled_from(kinds)))
    return replace(case, tensors={**case.tensors, "boxes": recipe(boxes, 4)})
