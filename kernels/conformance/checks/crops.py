"""The rules of crop_masks: RoIAlign of bitmaps, then a threshold."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from kernels.conformance.admissible import answers
from kernels.conformance.call import Call, Violation, rounded
from kernels.conformance.case import Case
from kernels.conformance.check import Check
from kernels.conformance.checks.making import Maker, Run
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import masks as draws
from kernels.conformance.strategies.boxes import Box, Draw, offered, recipe
from kernels.conformance.zoo import crops as zoo


def given(case: Case, dtype: str) -> dict[str, Any]:
    """The arguments as a kernel takes them: the bitmaps of a case are what exceeds one half."""
    arguments = case.arguments()
    bits = arguments["masks"] > 0.5
    return {**rounded(arguments, dtype), "masks": bits}


def judge(found: Tensor, arguments: Mapping[str, Any]) -> None:
    """Raises Violation where a result is none of the right ones.

    Right is RoIAlign of the bitmap within its own bound, on either side of a jump where a box is
    near one; where the share is within the bound of the threshold, either bit is right.
    """
    masks, boxes, size = (arguments[n] for n in ("masks", "boxes", "size"))
    as_align = {
        "features": masks[:, None].double(),
        "rois": torch.cat([arguments["index"][:, None].to(boxes), boxes], 1),
        "output_size": (size, size),
        "spatial_scale": 1.0,
        "sampling_ratio": arguments["sampling_ratio"],
        "aligned": arguments["aligned"],
        "reduce": "mean",
    }
    dtype = str(boxes.dtype).removeprefix("torch.")
    right = answers("roi_align", as_align, dtype, exact=False)
    threshold = arguments["threshold"]
    expected, bound = right.expected, right.bound
    if threshold is not None:
        slack = bound + torch.finfo(boxes.dtype).eps
        doubt = (expected - threshold).abs() <= slack
        expected = (expected >= threshold).double()
        bound = torch.where(doubt, torch.inf, 0.0)
    if found.shape != (len(boxes), size, size):
        raise Violation(f"shape {tuple(found.shape)}, not {(len(boxes), size, size)}")
    off = (~((found.double()[right.owner][:, None] - expected).abs() <= bound)).double()
    least = torch.full((len(boxes), 1, size, size), torch.inf, dtype=torch.float64)
    least.scatter_reduce_(0, right.owner[:, None, None, None].expand_as(off), off, "amin")
    wrong = (least[:, 0] > 0).nonzero()
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        where = (at[0], 0, *at[1:])
        more = {"got": float(found[at]), "expected": float(expected[where])}
        text = f"crop: {more['got']:.9g} at {at}, not {more['expected']:.9g}"
        raise Violation(text, {"at": at, **more, "bound": float(bound[where])})


def _values(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = given(case, dtype)
    judge(call(arguments).result, arguments)


@st.composite
def _cases(
    draw: Draw,
    kernel: Kernel,
    where: tuple[str, ...] = ("across", "within"),
    least: int = 1,
    most: int = 4,
    objects: int = 1,
    masks: Callable[[int, list[int]], st.SearchStrategy[dict[str, Any]]] = draws.bitmaps,
) -> Case:
    """Boxes over a few bitmaps."""
    shape = draw(draws.sizes(8))
    count, n = draw(st.integers(objects, 4)), draw(st.integers(least, most))
    boxes = [draw(draws.placed(shape, draw(st.sampled_from(where)))) for _ in range(n)]
    index = draw(st.lists(st.integers(0, count - 1), min_size=n, max_size=n))
    return _case(draw(masks(count, shape)), index, boxes, draw(_options(kernel)))


@st.composite
def _options(
    draw: Draw, kernel: Kernel, only: Mapping[str, tuple[Any, ...]] | None = None
) -> dict[str, Any]:
    usual: dict[str, tuple[Any, ...]] = {
        "size": (1, 2, 3, 5, 7, 14),
        "sampling_ratio": (0, 0, 1, 2, 3),
        "aligned": (True, True, False),
        "threshold": (None, 0.5, 0.25, 0.8),
    }
    return {n: draw(offered(kernel, n, v)) for n, v in {**usual, **(only or {})}.items()}


def _case(
    masks: Mapping[str, Any], index: list[int], boxes: list[Box], options: Mapping[str, Any]
) -> Case:
    tensors = {"masks": masks, "index": recipe(index), "boxes": recipe(boxes, 4)}
    return Case(operator="crop_masks", tensors=tensors, options=options)


def _filled(value: float) -> Callable[[int, list[int]], st.SearchStrategy[dict[str, Any]]]:
    return lambda n, size: st.just(recipe([[[value] * size[1]] * size[0]] * n, *size))


@st.composite
def _inside(draw: Draw, kernel: Kernel) -> Case:
    """Boxes in a full bitmap that is larger than all of them on every side."""
    shape = draw(draws.sizes(8, 16))
    boxes = [draw(draws.placed(shape, "within")) for _ in range(draw(st.integers(1, 4)))]
    filled = draw(_filled(1.0)(1, [2 * side for side in shape]))
    return _case(filled, [0] * len(boxes), boxes, draw(_options(kernel)))


def _uniform(value: float) -> Run:
    def run(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        arguments = given(case, dtype)
        found = call(arguments).result.double()
        bound = 16 * torch.finfo(arguments["boxes"].dtype).eps * value
        wrong = ~((found - value).abs() <= bound)
        if bool(wrong.any()):
            at = tuple(int(i) for i in wrong.nonzero()[0])
            got = float(found[at])
            more = {"at": at, "got": got, "expected": value, "bound": bound}
            raise Violation(f"crop: {got:.9g} at {at}, not {value:g}", more)
        judge(found, arguments)

    return run


@st.composite
def _whole(draw: Draw, kernel: Kernel) -> Case:
    """Square boxes of whole pixels inside the bitmap, of as many pixels as the crop."""
    size = draw(offered(kernel, "size", (1, 3, 4, 7, 14)))
    shape = [size + draw(st.integers(0, 6)), size + draw(st.integers(0, 6))]
    corner = st.tuples(st.integers(0, shape[1] - size), st.integers(0, shape[0] - size))
    corners = draw(st.lists(corner, min_size=1, max_size=3))
    boxes = [[float(v) for v in (x, y, x + size, y + size)] for x, y in corners]
    options = draw(
        _options(kernel, {"size": (size,), "sampling_ratio": (0, 1), "aligned": (True,)})
    )
    return _case(draw(draws.bitmaps(1, shape)), [0] * len(boxes), boxes, options)


def _whole_pixels(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = given(case, dtype)
    found = call(arguments).result.double()
    for k, (x1, y1, x2, y2) in enumerate(arguments["boxes"].long().tolist()):
        expected = arguments["masks"][0, y1:y2, x1:x2].double()
        if found[k].shape != expected.shape or not torch.equal(found[k], expected):
            raise Violation(
                f"crop {k} is not the bitmap under its box of whole pixels", {"at": (k,)}
            )


HALVES = tuple(
    _case(
        recipe([[[float(x < 2) for x in range(8)] for _ in range(8)]], 8, 8),
        [0, 0],
        [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 4.0, 4.0]],
        {"size": 1, "sampling_ratio": ratio, "aligned": True, "threshold": 0.5},
    )
    for ratio in (0, 2)
)


def _half_covered(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Halves of halves: nothing is rounded, and a share of one half is at least one half."""
    arguments = given(case, dtype)
    found = call(arguments).result
    if bool((found != 1).any()):
        raise Violation("a bin half covered is not set at the threshold 0.5")


