"""Checks of the RoI operators at the edges of their domain: nothing, outside, not finite."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from kernels.conformance.admissible import Answers, answers
from kernels.conformance.call import Answer, Call, Violation, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.check import Check, always
from kernels.conformance.checks.roi_values import values
from kernels.conformance.checks.verdict import result, right, same, shape_of, shaped
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import roi_exact
from kernels.conformance.strategies import rois as drawn
from kernels.conformance.strategies.boxes import Draw
from kernels.conformance.zoo import faults
from kernels.op import operators

OPERATORS = ("roi_align", "roi_pool", "roi_warp")


@st.composite
def without_rois(draw: Draw, kernel: Kernel) -> Case:
    """No RoIs, of some images or of none."""
    given = draw(drawn.cases(kernel, least=0))
    return _shaped(given, 0, draw(st.sampled_from((3, 0))))


@st.composite
def without_pixels(draw: Draw, kernel: Kernel) -> Case:
    """A map of no rows or no columns."""
    given = draw(drawn.cases(kernel))
    return _shaped(given, draw(st.sampled_from((2, 3))), 0)


def _shaped(given: Case, axis: int, size: int) -> Case:
    recipe = given.tensors["features"]
    shape = [*recipe["shape"][:axis], size, *recipe["shape"][axis + 1 :]]
    features = {"kind": "noise", "shape": shape}
    return replace(given, tensors={**given.tensors, "features": features})


def empty(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """An empty result of the right shape, and no gradient but zeros."""
    arguments = rounded(case.arguments(), dtype)
    got = result(call, arguments)
    if kernel.grads:
        answer = call(arguments, grad=got.to(arguments["features"].dtype))
        shaped(answer.result, shape_of(arguments))
        _no_gradient(answer, "no RoIs")


def _no_gradient(answer: Answer, why: str) -> None:
    for name, grad in answer.grads.items():
        if grad is not None and bool((grad != 0).any()):
            raise Violation(f"{why}, and yet {name} get a gradient")


def zero_sized_map(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Zeros of the right shape."""
    got = result(call, rounded(case.arguments(), dtype))
    same(got, torch.zeros_like(got), torch.zeros_like(got), "a map without pixels is not 0")


