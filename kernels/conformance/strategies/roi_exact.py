"""Cases of the RoI operators that every run tries: what must never depend on the draw."""

from typing import Any

from kernels.conformance.case import Case
from kernels.conformance.strategies.rois import OPTIONS, case

ROIS = (
    (3, 2.13, 3.57, 20.9, 17.31),
    (2, -7.4, 5.2, 18.6, 33.3),
    (0, 11.75, 9.06, 13.31, 10.44),
    (1, 60.5, 70.25, 80.0, 77.7),
    (3, 20.2, -9.9, 49.3, 15.1),
)
"""Image pixels of a 28 x 36 image: inside, across two borders, tiny, outside, across again."""


def values(operator: str) -> tuple[Case, ...]:
    """Every ingredient in the first case; then long maps, legacy, adaptive and the maximum."""
    usual = _case(operator, "noise", (7, 9), ROIS, output_size=[2, 3], spatial_scale=0.25)
    long = _case(
        operator, "noise", (3, 300), LONG, output_size=[2, 3], spatial_scale=0.25, sampling_ratio=2
    )
    return (usual, long, *(_case(operator, **one) for one in _OTHERS[operator]))


LONG = ((2, 1021.3, 1.1, 1190.7, 9.2), (1, 900.1, 0.4, 907.3, 11.9), (0, 1150.9, -3.0, 1222.2, 8.1))
LARGE = ((0, -1.0, -2.0, 250.0, 165.0), (2, 3.3, 2.2, 250.7, 158.6), (1, 9.1, 8.3, 20.4, 60.2))
TINY = ((2, 5.3, 6.1, 5.9, 7.3), (0, 20.2, 11.7, 21.1, 27.9), (1, 12.1, 3.3, 30.3, 4.9))

_OTHERS: dict[str, tuple[dict[str, Any], ...]] = {
    "roi_align": (
        {"kind": "offset", "map_size": (10, 16), "rois": LARGE, "output_size": [1, 2],
         "spatial_scale": 1 / 16, "sampling_ratio": 0},
        {"kind": "noise", "map_size": (7, 9), "rois": TINY, "output_size": [2, 3],
         "spatial_scale": 0.25, "aligned": False},
        {"kind": "noise", "map_size": (12, 5), "rois": ROIS, "output_size": [3, 1],
         "spatial_scale": 0.3, "sampling_ratio": 0, "aligned": False},
        {"kind": "noise", "map_size": (7, 9), "rois": ROIS, "output_size": [2, 3],
         "spatial_scale": 0.25, "sampling_ratio": 3, "reduce": "max"},
    ),
    "roi_pool": (
        {"kind": "steps", "map_size": (12, 5), "rois": ROIS, "output_size": [4, 2],
         "spatial_scale": 0.3},
        {"kind": "offset", "map_size": (10, 16), "rois": LARGE, "output_size": [7, 5],
         "spatial_scale": 1 / 16},
    ),
    "roi_warp": (
        {"kind": "noise", "map_size": (12, 5), "rois": ROIS, "output_size": [2, 3],
         "spatial_scale": 0.25, "box": "plain", "reduce": "max"},
        {"kind": "noise", "map_size": (7, 9), "rois": ROIS, "output_size": [2, 4],
         "spatial_scale": 0.25, "box": "plain", "sampling": "mnc"},
        {"kind": "offset", "map_size": (10, 16), "rois": LARGE, "output_size": [1, 2],
         "spatial_scale": 1 / 16, "sampling_ratio": 0},
    ),
}  # fmt: skip


def degenerate(operator: str) -> tuple[Case, ...]:
    """Negative along one axis, along the other, along both, and of no size; fixed and adaptive."""
    rois = (
        (0, 25.3, 3.1, 1.2, 20.7),
        (2, 3.3, 22.1, 30.2, 2.7),
        (1, 30.1, 20.2, 2.3, 3.4),
        TINY[0],
    )
    flat = (3, 8.2, 9.1, 8.2, 9.1)
    about: Any = {"output_size": [2, 3], "spatial_scale": 0.25}
    ratios = (2, 0) if "sampling_ratio" in OPTIONS[operator] else (2,)
    return tuple(
        _case(operator, "noise", (7, 9), (*rois, flat), **about, sampling_ratio=ratio)
        for ratio in ratios
    )


def branches(operator: str) -> tuple[Case, ...]:
    """RoIs whose samples lie on the border rule, whose sides are whole bins, or end in a half."""
    if operator != "roi_align":
        halves = ((2, 0.5, 0.5, 2.5, 2.5), (0, -0.5, -1.5, 4.5, 3.5), (1, 2.5, 1.5, 6.5, 5.5))
        return (_case(operator, "noise", (7, 9), halves, output_size=[2, 4], spatial_scale=1.0),)
    border = ((0, -1.5, -1.5, 0.5, 0.5), (2, 8.5, 6.5, 10.5, 8.5), (1, -1.75, 2.0, 0.25, 4.0))
    whole = ((0, 4.0, 8.0, 20.0, 24.0), (1, 2.0, 6.0, 18.0, 14.0), (2, 0.0, 0.0, 36.0, 32.0))
    at_border = {"output_size": [1, 1], "spatial_scale": 1.0, "sampling_ratio": 1}
    in_bins = {"output_size": [2, 4], "spatial_scale": 0.25, "sampling_ratio": 0}
    return (
        _case(operator, "noise", (7, 9), border, **at_border),
        _case(operator, "noise", (7, 9), whole, **in_bins),
        _case(operator, "noise", (7, 9), whole, **in_bins, aligned=False),
    )


def _case(operator: str, kind: str, map_size: tuple[int, int], rois: Any, **options: Any) -> Case:
    features = {"kind": kind, "shape": [4, 2, *map_size], "seed": 7}
    known = OPTIONS[operator]
    usual = {name: values[0] for name, values in known.items()}
    sizes = {n: options.pop(n) for n in ("output_size", "spatial_scale")}
    chosen = {n: v for n, v in options.items() if n in known}
    return case(operator, features, rois, {**sizes, **usual, **chosen})
