"""Cases of the RoI operators: few shapes, three images or more, RoIs in every kind of place.

Coordinates are drawn in feature pixels, where the border and the rounding are, then put into image
pixels. They are whole numbers of some small fraction, so that they shrink and read well.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from kernels.conformance.case import Case
from kernels.conformance.declaration import USUAL, Kernel
from kernels.conformance.strategies.boxes import Draw

MAPS = ((7, 9), (12, 5), (10, 16))
"""(height, width); few, for kernels that are compiled for each shape."""
POOLS = ((2, 3), (4, 2), (3, 1), (7, 5))
EXACT_POOLS = ((2, 4), (4, 1), (1, 2))
"""Powers of two, by which division is exact."""
SCALES = (0.25, 1 / 16, 0.3, 1 / 3, 1.0)
EXACT_SCALES = (0.25, 1 / 16, 0.5, 1.0)
KINDS = ("noise", "smooth", "constant", "plane", "offset", "steps")
OPTIONS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "roi_align": {
        "sampling_ratio": (2, 0, 1, 3),
        "aligned": (True, False),
        "reduce": ("mean", "max"),
    },
    "roi_pool": {},
    "roi_warp": {
        "sampling_ratio": (2, 0, 1, 3),
        "reduce": ("mean", "max"),
        "box": ("inclusive", "plain"),
        "sampling": ("regular", "regular", "regular", "mnc"),
    },
}
COMMON = {**USUAL, "box": "inclusive", "sampling": "regular"}
PLACES = ("inside", "across", "tiny", "large", "outside", "flat")
"""Where a RoI lies.

inside    within the map          across    over one border       outside  two pixels beyond it
tiny      at most a pixel wide    large     from before the map to beyond it
flat      of no size              negative  its far side before its near side
crossed   negative along one axis only
core      at least two pixels from any border, and a pixel wide
"""


@st.composite
def cases(
    draw: Draw,
    kernel: Kernel,
    *,
    places: Sequence[str] = PLACES,
    kinds: Sequence[str] = KINDS,
    exact: bool = False,
    only: Mapping[str, tuple[Any, ...]] | None = None,
    maps: Sequence[tuple[int, int]] = MAPS,
    least: int = 1,
) -> Case:
    """A case of the kernel's operator, of options that it claims to compute.

    exact   coordinates, scale and bins are such that no float rounds them
    only    option -> the values that the check has a rule for
    least   RoIs; none are drawn for 0
    """
    options = draw(options_of(kernel, exact=exact, only=only or {}))
    height, width = draw(st.sampled_from(maps))
    images, channels = draw(st.sampled_from((3, 4))), draw(st.sampled_from((2, 1, 3)))
    features = {
        "kind": draw(st.sampled_from(kinds)),
        "shape": [images, channels, height, width],
        "seed": draw(st.integers(0, 99)),
    }
    grid = 4 if exact else 100
    one = roi(images, height, width, options["spatial_scale"], places, grid)
    rois = draw(st.lists(one, min_size=least, max_size=8 if least else 0))
    return case(kernel.operator, features, rois, options)


def case(operator: str, features: Mapping[str, Any], rois: Sequence[Any], options: Any) -> Case:
    """A case from a recipe of features and rows of RoIs, of which there may be none."""
    rows = {"values": [list(row) for row in rois], "shape": [len(rois), 5]}
    return Case(operator=operator, tensors={"features": features, "rois": rows}, options=options)


@st.composite
def options_of(
    draw: Draw, kernel: Kernel, *, exact: bool, only: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Options that the kernel allows, all of them at once."""
    pools = only.get("output_size", EXACT_POOLS if exact else POOLS)
    scales = only.get("spatial_scale", EXACT_SCALES if exact else SCALES)
    drawn: dict[str, Any] = {
        "output_size": list(draw(st.sampled_from(_within(kernel, "output_size", pools)))),
        "spatial_scale": draw(st.sampled_from(_within(kernel, "spatial_scale", scales))),
    }
    for name, values in OPTIONS[kernel.operator].items():
        usable = [v for v in only.get(name, values) if not exact or v != 3 or name == "aligned"]
        drawn[name] = draw(st.sampled_from(_within(kernel, name, usable)))
    for name, values in OPTIONS[kernel.operator].items():
        if not kernel.allows({n: drawn[n] for n in OPTIONS[kernel.operator]}):
            drawn[name] = _within(kernel, name, values)[
                0
            ]  # options that it allows, but not together
    if drawn.get("sampling") == "mnc":  # its corner samples meet the border at halves of a pixel
        drawn["output_size"] = list(draw(st.sampled_from(EXACT_POOLS)))
    return drawn