def outside(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Zeros, in the result and in the gradient."""
    arguments = rounded(case.arguments(), dtype)
    got = result(call, arguments)
    text = "a RoI outside the map is not 0"
    same(got, torch.zeros_like(got), torch.zeros_like(got), text)
    if kernel.grads:
        grad = torch.ones_like(got).to(arguments["features"].dtype)
        _no_gradient(call(arguments, grad=grad), "all RoIs are outside")


def nonfinite(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """One corner of the first RoI NaN or infinite; the others stay right where it returns."""
    for place, value in ((1, torch.nan), (4, torch.inf), (2, -torch.inf)):
        arguments = rounded(case.arguments(), dtype)
        found = answers(kernel.operator, arguments, dtype, exact=False)
        arguments["rois"][0, place] = value
        answer = call(arguments)
        _policy(answer, kernel.nonfinite, f"a RoI with {value}")
        if answer.out is not None:
            got = shaped(answer.result, shape_of(arguments)).double()
            _others_right(got, found, f"beside a RoI with {value}, another one is wrong")


def bad_index(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The first RoI of an image before the first, and of one after the last."""
    for image in (-1, case.tensors["features"]["shape"][0]):
        arguments = rounded(case.arguments(), dtype)
        found = answers(kernel.operator, arguments, dtype, exact=False)
        arguments["rois"][0, 0] = image
        answer = call(arguments)
        _policy(answer, kernel.bad_index, f"a RoI of image {image}")
        if answer.out is not None:
            got = shaped(answer.result, shape_of(arguments)).double()
            _others_right(got, found, f"beside a RoI of image {image}, another one is wrong")


def _policy(answer: Answer, policy: str, what: str) -> None:
    if policy == "raise" and answer.error is None:
        raise Violation(f"{what} raises nothing, though it is declared to")
    if policy not in ("zero", "nan"):
        return
    row = answer.result[0]
    if not bool((row == 0).all() if policy == "zero" else row.isnan().all()):
        value = float(row.flatten()[0])
        raise Violation(f"{what} is declared to give {policy}", {"at": (0, 0, 0, 0), "got": value})


def _others_right(got: Tensor, found: Answers, text: str) -> None:
    got = got.clone()
    got[0] = found.expected[0]  # what that RoI itself gives is a matter of the policy
    right(got, found, text)


def nan_features(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """A NaN in the middle of the first RoI: in the bins that read it, and in no other image's."""
    arguments = rounded(case.arguments(), dtype)
    wide = widened(arguments)
    found = answers(kernel.operator, arguments, dtype, exact=False)
    spot = _spot(wide)
    reference = operators()[kernel.operator].reference
    read = reference(**{**wide, "features": spot}) > 0.01
    features = torch.where(spot.bool(), torch.nan, arguments["features"])
    got = result(call, {**arguments, "features": features})
    swallowed = ~found.near[:, None, None, None] & read & ~got.isnan()
    if bool(swallowed.any()):
        at = tuple(swallowed.nonzero()[0].tolist())
        raise Violation("a NaN that is read does not come out", {"at": at, "got": float(got[at])})
    clear = _clear(kernel.operator, wide, spot).expand_as(got)
    text = "a NaN that is not read changes the result"
    right(torch.where(clear, got, found.nominal[0]), found, text)


def _clear(operator: str, wide: Mapping[str, Any], spot: Tensor) -> Tensor:
    """What a NaN may not reach: other images. RoIPool only compares: the bins that do not read it.

    Where bins are weighted sums, a kernel may multiply every pixel of the image, 0 * NaN too.
    """
    if operator == "roi_pool":
        return (
            operators()[operator].reference(**{**wide, "features": F.max_pool2d(spot, 3, 1, 1)})
            == 0
        )
    image = wide["rois"][:, 0]
    return (image != image[0])[:, None, None, None]


def _spot(wide: Mapping[str, Any]) -> Tensor:
    """1 at the pixel in the middle of the first RoI, in all channels of its image; 0 elsewhere."""
    spot = torch.zeros_like(wide["features"])
    image, x1, y1, x2, y2 = wide["rois"][0].tolist()
    half = wide["spatial_scale"] / 2
    height, width = spot.shape[2:]
    y, x = int((y1 + y2) * half), int((x1 + x2) * half)
    spot[int(image), :, min(max(y, 0), height - 1), min(max(x, 0), width - 1)] = 1
    return spot


def _each(name: str, rule: str, run: Any, cases: Any, *wrong: str, **about: Any) -> Any:
    exact = about.pop("exact", lambda operator: ())
    return tuple(
        Check(
            name=name,
            rule=rule,
            operators=(operator,),
            cases=cases,
            run=run,
            wrong={w: faults.of(operator, w) for w in wrong},
            exact=exact(operator),
            **about,
        )
        for operator in OPERATORS
    )


def _drawn(**about: Any) -> Callable[[Kernel, str], Any]:
    return lambda kernel, dtype: drawn.cases(kernel, **about)


def _index_policy(kernel: Kernel) -> str | None:
    undefined = kernel.bad_index == "undefined"
    return "declared undefined: it may read any memory" if undefined else always(kernel)


FEW = 0.5
CHECKS: tuple[Check, ...] = (
    *_each(
        "degenerate",
        "A RoI of no size or of a negative side gives what the specification says of it:"
        " adaptive sampling has no samples there and gives 0, a fixed number reads where they are.",
        values,
        _drawn(places=("negative", "flat", "crossed", "tiny")),
        "negative sides swapped",
        exact=roi_exact.degenerate,
    ),
    *_each(
        "outside",
        "A RoI more than one pixel outside the map reads 0 and gives no gradient.",
        outside,
        _drawn(places=("outside",), kinds=("noise", "offset", "constant")),
        "clipped to the map",
        "one more",
        examples=FEW,
    ),
    *_each(
        "empty",
        "No RoIs give an empty result, with or without images.",
        empty,
        lambda kernel, dtype: without_rois(kernel),
        "fails without RoIs",
        examples=FEW,
    ),
    *_each(
        "zero-sized map",
        "A map without pixels gives zeros.",
        zero_sized_map,
        lambda kernel, dtype: without_pixels(kernel),
        "one more",
        examples=FEW,
    ),
    *_each(
        "nonfinite",
        "A RoI that is NaN or infinite does what the kernel declares, and spoils no other RoI.",
        nonfinite,
        _drawn(places=("inside", "large"), kinds=("noise", "smooth"), least=2),
        "nothing refused",
        examples=FEW,
    ),
    *_each(
        "bad index",
        "A RoI of an image that is not there does what the kernel declares.",
        bad_index,
        _drawn(places=("inside", "large"), kinds=("noise", "smooth"), least=2),
        "nothing refused",
        skipped=_index_policy,
        examples=FEW,
    ),
    *_each(
        "NaN features",
        "A NaN that a bin reads with a weight above zero comes out of it, through a maximum too; it"
        " reaches no RoI of another image.",
        nan_features,
        _drawn(places=("inside", "large", "core"), kinds=("noise", "smooth", "steps"), least=4),
        "NaN swallowed",
        "NaN infects the batch",
        examples=FEW,
    ),
)
