"""The rules of crop_and_resize: samples from corner to corner, and what lies outside."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kernels.conformance.call import Call, rounded
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks import gradients, roi_laws
from kernels.conformance.checks.making import Maker
from kernels.conformance.checks.resized import answers
from kernels.conformance.checks.verdict import result, right, same, settled
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import crop_and_resize as drawn
from kernels.conformance.zoo import crop_and_resize as zoo


def values(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Any of the right answers, within the bound."""
    arguments = rounded(case.arguments(), dtype)
    found = answers(arguments, dtype, exact=False)
    right(result(call, arguments), found, "differs from the definition")


def branches(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The one right answer, where no coordinate is rounded."""
    arguments = rounded(case.arguments(), dtype)
    found = answers(arguments, dtype, exact=True)
    right(result(call, arguments), found, "took another side of the border than the definition")


def empty(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """An empty result of the right shape."""
    result(call, rounded(case.arguments(), dtype))


def zero_sized_map(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The extrapolation value everywhere."""
    recipe = case.tensors["features"]
    none = {"kind": "noise", "shape": [*recipe["shape"][:2], 0, recipe["shape"][3]]}
    made = replace(case, tensors={**case.tensors, "features": none})
    arguments = rounded(made.arguments(), dtype)
    got = result(call, arguments)
    value = torch.full_like(got, arguments["extrapolation_value"])
    same(got, value, torch.zeros_like(got), "a map without pixels is not the extrapolation value")


def mirror(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """A box whose ends change places, alone and together with the map."""
    arguments = rounded(case.arguments(), dtype)
    found = settled(call, arguments, dtype, kernel.operator)
    rois, features, clear = arguments["rois"], arguments["features"], found.clear

    def compared(other: Tensor, text: str) -> None:
        same(other[clear], found.got[clear], 2 * found.bound[clear], text)

    turned = result(call, {**arguments, "rois": rois[:, [0, 3, 4, 1, 2]]}).flip(2, 3)
    compared(turned, "a box whose ends change places is not turned around")
    upside_down = torch.cat([rois[:, :1], 1 - rois[:, 1:]], 1)
    both = result(call, {**arguments, "features": features.flip(2, 3), "rois": upside_down})
    compared(both, "a map and a box turned around together give another result")


def _made_for(value: float) -> Callable[[Kernel], str | None]:
    def skipped(kernel: Kernel) -> str | None:
        fits = kernel.allows({"extrapolation_value": value})
        return None if fits else f"not made for the extrapolation value {value:g}, of which it is"

    return skipped


def _linear(kernel: Kernel) -> str | None:
    return _made_for(0.0)(kernel) or gradients.no_grads(kernel)


_check = Maker(drawn.NAME, drawn.cases)
BY_DEFINITION: tuple[Check, ...] = (
    _check(
        "values",
        "Samples run from corner to corner of the box, one per bin, read bilinearly; outside the"
        " map is the extrapolation value.",
        values,
        *(zoo.zeros, zoo.half_a_bin_off, zoo.first_image_only),
        exact=drawn.exact(),
    ),
    _check(
        "branches",
        "A sample on the first or last pixel is inside, one beyond it by however little outside.",
        branches,
        *(zoo.border_left_out, zoo.sides_sorted),
        draw={"exact": True},
        exact=drawn.branches(),
    ),
    _check(
        "empty",
        "No RoIs give an empty result.",
        empty,
        zoo.needs_a_roi,
        draw={"least": 0},
        examples=0.3,
    ),
    _check(
        "zero-sized map",
        "A map without pixels gives the extrapolation value.",
        zero_sized_map,
        "one more",
        examples=0.3,
    ),
)
FEW = 0.5
LAWS: tuple[Check, ...] = (
    _check(
        "plane",
        "Bilinear samples reproduce a plane where they are.",
        roi_laws.plane,
        *(zoo.half_a_bin_off, zoo.whole_map, "bins rolled"),
        draw={"kinds": ("plane",), "inside": True},
        examples=FEW,
    ),
    _check(
        "constant",
        "The weights of a sample sum to one.",
        roi_laws.constant,
        *("one more", "doubled"),
        draw={"kinds": ("constant",), "inside": True},
        examples=FEW,
    ),
    _check(
        "linearity",
        "Bilinear samples are linear in the features.",
        roi_laws.linearity,
        *("squared", "absolute features"),
        draw={"kinds": ("steps",), "values": (0.0,)},
        skipped=_made_for(0.0),
        examples=FEW,
    ),
    _check(
        "translation",
        "A box is read from its own ends, at whatever pixel of the map they are.",
        roi_laws.translation,
        *("brighter to the right", zoo.nearest_pixel_of_the_map),
        draw={"kinds": ("noise", "smooth", "steps"), "inside": True, "exact": True},
        examples=FEW,
    ),
    _check(
        "mirror",
        "A box whose ends change places is turned around, and with its map the same again.",
        mirror,
        *(zoo.sides_sorted, "brighter to the right"),
        draw={"kinds": ("noise", "steps")},
        examples=FEW,
    ),
    _check(
        "permutation",
        "Row i of the result belongs to RoI i, whatever the other RoIs are.",
        roi_laws.permutation,
        *("last RoI dropped", "RoIs sorted by image"),
        draw={"kinds": ("noise", "smooth", "offset"), "least": 2},
        examples=FEW,
    ),
    _check(
        "batch",
        "A RoI reads the image of its index and no other.",
        roi_laws.batch,
        *("image modulo 2", "batch mean leaks"),
        draw={"kinds": ("noise", "smooth", "offset")},
        examples=FEW,
    ),
)
GRADIENTS: tuple[Check, ...] = (
    _check(
        "adjoint",
        "The backward pass of a linear map is its transpose.",
        gradients.adjoint,
        *("gradient doubled", "gradient lost", "gradient of the next image"),
        draw={"values": (0.0,)},
        skipped=_linear,
        examples=FEW,
    ),
    _check(
        "gradient",
        "The gradient reaches the pixels that a sample reads, by their weights.",
        gradients.gradient,
        *("gradient doubled", "no gradient", "gradient of the next image"),
        draw={"kinds": ("noise",)},
        skipped=gradients.no_grads,
    ),
    _check(
        "double backward",
        "A gradient has a gradient where that is declared; elsewhere asking for it raises.",
        gradients.double_backward,
        *("second gradient doubled", "second gradient lost"),
        draw={"kinds": ("noise",)},
        skipped=gradients.no_grads,
        examples=FEW,
    ),
)
CHECKS: tuple[Check, ...] = (*BY_DEFINITION, *LAWS, *GRADIENTS)
