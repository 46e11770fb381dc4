"""Laws of the RoI operators: what holds of a result however its definition is written."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.conformance import bounds
from kernels.conformance.call import Call, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks import resized
from kernels.conformance.checks.verdict import every_answer, result, same, settled
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.zoo import faults
from kernels.crop_and_resize.reference import sample_points
from kernels.roi_pool.reference import rounded as to_pixels

ALL = ("roi_align", "roi_pool", "roi_warp")
SAMPLED = ("roi_align", "roi_warp")
MEAN = {"reduce": ("mean",), "sampling": ("regular",)}


def plane(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Every bin is the plane at its own centre."""
    exact, arguments = case.arguments(), rounded(case.arguments(), dtype)
    found = settled(call, arguments, dtype, kernel.operator)
    y, x = _centres(kernel.operator, widened(arguments))
    first = exact["features"][0, 0]
    down, right = first[1, 0] - first[0, 0], first[0, 1] - first[0, 0]
    expected = (first[0, 0] + down * y[:, :, None] + right * x[:, None])[:, None]
    expected = expected.expand_as(found.got)
    stored = bounds.epsilons(dtype)[1] * exact["features"].abs().max()
    same(
        found.got[found.clear],
        expected[found.clear],
        (found.bound + stored)[found.clear],
        "a plane is not reproduced at the centres of bins",
    )


