"""Cases of multilevel_roi_align: three maps of one pyramid, RoIs on any of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from kernels.conformance.case import Case
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.strategies.boxes import Draw, offered

MAPS = ((12, 16), (6, 8), (3, 5))
SCALES = (0.25, 0.125, 1 / 16)
NAME = "multilevel_roi_align"


def as_align(kernel: Kernel) -> Kernel:
    """A kernel of many levels as the kernel of RoIAlign that it is where all RoIs are on one."""
    domain = {name: v for name, v in kernel.domain.items() if name != "spatial_scales"}
    return replace(kernel, operator="roi_align", domain=domain)


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
    options = draw(drawn.options_of(as_align(kernel), exact=False, only={}))
    options["spatial_scales"] = list(draw(offered(kernel, "spatial_scales", (SCALES,))))
    options.pop("spatial_scale")
    one = drawn.roi(3, 48, 64, 1.0, ("inside", "across", "tiny", "large", "outside"), 100)
    rois = draw(st.lists(one, min_size=least, max_size=most))
    levels = [draw(st.integers(0, 2)) for _ in rois]
    return case(draw(st.integers(0, 99)), draw(st.sampled_from(kinds)), rois, levels, options)


@st.composite
def raised_cases(draw: Draw, align: st.SearchStrategy[Case]) -> Case:
    """Cases of RoIAlign as those of a pyramid, all RoIs on the same level of one to three."""
    levels = ((1, 2), (0, 1), (0, 2), (2, 3), (1, 3))
    return raised(draw(align), *draw(st.sampled_from(levels)))


def raised(given: Case, level: int, count: int) -> Case:
    """A case of RoIAlign as one level of `count`; the other maps are noise that nobody reads."""
    map_of = given.tensors["features"]
    noise = {"kind": "noise", "shape": [*map_of["shape"][:2], 4, 6]}
    maps = [map_of if i == level else {**noise, "seed": i} for i in range(count)]
    options = dict(given.options)
    scale, k = options.pop("spatial_scale"), len(given.tensors["rois"]["values"])
    options["spatial_scales"] = [scale if i == level else 0.5 for i in range(count)]
    levels = {"values": [level] * k, "shape": [k]}
    tensors = {"features": {"list": maps}, "rois": given.tensors["rois"], "levels": levels}
    return Case(operator=NAME, tensors=tensors, options=options)


def lowered(given: Case) -> tuple[Case, int]:
    """The inverse of `raised`, and the level."""
    level = given.tensors["levels"]["values"][0]
    options = dict(given.options)
    options["spatial_scale"] = options.pop("spatial_scales")[level]
    tensors = {"features": given.tensors["features"]["list"][level], "rois": given.tensors["rois"]}
    return Case(operator="roi_align", tensors=tensors, options=options), level


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