def _index(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = given(case, dtype)
    judge(call(arguments).result, arguments)
    if kernel.bad_index == "undefined":
        return
    for wrong in (len(arguments["masks"]), -1):
        index = arguments["index"].clone()
        index[0] = wrong
        answer = call({**arguments, "index": index})
        if kernel.bad_index == "raise" and answer.out is not None:
            raise Violation(f"took the index {wrong} of {len(arguments['masks'])} bitmaps")
        if kernel.bad_index == "zero" and bool((answer.result[0] != 0).any()):
            raise Violation(f"found an object at the index {wrong}")


@st.composite
def _distinct(draw: Draw, kernel: Kernel) -> Case:
    """A full bitmap among empty ones."""
    shape, count = draw(draws.sizes(8, 16)), draw(st.integers(2, 5))
    full = draw(st.integers(0, count - 1))
    values = [[[float(i == full)] * shape[1]] * shape[0] for i in range(count)]
    n = draw(st.integers(1, 6))
    boxes = [draw(draws.placed(shape, "within")) for _ in range(n)]
    index = draw(st.lists(st.integers(0, count - 1), min_size=n, max_size=n))
    return _case(recipe(values, *shape), index, boxes, draw(_options(kernel)))


@st.composite
def _sizeless(draw: Draw, kernel: Kernel) -> Case:
    shape = draw(draws.sizes(8))
    boxes = draw(st.lists(draws.sizeless(shape), min_size=1, max_size=4))
    options = draw(_options(kernel, {"sampling_ratio": (0,), "aligned": (True,)}))
    filled = draw(_filled(1.0)(1, shape))
    return _case(filled, [0] * len(boxes), boxes, options)


def nonfinite(
    call: Call,
    arguments: Mapping[str, Any],
    kernel: Kernel,
    judged: Callable[[Tensor, Mapping[str, Any]], None],
) -> None:
    """A box that is not finite does what is declared; `judged` looks at the other boxes' rows."""
    answer, finite = call(arguments), arguments["boxes"].isfinite().all(1)
    if kernel.nonfinite == "undefined":
        return
    if kernel.nonfinite == "raise":
        if answer.out is not None:
            raise Violation("took a box that is not finite, and says that it raises")
        return
    found, soft = answer.result, arguments["threshold"] is None
    if kernel.nonfinite == "zero" and bool((found[~finite] != 0).any()):
        raise Violation("a box that is not finite sees something")
    if kernel.nonfinite == "nan" and soft and not bool(found[~finite].isnan().all()):
        raise Violation("a box that is NaN sees something that is not")
    rows = {n: arguments[n][finite] for n in draws.BY_BOX[kernel.operator]}
    judged(found[finite], {**arguments, **rows})


def _nonfinite(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    nonfinite(call, given(case, dtype), kernel, judge)


def _adaptive(kernel: Kernel) -> str | None:
    fits = kernel.allows({"sampling_ratio": 0, "aligned": True})
    return None if fits else "not made for adaptive sampling, aligned"


def _one_to_a_bin(kernel: Kernel) -> str | None:
    ratios = any(kernel.allows({"sampling_ratio": r, "aligned": True}) for r in (0, 1))
    return None if ratios else "takes more samples to a bin than one"


def _at_half(kernel: Kernel) -> str | None:
    fits = any(kernel.allows(case.options) for case in HALVES)
    return None if fits else "not made for a threshold of 0.5"


_check = Maker("crop_masks", _cases)
CHECKS: tuple[Check, ...] = (
    _check(
        "values",
        "A bin is sampled and averaged as RoIAlign does it, and is 1 where at least the share"
        " `threshold` of it is object.",
        _values,
        *(zoo.crop_zeros, zoo.half_a_pixel, zoo.far_side_more, zoo.whole_boxes),
    ),
    _check(
        "full mask",
        "Within a full bitmap a crop is full.",
        _uniform(1.0),
        zoo.crop_zeros,
        cases=lambda kernel, dtype: _inside(kernel),
        examples=0.4,
    ),
    _check(
        "empty mask",
        "Of an empty bitmap a crop is empty.",
        _uniform(0.0),
        zoo.crop_ones,
        draw={"masks": _filled(0.0)},
        examples=0.4,
    ),
    _check(
        "whole pixels",
        "The crop of as many pixels as it has bins is the bitmap itself.",
        _whole_pixels,
        *(zoo.half_a_pixel, zoo.far_side_more, zoo.turned),
        cases=lambda kernel, dtype: _whole(kernel),
        skipped=_one_to_a_bin,
        examples=0.6,
    ),
    _check(
        "half covered",
        "A bin is object where its share is at least the threshold: equal is enough.",
        _half_covered,
        zoo.crop_above,
        cases=lambda kernel, dtype: st.sampled_from(
            [case for case in HALVES if kernel.allows(case.options)]
        ),
        skipped=_at_half,
        examples=0.1,
    ),
    _check(
        "index",
        "Box i shows the object index[i].",
        _index,
        *(zoo.wrong_object, zoo.first_object),
        cases=lambda kernel, dtype: _distinct(kernel),
        examples=0.6,
    ),
    _check(
        "outside",
        "What lies outside the bitmap is not object, but for the pixel around it.",
        _values,
        zoo.cut_to_bitmap,
        draw={"where": ("beyond", "beyond", "across")},
        examples=0.8,
    ),
    _check(
        "degenerate",
        "A box of no size, or inside out, sees nothing when sampling is adaptive.",
        _uniform(0.0),
        zoo.mirrored,
        cases=lambda kernel, dtype: _sizeless(kernel),
        skipped=_adaptive,
        examples=0.4,
    ),
    _check(
        "empty",
        "No boxes give an empty result.",
        _values,
        zoo.no_boxes_fail,
        draw={"least": 0, "most": 0},
        examples=0.2,
    ),
    _check(
        "nonfinite",
        "A box that is NaN or infinite gives what is declared, and others are as without it.",
        _nonfinite,
        cases=lambda kernel, dtype: draws.spoilt(kernel, _cases(kernel, ("within",))),
        examples=0.4,
    ),
)
