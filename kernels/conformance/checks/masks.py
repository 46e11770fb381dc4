"""The rules of paste_masks, and beside them those of crop_masks."""

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from kernels.conformance.call import Call, Violation, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks import crops
from kernels.conformance.checks.boxes import near
from kernels.conformance.checks.making import Maker
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import masks as draws
from kernels.conformance.strategies.boxes import Box, Draw, offered, recipe
from kernels.conformance.zoo import masks as zoo
from kernels.op import operators

THRESHOLDS = (None, 0.5, 0.25, 0.8)
METHODS = ("exact", "grown")


def soft_and_error(arguments: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """What the definition gives before the threshold, and how far from it a right kernel may be.

    A pixel's place in the mask is (centre - x1) / (x2 - x1) * m - 0.5: four roundings of at most
    m + 1, and where a kernel writes it as a x + b, of m c / (x2 - x1), c the largest coordinate.
    Boxes come in float32 at least, and so must that be. The error of a pixel is that of its place
    times the steepest step of the padded mask, and 8 roundings in the dtype of what is added up.

    Infinite where the whole pixels of a grown box depend on rounding: any result will do.
    """
    wide = {**widened(arguments), "threshold": None}
    reference = operators()["paste_masks"].reference
    soft, read = reference(**wide), reference(**{**wide, "masks": wide["masks"].abs()})
    masks, boxes = wide["masks"], wide["boxes"]
    eps, fine = (torch.finfo(arguments[n].dtype).eps for n in ("masks", "boxes"))
    m = masks.shape[-1]
    padded = F.pad(masks, (1, 1, 1, 1))
    steps = [padded.diff(dim=d).abs().flatten(1) for d in (1, 2)]
    step = torch.cat(steps, 1).amax(1) if len(masks) else masks.new_zeros(0)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-9)
    reach = boxes.abs().amax(1).clamp(min=float(max(arguments["size"])))[:, None]
    if arguments["method"] == "exact":
        place = fine * (4 * (m + 1) + 4 * reach * m / sides).sum(1)
    else:
        place = fine * 8 * (m + 3.0) + 0 * reach[:, 0]
        half = sides / 2 * ((m + 2) / m)
        middle = (boxes[:, 2:] + boxes[:, :2]) / 2
        edges = torch.cat([middle - half, middle + half], 1)
        free = ((edges - edges.round()).abs() <= 16 * fine * (reach + 1)).any(1)
        place = place.masked_fill(free, torch.inf)
        step = step.clamp(min=1e-30)
    least = torch.finfo(arguments["masks"].dtype).tiny
    return soft, 8 * eps * read + (step * place)[:, None, None] + least


def _judge(found: Tensor, soft: Tensor, error: Tensor, threshold: float | None, eps: float) -> None:
    """Raises Violation where a result is not the soft one, or not its bit where that is certain."""
    if threshold is None:
        near(found, soft, error, "mask")
        return
    bits = (soft >= threshold).double()
    doubt = (soft - threshold).abs() <= error + eps * abs(threshold)
    near(found, bits, torch.where(doubt, torch.inf, 0.0), "mask")


