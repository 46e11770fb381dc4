"""Cases of crop_and_resize: boxes in shares of a map, mirrored, beyond it, or of no size."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from kernels.conformance.case import Case
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.strategies.boxes import Draw, offered

NAME = "crop_and_resize"
EXACT_MAPS = ((5, 9), (9, 17))
"""A power of two and one: shares of it that are binary fractions are exact."""
EXACT_POOLS = ((2, 3), (5, 2), (1, 3))


@st.composite
def cases(
    draw: Draw,
    kernel: Kernel,
    *,
    exact: bool = False,
    least: int = 1,
    kinds: Sequence[str] = drawn.KINDS,
    inside: bool = False,
    values: tuple[float, ...] = (0.0, -2.5),
) -> Case:
    """Boxes of three images.

    exact    coordinates that no float rounds, many of them on the border of the map
    inside   boxes that end where the map does, at most
    values   of extrapolation
    """
    pools, maps = (EXACT_POOLS, EXACT_MAPS) if exact else (drawn.POOLS, drawn.MAPS)
    options = {
        "output_size": list(draw(offered(kernel, "output_size", pools))),
        "extrapolation_value": draw(offered(kernel, "extrapolation_value", values)),
    }
    shape = [3, draw(st.sampled_from((2, 1))), *draw(st.sampled_from(maps))]
    kind = draw(st.sampled_from(kinds))
    features = {"kind": kind, "shape": shape, "seed": draw(st.integers(0, 99))}
    grid = 8 if exact else 100
    over = 0 if inside else grid // 2
    side = st.integers(-over, grid + over).map(lambda i: i / grid)
    row = st.tuples(st.integers(0, 2).map(float), side, side, side, side)
    rois = draw(st.lists(row, min_size=least, max_size=8 if least else 0))
    return drawn.case(NAME, features, rois, options)


def exact() -> tuple[Case, ...]:
    """Inside, mirrored, beyond, and a box that ends where the map does."""
    rois = ((2, 0.13, 0.22, 0.71, 0.93), (0, 0.8, 0.31, 0.2, 0.77), (1, -0.3, 0.2, 0.6, 1.4))
    features = {"kind": "noise", "shape": [3, 2, 7, 9], "seed": 3}
    return tuple(
        drawn.case(NAME, features, rois, options)
        for options in (_options([2, 3], -2.5), _options([3, 1], 0.0))
    )


def branches() -> tuple[Case, ...]:
    """The whole map, corner to corner; and boxes that touch its border from either side."""
    rois = ((1, 0, 0, 1, 1), (2, 1, 1, 0, 0), (0, -0.25, 0.5, 0, 1.5), (1, 0.5, 1, 1.25, 1))
    features = {"kind": "noise", "shape": [3, 2, 5, 9], "seed": 3}
    return (drawn.case(NAME, features, rois, _options([2, 3], -2.5)),)


def _options(size: Any, value: float) -> dict[str, Any]:
    return {"output_size": size, "extrapolation_value": value}
