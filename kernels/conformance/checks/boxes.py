"""The rules of box_iou."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from kernels.box_iou.reference import box_iou
from kernels.conformance.call import Call, Violation, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.certificate import iou_error
from kernels.conformance.check import Check, Wrong
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import boxes as draws
from kernels.conformance.strategies.boxes import Draw
from kernels.conformance.zoo import boxes as zoo

Cases = Callable[[Kernel, str], st.SearchStrategy[Case]]
Run = Callable[[Call, Case, str, Kernel], None]


def near(found: Tensor, expected: Tensor, bound: Tensor, what: str) -> None:
    """Raises Violation, with the worst element, unless |found - expected| <= bound everywhere.

    NaN is near to nothing.
    """
    if found.shape != expected.shape:
        raise Violation(f"{what}: shape {tuple(found.shape)}, not {tuple(expected.shape)}")
    excess = (found.double() - expected).abs() / bound.clamp(min=1e-300)
    wrong = ~((found.double() - expected).abs() <= bound)
    if bool(wrong.any()):
        worst = torch.where(wrong, excess.nan_to_num(torch.inf, torch.inf), -1.0).argmax()
        at = tuple(int(i) for i in torch.unravel_index(worst, found.shape))
        got = float(found[at])
        raise Violation(
            f"{what}: {got:.9g} at {at}, not {float(expected[at]):.9g}",
            {"at": at, "got": got, "expected": float(expected[at]), "bound": float(bound[at])},
        )


def _case(a: list[draws.Box], b: list[draws.Box]) -> Case:
    return Case(operator="box_iou", tensors={"a": draws.recipe(a, 4), "b": draws.recipe(b, 4)})


def _fine(dtype: str) -> bool:
    """Whether boxes far from the origin keep an area; bfloat16 rounds to 16 px there."""
    return dtype != "bfloat16"


@st.composite
def _two(
    draw: Draw, most: int = 12, grain: float | None = None, far: bool = True, least: int = 1
) -> Case:
    """Two sets from the same clusters, so that they overlap."""
    both = draw(draws.boxes(2 * least, 2 * most, grain=grain, far=far))
    cut = draw(st.integers(least, len(both) - least))
    return _case(both[:cut], both[cut:])


def _values(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    a, b = arguments["a"], arguments["b"]
    found = call(arguments).result
    near(found, box_iou(**widened(arguments)), iou_error(a, b, a.dtype), "IoU")


def _self(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    a = rounded(case.arguments(), dtype)["a"]
    found = call({"a": a, "b": a.clone()}).result
    expected = box_iou(a.double(), a.double())  # 1 on its diagonal, or 0 once rounded to a line
    near(
        found.diagonal(),
        (expected.diagonal() > 0).double(),
        iou_error(a, a, a.dtype).diagonal(),
        "IoU with itself",
    )


def _symmetry(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    a, b = arguments["a"], arguments["b"]
    back = call({"a": b, "b": a}).result.T.double()
    near(call(arguments).result, back, 2 * iou_error(a, b, a.dtype), "IoU of a, b against b, a")


def _containment(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    inner, outer = arguments["a"], arguments["b"]
    small, large = (_areas(x.double()) for x in (inner, outer))
    ratio = torch.where(large > 0, small / large.clamp(min=1e-300), 0.0)
    error = iou_error(inner, outer, inner.dtype).diagonal()
    near(call(arguments).result.diagonal(), ratio, error, "IoU of a box in a box")


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)


@st.composite
def _contained(draw: Draw, far: bool) -> Case:
    outer = draw(draws.boxes(1, 8, far=far))
    part = st.integers(0, 6)
    inner = []
    for x1, y1, x2, y2 in outer:
        (left, right), (top, low) = (sorted((draw(part), draw(part))) for _ in range(2))
        right, low = max(right, left + 3), max(low, top + 3)
        w, h = (x2 - x1) / 9, (y2 - y1) / 9
        inner.append([x1 + left * w, y1 + top * h, x1 + right * w, y1 + low * h])
    return _case(inner, outer)


SHIFTS = ((16.0, 0.0), (0.0, -32.0), (48.0, 80.0))


def _shift(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Whole numbers up to 256 are exact in every dtype: the boxes themselves stay as they are."""
    arguments = rounded(case.arguments(), dtype)
    a, b = arguments["a"], arguments["b"]
    before = call(arguments).result.double()
    for dx, dy in SHIFTS:
        by = torch.tensor([dx, dy, dx, dy], dtype=a.dtype)
        error = iou_error(a, b, a.dtype) + iou_error(a + by, b + by, a.dtype)
        near(call({"a": a + by, "b": b + by}).result, before, error, f"IoU moved by {dx}, {dy}")