def _within(kernel: Kernel, name: str, values: Sequence[Any]) -> list[Any]:
    """Those of the values that the kernel allows, or else whatever its domain names."""
    if name in COMMON and name not in kernel.takes:
        return [COMMON[name]]
    domain = kernel.domain.get(name)
    if domain is None:
        return list(values)
    known = [tuple(v) if isinstance(v, (list, tuple)) else v for v in domain]
    return [v for v in values if v in known] or known


def lacks(kernel: Kernel, name: str, value: Any) -> bool:
    """Whether a kernel is not made for a value of an option of its operator."""
    return name in OPTIONS[kernel.operator] and value not in _within(kernel, name, [value])


@st.composite
def roi(
    draw: Draw,
    images: int,
    height: int,
    width: int,
    scale: float,
    places: Sequence[str],
    grid: int,
) -> list[float]:
    """One row (image, x1, y1, x2, y2); image pixels, corners on a grid of feature pixels."""
    place = draw(st.sampled_from(places))
    along = (place, place)
    if place == "crossed":
        along = ("negative", "large") if draw(st.booleans()) else ("large", "negative")
    x1, x2 = draw(interval(along[0], width, grid))
    y1, y2 = draw(interval(along[1], height, grid))
    row = [round(v / scale, 6) if grid == 100 else v / scale for v in (x1, y1, x2, y2)]
    return [float(draw(st.integers(0, images - 1))), *row]


@st.composite
def interval(draw: Draw, place: str, length: int, grid: int) -> tuple[float, float]:
    """The near and far side of a RoI along an axis of that many pixels."""

    def at(low: float | int, high: float | int) -> float:
        return draw(st.integers(round(low * grid), round(high * grid))) / grid

    if place == "inside":
        a, b = at(0, length), at(0, length)
        return min(a, b), max(a, b)
    if place == "core":
        low = at(2, length - 3)
        return low, at(low + 1, length - 2)
    if place == "large":
        return at(-length, 0), at(length, 2 * length)
    if place == "outside":
        low, side = at(length + 2, length + 6), at(0, 4)
        return (low, low + side) if draw(st.booleans()) else (length - low - side, length - low)
    low = at(0, length)
    if place == "across":
        over = at(0, 4)
        return (-over, low) if draw(st.booleans()) else (low, length + over)
    if place == "negative":
        return low, low - at(0, 4)
    return (low, low) if place == "flat" else (low, low + at(0, 1))


INGREDIENTS = (
    "coordinates that are not whole",
    "a scale other than 1",
    "pools that are not square",
    "maps that are not square",
    "three images or more",
    "RoIs of an image beyond the second",
    "RoIs across the border",
    "RoIs outside",
)
"""What a suite must contain, or kernels with coarse faults pass it."""


def ingredients(given: Case) -> frozenset[str]:
    """Which of INGREDIENTS a case of a RoI operator holds."""
    images, _, height, width = given.tensors["features"]["shape"]
    scale = given.options.get("spatial_scale", 1.0)
    rows, columns = given.options["output_size"]
    rois = given.tensors["rois"]["values"]
    scaled = [[v * scale for v in row[1:]] for row in rois]
    outside = [x2 < -1 or y2 < -1 or x1 > width + 1 or y1 > height + 1 for x1, y1, x2, y2 in scaled]
    across = [
        not out and (x1 < 0 or y1 < 0 or x2 > width or y2 > height)
        for out, (x1, y1, x2, y2) in zip(outside, scaled, strict=True)
    ]
    held = (
        any(v != round(v) for row in rois for v in row[1:]),
        scale != 1,
        rows != columns,
        height != width,
        images >= 3,
        any(row[0] >= 2 for row in rois),
        any(across),
        any(outside),
    )
    return frozenset(name for name, there in zip(INGREDIENTS, held, strict=True) if there)


def coverage(given: Iterable[Case]) -> dict[str, int]:
    """In how many of the cases each of INGREDIENTS occurs, those that occur in none included."""
    found = Counter(name for one in given for name in ingredients(one))
    return {name: found[name] for name in INGREDIENTS}