def _centres(operator: str, wide: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Centres of the bins (k, p) and (k, q), pixel i at i; of CropAndResize, its samples."""
    rows, columns = wide["output_size"]
    if operator == resized.NAME:
        x1, y1, x2, y2 = wide["rois"][:, 1:].unbind(1)
        height, width = wide["features"].shape[2:]
        return sample_points(y1, y2, rows, height), sample_points(x1, x2, columns, width)
    corners = wide["rois"][:, 1:] * wide["spatial_scale"]
    if operator == "roi_warp":
        corners = to_pixels(corners)
        corners[:, 2:] += wide["box"] == "inclusive"
    x1, y1, x2, y2 = (corners - 0.5 * wide.get("aligned", True))[..., None].unbind(1)
    if not wide.get("aligned", True):
        x2, y2 = torch.maximum(x2, x1 + 1), torch.maximum(y2, y1 + 1)
    y = y1 + (torch.arange(rows).double() + 0.5) / rows * (y2 - y1)
    return y, x1 + (torch.arange(columns).double() + 0.5) / columns * (x2 - x1)


def constant(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Bins of a constant map are that constant."""
    arguments = rounded(case.arguments(), dtype)
    found = settled(call, arguments, dtype, kernel.operator)
    value, clear = arguments["features"].double().flatten()[0], found.clear
    got = found.got[clear]
    text = "a constant map does not give that constant"
    same(got, value.expand_as(got), found.bound[clear], text)


def linearity(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """op(2 f + g) = 2 op(f) + op(g), of small whole numbers, which every dtype adds exactly."""
    arguments = rounded(case.arguments(), dtype)
    f = arguments["features"]
    g = f.flip(3).roll(1, 2)
    one = settled(call, arguments, dtype, kernel.operator)
    two = settled(call, {**arguments, "features": g}, dtype, kernel.operator)
    both = settled(call, {**arguments, "features": 2 * f + g}, dtype, kernel.operator)
    bound = 2 * one.bound + two.bound + both.bound
    clear = one.clear
    text = "the mean is not linear in the features"
    same(both.got[clear], (2 * one.got + two.got)[clear], bound[clear], text)


def translation(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Map and RoIs shifted by (2, 1) pixels within a larger map."""
    made = case.arguments()
    shares = kernel.operator == resized.NAME
    scale = 1.0 if shares else made["spatial_scale"]
    rois = resized.to_pixels(made["rois"], made["features"]) if shares else made["rois"]

    def placed(down: int, right: int) -> dict[str, Any]:
        sides = (right, 10 - right, down, 10 - down)
        features = F.pad(made["features"], sides, mode="replicate")
        moved = rois + torch.tensor([0, right, down, right, down]).double() / scale
        moved = resized.to_shares(moved, features) if shares else moved
        return rounded({**made, "features": features, "rois": moved}, dtype)

    here, there = placed(4, 4), placed(6, 5)
    bound = every_answer(kernel.operator, here, dtype, exact=True).nominal[1]
    text = "a map and RoIs shifted by whole pixels give another result"
    same(result(call, there), result(call, here), 2 * bound, text)


def scale(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """RoIs twice as large at half the scale are the same RoIs."""
    arguments = rounded(case.arguments(), dtype)
    found = settled(call, arguments, dtype, kernel.operator)
    for t in (2.0, 0.25):
        rois = faults.corners(arguments["rois"], lambda x, t=t: x * t)  # type: ignore[misc]
        other = {**arguments, "rois": rois, "spatial_scale": arguments["spatial_scale"] / t}
        got, clear = result(call, other), found.clear
        text = f"RoIs times {t} at the scale / {t} give another result"
        same(got[clear], found.got[clear], 2 * found.bound[clear], text)


def permutation(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """RoIs in another order give the same results in that order."""
    arguments = rounded(case.arguments(), dtype)
    found = settled(call, arguments, dtype, kernel.operator)
    order = torch.arange(len(arguments["rois"])).flip(0)
    got = result(call, {**arguments, "rois": arguments["rois"][order]})[order]
    clear = found.clear
    text = "RoIs in another order give other results"
    same(got[clear], found.got[clear], 2 * found.bound[clear], text)


def batch(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """An image under another index, and among other images."""
    arguments = rounded(case.arguments(), dtype)
    found = settled(call, arguments, dtype, kernel.operator)
    features, rois = arguments["features"], arguments["rois"]
    index, clear = rois[:, 0].clone(), found.clear
    moved = torch.cat([((index + 1) % len(features))[:, None], rois[:, 1:]], 1)
    got = result(call, {**arguments, "features": features.roll(1, 0), "rois": moved})
    text = "images and indices permuted together give another result"
    same(got[clear], found.got[clear], 2 * found.bound[clear], text)
    others = torch.arange(len(features)) != index[0]
    changed = torch.where(others[:, None, None, None], 3 - 2 * features.flip(3), features)
    got = result(call, {**arguments, "features": changed})
    clear = clear & (index == index[0])
    text = "the result of an image depends on the other images"
    same(got[clear], found.got[clear], 2 * found.bound[clear], text)


Run = Callable[[Call, Case, str, Kernel], None]


def _check(
    run: Run,
    rule: str,
    operators: tuple[str, ...],
    wrong: Mapping[str, str],
    only: Mapping[str, tuple[Any, ...]] | None = None,
    **about: Any,
) -> tuple[Check, ...]:
    """A law for each operator; `wrong` are names of faults, all or those of one operator."""

    def skipped(kernel: Kernel) -> str | None:
        for name, values in (only or {}).items():
            if drawn.lacks(kernel, name, values[0]):
                return f"it is not made for {name} {values[0]!r}, of which this law is"
        if run is scale and "spatial_scale" in kernel.domain:
            return "it is made for some scales only"
        return None

    law = Check(
        name=run.__name__,
        rule=rule,
        operators=(),
        cases=lambda kernel, dtype: drawn.cases(kernel, only=only, **about),
        run=run,
        skipped=skipped,
    )
    return tuple(
        replace(
            law,
            operators=(operator,),
            wrong={
                name: faults.of(operator, name)
                for name, whose in wrong.items()
                if whose in ("all", operator)
            },
        )
        for operator in operators
    )


INSIDE = ("inside", "core", "tiny", "large")
CHECKS: tuple[Check, ...] = (
    *_check(
        plane,
        "Bilinear samples, regular in each bin, reproduce a plane at the centre of the bin.",
        SAMPLED,
        {"half a pixel off": "all", "nearest pixel": "roi_align", "bins rolled": "all"},
        MEAN,
        kinds=("plane",),
        places=("core",),
    ),
    *_check(
        constant,
        "The weights of a bin's samples sum to one.",
        ALL,
        {"one more": "all", "doubled": "all"},
        kinds=("constant",),
        places=("core",),
    ),
    *_check(
        linearity,
        "The mean of bilinear samples is linear in the features.",
        SAMPLED,
        {"squared": "all", "absolute features": "all"},
        MEAN,
        kinds=("steps",),
    ),
    *_check(
        translation,
        "A RoI is read relative to its own corners, at whatever pixel of the map they are.",
        ALL,
        {"brighter to the right": "all"},
        kinds=("noise", "smooth", "steps"),
        places=("core", "inside", "tiny"),
        exact=True,
    ),
    *_check(
        scale,
        "Corners times spatial_scale are feature pixels: nothing else depends on either.",
        ALL,
        {"scale ignored": "all", "shift before scaling": "all"},
        places=INSIDE,
    ),
    *_check(
        permutation,
        "Row i of the result belongs to RoI i, whatever the other RoIs are.",
        ALL,
        {"last RoI dropped": "all", "RoIs sorted by image": "all"},
        places=INSIDE,
        kinds=("noise", "smooth", "steps", "offset"),
        least=2,
    ),
    *_check(
        batch,
        "A RoI reads the image of its index and no other.",
        ALL,
        {"image modulo 2": "all", "batch mean leaks": "all"},
        places=INSIDE,
        kinds=("noise", "smooth", "offset"),
    ),
)