@st.composite
def _degenerates(draw: Draw) -> Case:
    return _case(draw(draws.some_without_area(8)), draw(draws.some_without_area(8)))


def _degenerate(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    found = call(arguments).result
    empty_a, empty_b = (_areas(arguments[n].double()) == 0 for n in ("a", "b"))
    empty = empty_a[:, None] | empty_b
    if found.shape == empty.shape:
        zero = torch.zeros(int(empty.sum()), dtype=torch.float64)
        near(found[empty], zero, zero, "IoU with a box without area")
    _values(call, case, dtype, kernel)


@st.composite
def _no_boxes(draw: Draw) -> Case:
    some = draw(draws.boxes(1, 3))
    return draw(st.sampled_from((_case([], some), _case(some, []), _case([], []))))


def _empty(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    found, shape = call(arguments).result, (len(arguments["a"]), len(arguments["b"]))
    if found.shape != shape:
        raise Violation(f"returned {tuple(found.shape)}, not {shape}")


def _gradient(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Where two edges are less than 1/16 px apart, max and min have a kink: those pairs get none.

    The derivative by x is (S' (U + S) - S A') / U^2, with |S'| at most the height shared and |A'|
    the box's own; 24 roundings of the sum of these magnitudes, one for each term added to it, and
    the relative error of the shortest side for coordinates that were rounded in another frame.
    """
    arguments = rounded(case.arguments(), dtype)
    wide = {n: v.double().requires_grad_() for n, v in arguments.items()}
    a, b = wide["a"], wide["b"]
    smooth = _apart(a.detach(), b.detach())
    g = torch.sin(1.0 + torch.arange(smooth.numel(), dtype=torch.float64)).view_as(smooth) * smooth
    g = g.to(arguments["a"].dtype)
    expected = dict(zip(wide, torch.autograd.grad(box_iou(a, b), (a, b), g.double()), strict=True))
    answer = call(arguments, grad=g)
    near(answer.result, box_iou(a, b).detach(), iou_error(a, b, g.dtype).detach(), "IoU")
    for name in kernel.grads:
        grad = answer.grads.get(name)
        if grad is None:
            raise Violation(f"gave no gradient of {name}")
        first, second, weight = (a, b, g) if name == "a" else (b, a, g.T)
        bound = _gradient_error(first.detach(), second.detach(), weight.double(), g.dtype)
        near(grad, expected[name], bound, f"gradient of {name}")


def _apart(a: Tensor, b: Tensor, margin: float = 1 / 16) -> Tensor:
    """Which pairs have every edge at least `margin` from every edge of the other, on its axis."""
    xs, ys = a[:, None, ::2, None] - b[:, None, ::2], a[:, None, 1::2, None] - b[:, None, 1::2]
    return (torch.minimum(xs.abs(), ys.abs()) >= margin).flatten(2).all(2)


def _gradient_error(a: Tensor, b: Tensor, g: Tensor, dtype: torch.dtype) -> Tensor:
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    shared, sides, others = (high - low).clamp(min=0), a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    s = shared.prod(2)
    union = (sides.prod(1)[:, None] + others.prod(1) - s).clamp(min=1e-9)
    across = [(shared[..., 1 - i], sides[:, None, 1 - i]) for i in (0, 1)]
    slope = torch.stack([(c * (union + s) + own * s) / union**2 for c, own in across], 2)
    least = torch.minimum(sides[:, None], others).amin(2)
    least = torch.minimum(least, shared.masked_fill(shared == 0, torch.inf).amin(2))
    coarse = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    u = coarse * torch.maximum(a.abs().amax(1)[:, None], b.abs().amax(1))
    part = (24 + len(b)) * torch.finfo(dtype).eps + 12 * u / least
    error = ((g.abs() * part)[..., None] * slope).sum(1) + len(b) * torch.finfo(dtype).tiny
    return error.repeat(1, 2)


@st.composite
def _not_finite(draw: Draw, kernel: Kernel) -> Case:
    a, b = draw(draws.boxes(1, 4, grain=1.0)), draw(draws.boxes(1, 4, grain=1.0))
    kinds = ("nan",) if kernel.nonfinite == "nan" else ("nan", "inf", "-inf")
    box = list(a[-1])
    box[draw(st.integers(0, 3))] = float(draw(st.sampled_from(kinds)))
    return _case([*a[:-1], box], b)


def _nonfinite(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    a, b = arguments["a"], arguments["b"]
    answer = call(arguments)
    if kernel.nonfinite == "undefined":
        return
    if kernel.nonfinite == "raise":
        if answer.out is not None:
            raise Violation("took a box that is not finite, and says that it raises")
        return
    finite, found = a.isfinite().all(1), answer.result
    expected = torch.zeros(found.shape, dtype=torch.float64)
    expected[finite] = box_iou(a[finite].double(), b.double())
    bound = torch.zeros_like(expected)
    bound[finite] = iou_error(a[finite], b, a.dtype)
    if kernel.nonfinite == "nan":
        if not bool(found[~finite].isnan().all()):
            raise Violation("a box that is NaN has an IoU that is not")
        found = found.masked_fill(~finite[:, None], 0)
    near(found, expected, bound, "IoU beside a box that is not finite")


def _check(name: str, rule: str, cases: Cases, run: Run, *wrong: Wrong, **about: Any) -> Check:
    named = {(w.__doc__ or "").split(":")[0]: w for w in wrong}
    return Check(
        name=name, rule=rule, operators=("box_iou",), cases=cases, run=run, wrong=named, **about
    )


LARGE = _case(
    [[0.0, 0.0, 400.0, 300.0], [10.0, 20.0, 900.0, 700.5]],
    [[5.0, 5.0, 380.0, 310.0], [0.0, 30.0, 800.0, 600.0]],
)
APART = _case(
    [[0.0, 0.0, 10.0, 10.0], [2.5, 1.0, 9.0, 33.0]],
    [[20.0, 30.0, 26.0, 41.0], [0.5, 0.25, 10.0, 10.0]],
)
SIDE = _case(
    [[8.0, 8.0, 40.0, 40.0], [60.0, 4.0, 70.0, 30.0]],
    [[16.0, 20.0, 50.0, 44.0], [61.0, 0.0, 79.0, 24.0]],
)
CHECKS: tuple[Check, ...] = (
    _check(
        "values",
        "IoU is the shared area over the area of the union, of continuous boxes: no + 1.",
        lambda kernel, dtype: _two(far=_fine(dtype)),
        _values,
        *(zoo.iou_zeros, zoo.iou_plus_one, zoo.iou_half_pixel, zoo.iou_half_areas),
        zoo.iou_over_first,
        exact=(LARGE, APART),
    ),
    _check(
        "self",
        "The IoU of a box with itself is 1.",
        lambda kernel, dtype: _two(8, far=_fine(dtype)),
        _self,
        *(zoo.iou_zeros, zoo.iou_half_pixel),
        examples=0.5,
    ),
    _check(
        "symmetry",
        "IoU is symmetric in its boxes.",
        lambda kernel, dtype: _two(8, far=_fine(dtype)),
        _symmetry,
        *(zoo.iou_over_first, zoo.iou_half_pixel),
        examples=0.5,
        exact=(LARGE, SIDE),
    ),
    _check(
        "containment",
        "The IoU of a box within another is the ratio of their areas.",
        lambda kernel, dtype: _contained(_fine(dtype)),
        _containment,
        *(zoo.iou_plus_one, zoo.iou_over_least, zoo.iou_zeros),
        examples=0.5,
    ),
    _check(
        "shift",
        "Boxes moved together keep their IoU.",
        lambda kernel, dtype: _two(8, grain=1.0, far=False),
        _shift,
        zoo.iou_shared_frame,
        examples=0.5,
        exact=(SIDE,),
    ),
    _check(
        "degenerate",
        "Two boxes without area have IoU 0, and so has one with any other: never NaN.",
        lambda kernel, dtype: _degenerates(),
        _degenerate,
        *(zoo.iou_nan, zoo.iou_signed_areas),
        examples=0.5,
    ),
    _check(
        "empty",
        "Of no boxes the result is an empty matrix.",
        lambda kernel, dtype: _no_boxes(),
        _empty,
        zoo.iou_not_for_none,
        examples=0.2,
    ),
    _check(
        "gradient",
        "IoU is differentiable in both arguments.",
        lambda kernel, dtype: _two(8, far=_fine(dtype)),
        _gradient,
        zoo.iou_detached,
        skipped=lambda kernel: None if kernel.grads else "no gradient is declared",
        exact=(SIDE,),
    ),
    _check(
        "nonfinite",
        "A box that is NaN or infinite gives what is declared, and others are as without it.",
        lambda kernel, dtype: _not_finite(kernel),
        _nonfinite,
        examples=0.4,
    ),
)
