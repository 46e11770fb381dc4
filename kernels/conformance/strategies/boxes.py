"""Boxes and scores that give NMS and IoU work: clusters, copies, ties, and boxes without area."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from hypothesis import strategies as st

from kernels.conformance.declaration import Kernel

Box = list[float]
Draw = Callable[..., Any]
"""What Hypothesis gives a composite; its own type cannot be checked when it is called."""
GRAINS = (1.0, 0.25, 1 / 3, 0.1, math.sqrt(0.5))
"""Coordinates are whole multiples of one of these: exact ones, simple ones, and awkward ones."""


def recipe(values: Sequence[Any], *rest: int) -> dict[str, Any]:
    """A case's recipe for given values; `rest` is the shape of one, needed when there are none."""
    return {"values": list(values), "shape": [len(values), *rest]}


def offered(kernel: Kernel, name: str, usual: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of the usual values of an option, or of those that the kernel is made for."""
    allowed = [value for value in usual if kernel.allows({name: value})]
    return st.sampled_from(allowed or list(kernel.domain[name]))


@st.composite
def boxes(
    draw: Draw, least: int = 0, most: int = 40, grain: float | None = None, far: bool = True
) -> list[Box]:
    """Boxes with area, in clusters of overlapping ones, a few of them drawn again as they are.

    grain   that all coordinates are multiples of; None draws one
    far     clusters may lie up to 4000 px from the origin, where a float32 has 12 bits for less
            than a pixel, and boxes may be that large that their areas overflow a float16
    """
    grain = draw(st.sampled_from(GRAINS)) if grain is None else grain
    apart = draw(st.sampled_from((40, 900) if far else (40,)))
    corner = st.tuples(st.integers(0, 4), st.integers(0, 4))
    corners = draw(st.lists(corner, min_size=1, max_size=4, unique=True))
    span = round(draw(st.sampled_from((10, 10, 150) if far else (10,))) / grain)
    shift, side = st.integers(-span, span), st.integers(span, 3 * span)
    number = st.integers(0, len(corners) - 1)
    one, n = st.tuples(number, shift, shift, side, side), draw(st.integers(least, most))
    found: list[Box] = []
    for place, dx, dy, w, h in draw(st.lists(one, min_size=n, max_size=n)):
        x, y = (round(corners[place][i] * apart / grain) for i in (0, 1))
        found.append([n * grain for n in (x + dx, y + dy, x + dx + w, y + dy + h)])
    copied = draw(st.lists(st.integers(0, max(len(found) - 1, 0)), max_size=len(found) // 6))
    return [found[copied[i]] if i < len(copied) else box for i, box in enumerate(found)]


@st.composite
def without_area(draw: Draw) -> Box:
    """A box that is a point, a line, or turned inside out along one axis or both."""
    x, y = draw(st.integers(0, 60)), draw(st.integers(0, 60))
    sides = st.sampled_from(((0, 0), (0, 9), (12, 0), (-7, 9), (8, -5), (-6, -6)))
    w, h = draw(sides)
    return [float(x), float(y), float(x + w), float(y + h)]


@st.composite
def some_without_area(draw: Draw, most: int = 12) -> list[Box]:
    """Boxes with area, some turned inside out or squeezed where they are, and a few elsewhere."""
    full = draw(boxes(1, most, grain=1.0, far=False))
    turned = draw(
        st.lists(
            st.sampled_from(((2, 1, 0, 3), (0, 3, 2, 1), (2, 3, 0, 1), (0, 1, 0, 3))),
            min_size=2,
            max_size=6,
        )
    )
    spoilt = [[full[i % len(full)][c] for c in corners] for i, corners in enumerate(turned)]
    return draw(st.permutations(full + spoilt + draw(st.lists(without_area(), max_size=4))))


def scores(n: int) -> st.SearchStrategy[list[float]]:
    """Scores in 0 .. 1, equal ones and very near ones among them."""
    few, any_ = st.sampled_from((0.0, 0.25, 0.5, 0.9, 1.0)), st.floats(0, 1, width=32)
    return st.one_of(st.lists(few, min_size=n, max_size=n), st.lists(any_, min_size=n, max_size=n))


def tied_scores(n: int) -> st.SearchStrategy[list[float]]:
    """Scores of three values only."""
    return st.lists(st.sampled_from((0.75, 0.5, 0.25)), min_size=n, max_size=n)


def distinct_scores(n: int) -> st.SearchStrategy[list[float]]:
    """Scores no two of which are equal, not even in bfloat16, in any order."""
    return st.permutations([falling(i) for i in range(n)])


def falling(rank: int) -> float:
    """A score that falls with its rank and differs from all others in every dtype: 8 bits each."""
    return (1 - rank % 128 / 256) * 0.5 ** (rank // 128)


def crowd(n: int, seed: int, side: float = 20.0, apart: float = 400.0) -> Mapping[str, Any]:
    """Recipes of n boxes in heaps, and of scores without ties, from a seed rather than drawn.

    Enough of them cross every border of a kernel that works on 32 or 64 boxes at a time.
    """
    g = torch.Generator().manual_seed(seed)
    heaps = torch.rand(max(n // 8, 1), 2, generator=g, dtype=torch.float64) * apart
    corner = heaps[torch.randint(len(heaps), (n,), generator=g)]
    corner = corner + torch.rand(n, 2, generator=g, dtype=torch.float64) * side / 2
    sides = (0.5 + torch.rand(n, 2, generator=g, dtype=torch.float64)) * side
    found = (torch.cat([corner, corner + sides], 1) * 128).round() / 128
    order = torch.randperm(n, generator=g).tolist()
    return {
        "boxes": recipe(found.tolist(), 4),
        "scores": recipe([falling(rank) for rank in order]),
    }