def _values(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    soft, error = soft_and_error(arguments)
    eps = torch.finfo(arguments["masks"].dtype).eps
    _judge(call(arguments).result, soft, error, arguments["threshold"], eps)


@st.composite
def _cases(
    draw: Draw,
    kernel: Kernel,
    where: tuple[str, ...] = ("across", "across", "within"),
    most: int = 4,
    least: int = 1,
) -> Case:
    size = draw(draws.sizes(8))
    method, threshold = draw(offered(kernel, "method", METHODS)), draw(_threshold(kernel))
    n = draw(st.integers(least, most))
    boxes = [draw(draws.placed(size, draw(st.sampled_from(where)))) for _ in range(n)]
    return _case(draw(draws.probabilities(n)), boxes, size, method, threshold)


def _threshold(kernel: Kernel) -> st.SearchStrategy[float | None]:
    return offered(kernel, "threshold", THRESHOLDS)


def _case(
    masks: Mapping[str, Any], boxes: list[Box], size: list[int], method: str, threshold: Any
) -> Case:
    options = {"size": size, "method": method, "threshold": threshold}
    tensors = {"masks": masks, "boxes": recipe(boxes, 4)}
    return Case(operator="paste_masks", tensors=tensors, options=options)


@st.composite
def _whole(draw: Draw) -> Case:
    """One mask of one value in a box of whole pixels, at least one mask pixel to each of them.

    Where the box has as many pixels as the mask, a power of two, each reads its mask pixel exactly:
    the value is then the threshold itself.
    """
    m, size = draw(st.sampled_from((4, 8, 16))), draw(draws.sizes(8))
    exact = draw(st.booleans())
    w, h = (m, m) if exact else (draw(st.integers(1, m)), draw(st.integers(1, m)))
    x, y = draw(st.integers(-2, size[1] - 2)), draw(st.integers(-2, size[0] - 2))
    value = 0.5 if exact else 1.0
    boxes = [[float(v) for v in (x, y, x + w, y + h)]]
    return _case(recipe([[[value] * m] * m], m, m), boxes, size, "exact", 0.5)


def _whole_box(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    x1, y1, x2, y2 = (max(int(v), 0) for v in arguments["boxes"][0].tolist())
    expected = torch.zeros(1, *arguments["size"], dtype=torch.float64)
    expected[0, y1:y2, x1:x2] = 1
    near(call(arguments).result, expected, torch.zeros_like(expected), "mask")


MOVES = ((2, 0), (1, 2), (0, 2))


def _translation(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    height, width = arguments["size"]
    before = call(arguments).result
    soft, error = soft_and_error(arguments)
    if arguments["threshold"] is not None:
        doubt = (soft - arguments["threshold"]).abs() <= 2 * error
        error = torch.where(doubt, torch.inf, 0.0)
    for dx, dy in MOVES:
        by = torch.tensor([dx, dy, dx, dy]).to(arguments["boxes"])
        moved = {**arguments, "boxes": arguments["boxes"] + by}
        if not torch.equal(moved["boxes"] - by, arguments["boxes"]):
            continue  # the sum was rounded: another box
        after = call(moved).result
        kept = (slice(None), slice(0, height - dy), slice(0, width - dx))
        other = torch.zeros_like(error)
        if arguments["threshold"] is None:
            other = soft_and_error(moved)[1]
        found = after[:, dy:, dx:] if after.shape == before.shape else after
        bound = error[kept] + other[:, dy:, dx:]
        near(found, before[kept].double(), bound, f"mask moved by {dx}, {dy}")


@st.composite
def _sizeless(draw: Draw, kernel: Kernel) -> Case:
    size = draw(draws.sizes(6))
    boxes = draw(st.lists(draws.sizeless(size), min_size=1, max_size=3))
    boxes += draw(st.lists(draws.placed(size), max_size=1))
    threshold = draw(_threshold(kernel))
    masks = draw(draws.probabilities(len(boxes)))
    return _case({**masks, "kind": "positive"}, boxes, size, "exact", threshold)


def _degenerate(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    found, boxes = call(arguments).result, arguments["boxes"]
    none = (boxes[:, 2:] <= boxes[:, :2]).any(1)
    if len(found) == len(none):
        zero = torch.zeros(found[none].shape, dtype=torch.float64)
        near(found[none], zero, zero, "mask of a box of no size")
    _values(call, case, dtype, kernel)


def _monotone(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    steps = [t for t in (0.125, 0.25, 0.5, 0.8) if kernel.allows({"threshold": t})]
    found = [call({**arguments, "threshold": t}).result.bool() for t in steps]
    for low, high, before, after in zip(steps, steps[1:], found, found[1:], strict=False):
        more = after & ~before
        if bool(more.any()):
            at = tuple(int(i) for i in more.nonzero()[0])
            raise Violation(f"pixel {at} is set at {high}, and not at {low}", {"at": at})


def _nonfinite(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    def judged(found: Tensor, rest: Mapping[str, Any]) -> None:
        eps = torch.finfo(rest["masks"].dtype).eps
        _judge(found, *soft_and_error(rest), rest["threshold"], eps)

    crops.nonfinite(call, rounded(case.arguments(), dtype), kernel, judged)


def _exact_only(kernel: Kernel) -> str | None:
    return None if kernel.allows({"method": "exact"}) else "not made for the exact method"


def _exact_at_half(kernel: Kernel) -> str | None:
    fits = kernel.allows({"threshold": 0.5})
    return _exact_only(kernel) if fits else "not made for a threshold of 0.5"


_check = Maker("paste_masks", _cases)
PASTE: tuple[Check, ...] = (
    _check(
        "values",
        "The pixel centred at i + 0.5 reads the mask bilinearly at its place in the box (exact), or"
        " in the grown box of whole pixels; it is set where the value is at least the threshold.",
        _values,
        *(zoo.paste_zeros, zoo.half_pixel, zoo.whole_pixels, zoo.transposed, zoo.first_for_all),
    ),
    _check(
        "whole box",
        "A full mask in a box of whole pixels sets exactly the pixels of that box, at the threshold"
        " too.",
        _whole_box,
        *(zoo.one_column_more, zoo.swapped, zoo.above_threshold, zoo.half_pixel),
        cases=lambda kernel, dtype: _whole(),
        skipped=_exact_at_half,
    ),
    _check(
        "translation",
        "A box moved by whole pixels takes its mask along.",
        _translation,
        *(zoo.in_tiles, zoo.clipped),
        draw={"where": ("within",)},
        examples=0.6,
    ),
    _check(
        "outside",
        "What lies outside the image is cut off, and changes nothing inside.",
        _values,
        *(zoo.wrapped, zoo.clipped),
        draw={"where": ("beyond", "beyond", "across")},
        examples=0.8,
    ),
    _check(
        "degenerate",
        "A box of no size gives an empty mask.",
        _degenerate,
        zoo.divides_by_zero,
        cases=lambda kernel, dtype: _sizeless(kernel),
        skipped=_exact_only,
        examples=0.6,
    ),
    _check(
        "empty",
        "No masks give an empty result.",
        _values,
        zoo.not_for_none,
        draw={"least": 0, "most": 0},
        examples=0.2,
    ),
    _check(
        "monotone threshold",
        "A higher threshold sets no pixel that a lower one does not.",
        _monotone,
        zoo.below_threshold,
        examples=0.4,
        skipped=lambda kernel: (
            None
            if kernel.allows({"threshold": 0.25}) and kernel.allows({"threshold": 0.5})
            else "made for one threshold"
        ),
    ),
    _check(
        "nonfinite",
        "A box that is NaN or infinite gives what is declared, and others are as without it.",
        _nonfinite,
        cases=lambda kernel, dtype: draws.spoilt(kernel, _cases(kernel, ("within",), 3)),
        examples=0.4,
    ),
)
CHECKS: tuple[Check, ...] = (*PASTE, *crops.CHECKS)
