"""Maps of more than 2^32 elements, of which a few are not zero: where an index of 32 bits wraps.

Run only when asked for by name, for the address space that it takes. On a CPU the map stands in a
file with holes, so that it takes little memory; a kernel that copies it is stopped.
"""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from kernels.conformance import sparse
from kernels.conformance.call import Call, Violation, rounded
from kernels.conformance.case import SIDE, Case
from kernels.conformance.check import Check, Wrong
from kernels.conformance.checks import resized
from kernels.conformance.checks.verdict import same, shaped
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import levels
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.zoo import faults
from kernels.conformance.zoo.multilevel import level_by_level
from kernels.op import operators

NAME = "deep"
SHAPE = (2, 2048, 1040, 1040)
"""An image has more than 2^31 elements, both have more than 2^32."""
WINDOWS = ((0, 1020, 1016), (1, 4, 12), (1, 1016, 1020))
"""(image, y, x): the end of the first image, the start of the second, the end of all."""
CORNERS = (2.2, 1.7, 12.3, 13.9)
"""Of the RoI in each window, x before y; no sample is near a jump."""
CLOSE = 0.05
"""Values are whole numbers up to 8, and coordinates of 1040 are off by 2e-4 pixels at most."""


def case(operator: str) -> Case:
    """A RoI in each of the windows."""
    features = {"kind": "windows", "shape": list(SHAPE), "at": [list(w) for w in WINDOWS]}
    rois = torch.tensor([[i, *_corners(x, y)] for i, y, x in WINDOWS], dtype=torch.float64)
    options: dict[str, Any] = {"output_size": [2, 3]}
    if operator == resized.NAME:
        rois = resized.to_shares(rois, torch.empty(SHAPE, device="meta"))
        options["extrapolation_value"] = 0.0
        return drawn.case(operator, features, rois.tolist(), options)
    of = "roi_align" if operator == levels.NAME else operator
    options["spatial_scale"] = 1.0
    options |= {name: values[0] for name, values in drawn.OPTIONS[of].items()}
    single = drawn.case(of, features, rois.tolist(), options)
    return levels.raised(single, 1, 2) if operator == levels.NAME else single


def _corners(x: int, y: int) -> tuple[float, ...]:
    x1, y1, x2, y2 = CORNERS
    return x + x1, y + y1, x + x2, y + y2


def deep(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The windows by the definition, in each layout that the kernel can take without a copy."""
    arguments = rounded(case.arguments(), dtype)
    expected = _expected(case, dtype)
    which = [0, SHAPE[1] // 2, SHAPE[1] - 1]
    copied = []
    for layout in [name for name in kernel.layouts if name != "strided"]:
        answer = call(arguments, layout=layout, mode="deep")
        if answer.error is not None and sparse.refused(answer.error):
            copied.append(layout)
            continue
        got = shaped(answer.result, (len(WINDOWS), SHAPE[1], *expected.shape[2:])).double()
        text = f"beyond element 2^31 of a {layout} map other pixels are read"
        same(got[:, which], expected, torch.full_like(expected, CLOSE), text)
        got[:, which] = 0
        same(got, torch.zeros_like(got), torch.zeros_like(got), text)
    if len(copied) == len(kernel.layouts):
        gigabytes = sparse.ROOM / 2**30
        raise Violation(f"copies the map: it asks for more than {gigabytes:.0f} GB besides it")


def _expected(case: Case, dtype: str) -> Tensor:
    """What the definition gives of each window as a map of its own, in the channels not zero."""
    if case.operator == levels.NAME:
        case = levels.lowered(case)[0]
    arguments = rounded(case.arguments(), dtype)
    windows = _windows(arguments.pop("features"))
    rois = torch.tensor([[i, *_corners(0, 0)] for i in range(len(WINDOWS))], dtype=torch.float64)
    if case.operator == resized.NAME:
        rois = resized.to_shares(rois, windows)
    found: Tensor = operators()[case.operator].reference(
        **{**arguments, "features": windows, "rois": rois}
    )
    return found


def _windows(features: Tensor) -> Tensor:
    """Each window as an image, of the channels that are not zero."""
    values = features.coalesce()
    image, _, row, column = values.indices()
    found = []
    for i, y, x in WINDOWS:
        within = (row >= y) & (row < y + SIDE) & (column >= x) & (column < x + SIDE)
        found.append(values.values()[within & (image == i)].view(3, SIDE, SIDE))
    return torch.stack(found).double()


def _wrapped(operator: str) -> Wrong:
    """Elements found by an index of 32 bits; 0 for one that is negative, which would crash."""
    align = "roi_align" if operator == levels.NAME else operator
    right: Callable[..., Tensor] = faults.right(align)

    def single(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        flat = features.as_strided((features.numel(),), (1,))
        n, c, h, w = features.stride()
        maps = []
        for image, y, x in WINDOWS:
            place = image * n + torch.arange(SHAPE[1])[:, None, None] * c
            place = place + (y + torch.arange(SIDE)[:, None]) * h + (x + torch.arange(SIDE)) * w
            index = place.int().long()
            maps.append(torch.where(index < 0, 0, flat[index.clamp(min=0)]))
        near = torch.stack(maps)
        moved = torch.tensor([[i, *_corners(0, 0)] for i in range(len(WINDOWS))]).to(rois)
        moved = resized.to_shares(moved, near).to(rois) if align == resized.NAME else moved
        return right(near, moved, **o)

    return level_by_level(single) if operator == levels.NAME else single


def _needs(kernel: Kernel) -> str | None:
    if kernel.lane == "reference":
        return "the definition copies the image of each RoI, 9 GB"
    watched = kernel.lane not in ("cpu", "gpu")
    return "every access is watched there, which takes memory for each element" if watched else None


def _check(operator: str) -> Check:
    return Check(
        name=NAME,
        rule="A map may have more than 2^32 elements.",
        operators=(operator,),
        cases=lambda kernel, dtype: st.just(case(operator)),
        run=deep,
        skipped=_needs,
        wrong={"an index of 32 bits": _wrapped(operator)},
        dtypes=("float32",),
    )


OPERATORS = ("roi_align", "roi_pool", "roi_warp", "crop_and_resize", levels.NAME)
CHECKS: tuple[Check, ...] = tuple(_check(operator) for operator in OPERATORS)
