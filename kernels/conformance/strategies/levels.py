"""Cases of multilevel_roi_align: three maps of one pyramid, RoIs on any of them."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from kernels.conformance.case import Case
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.strategies.boxes import Draw, offered

MAPS = ((12, 16), (6, 8), (3, 5))
SCALES = (0.25, 0.125, 1 / 16)
NAME = "multilevel_roi_align"


@st.composite
def cases(
    draw: Draw,
    kernel: Kernel,
    *,
    least: int = 1,
    most: int = 8,
    kinds: Sequence[str] = drawn.KINDS,
) -> Case:
    """RoIs of a 48 x 64 image; levels of no RoIs are common."""
    options: dict[str, Any] = {
        "output_size": list(draw(offered(kernel, "output_size", drawn.POOLS))),
        "spatial_scales": list(draw(offered(kernel, "spatial_scales", (SCALES,)))),
    }
    for name, values in drawn.OPTIONS["roi_align"].items():
        options[name] = draw(offered(kernel, name, values))
    one = drawn.roi(3, 48, 64, 1.0, ("inside", "across", "tiny", "large", "outside"), 100)
    rois = draw(st.lists(one, min_size=least, max_size=most))
    levels = [draw(st.integers(0, 2)) for _ in rois]
    return case(draw(st.integers(0, 99)), draw(st.sampled_from(kinds)), rois, levels, options)


def case(seed: int, kind: str, rois: Any, levels: Any, options: Any) -> Case:
    """A case from its RoIs and their levels."""
    maps = [{"kind": kind, "shape": [3, 2, *m], "seed": seed + i} for i, m in enumerate(MAPS)]
    tensors: dict[str, dict[str, Any]] = {
        "features": {"list": maps},
        "rois": {"values": [list(row) for row in rois], "shape": [len(rois), 5]},
        "levels": {"values": list(levels), "shape": [len(levels)]},
    }
    return Case(operator=NAME, tensors=tensors, options=options)


def exact() -> tuple[Case, ...]:
    """Every level and image, out of order; then one level alone, adaptive."""
    rois = (
        (2, 3.3, 5.1, 20.2, 17.9),
        (0, -6.2, 4.4, 30.1, 40.3),
        (1, 8.8, 2.1, 60.7, 50.2),
        (2, 40.5, 30.25, 44.0, 39.5),
    )
    usual = {"output_size": [2, 3], "spatial_scales": list(SCALES)}
    fixed = {"sampling_ratio": 2, "aligned": True, "reduce": "mean"}
    return (
        case(3, "noise", rois, (2, 0, 1, 0), {**usual, **fixed}),
        case(4, "noise", rois, (1, 1, 1, 1), {**usual, **fixed, "sampling_ratio": 0}),
    )
