"""What must be true of a list of kept boxes, and the boxes it is tried on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from kernels.conformance.call import Call, Violation, rounded, widened
from kernels.conformance.case import Case
from kernels.conformance.certificate import certify, check_indices, decided
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import boxes as draws
from kernels.conformance.strategies.boxes import Draw
from kernels.op import operators

Boxes = st.SearchStrategy[list[draws.Box]]
Scores = Callable[[int], st.SearchStrategy[list[float]]]
THRESHOLDS = (0.5, 0.3, 0.7, 0.47, 0.615, 0.05, 0.93)
LABELS = ((5,), (1, 2), (0, 1, 2), (1, 257), (0, 1202), (-1, 3))
"""Sets of labels of which a case has one; any whole numbers are labels."""


@st.composite
def cases(
    draw: Draw,
    kernel: Kernel,
    boxes: Boxes,
    scores: Scores = draws.distinct_scores,
    thresholds: tuple[float, ...] = THRESHOLDS,
    labels: tuple[tuple[int, ...], ...] = LABELS,
) -> Case:
    """Boxes and scores as drawn, labels where the operator takes them, and a threshold."""
    found = draw(boxes)
    tensors = {"boxes": draws.recipe(found, 4), "scores": draws.recipe(draw(scores(len(found))))}
    if kernel.operator == "batched_nms":
        one = st.sampled_from(draw(st.sampled_from(labels)))
        each = st.lists(one, min_size=len(found), max_size=len(found))
        tensors["labels"] = draws.recipe(draw(each))
    threshold = draw(draws.offered(kernel, "iou_threshold", thresholds))
    options = {"iou_threshold": threshold}
    return Case(operator=kernel.operator, tensors=tensors, options=options)


def _expected(arguments: Mapping[str, Any], kernel: Kernel) -> Tensor:
    return operators()[kernel.operator].reference(**widened(arguments))


def _decided(arguments: Mapping[str, Any]) -> bool:
    return decided(arguments["boxes"], arguments["iou_threshold"], arguments.get("labels"))


def same_list(found: Tensor, expected: Tensor) -> None:
    """Raises Violation, with the first place that differs, unless the lists are equal."""
    got, wanted = found.tolist(), expected.tolist()
    if got == wanted:
        return
    at = next(
        (i for i, (p, q) in enumerate(zip(got, wanted, strict=False)) if p != q),
        min(len(got), len(wanted)),
    )
    shown = [listed[at] if at < len(listed) else "the end" for listed in (got, wanted)]
    raise Violation(
        f"kept {len(got)} boxes, not {len(wanted)}: {shown[0]} at place {at}, not {shown[1]}",
        {"at": (at,), "got": shown[0], "expected": shown[1]},
    )


def _kept(call: Call, arguments: Mapping[str, Any]) -> Tensor:
    kept = call(arguments).result
    check_indices(kept, len(arguments["boxes"]))
    return kept


def certificate(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """`certify` accepts the list."""
    given = rounded(case.arguments(), dtype)
    kept = call(given).result
    labels = given.get("labels")
    certify(kept, given["boxes"], given["scores"], given["iou_threshold"], labels)


def exact_list(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The list itself. For inputs whose overlaps every right kernel must see alike, and no others.

    Where an IoU is within rounding of the threshold, two right kernels differ, and a box that one
    of them keeps changes all that follows: such a case says nothing here; the certificate has it.
    """
    arguments = rounded(case.arguments(), dtype)
    kept = _kept(call, arguments)
    if _decided(arguments):
        same_list(kept, _expected(arguments, kernel))


def best_first(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Scores do not rise along the list, whatever boxes are in it."""
    arguments = rounded(case.arguments(), dtype)
    kept = _kept(call, arguments)
    scores = arguments["scores"].double()[kept]
    rises = (scores.diff() > 0).nonzero()[:, 0].tolist()
    if rises:
        at = rises[0] + 1
        raise Violation(
            f"box {int(kept[at])} comes after {int(kept[at - 1])}, which scores less",
            {"at": (at,), "got": float(scores[at]), "expected": float(scores[at - 1])},
        )
    if len(arguments["scores"]) and not len(kept):
        raise Violation("kept nothing of something")


def permutation(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """The same boxes out of input that is reversed, or shuffled. Not where an IoU is undecided."""
    arguments = rounded(case.arguments(), dtype)
    if not _decided(arguments):
        return
    n = len(arguments["scores"])
    g = torch.Generator().manual_seed(n)
    for order in (torch.arange(n).flip(0), torch.randperm(n, generator=g)):
        moved = {k: v[order] if isinstance(v, Tensor) else v for k, v in arguments.items()}
        same_list(order[_kept(call, moved)], _kept(call, arguments))


def exactly(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Small whole numbers: no sum, product or comparison is rounded, so there is one right list."""
    arguments = rounded(case.arguments(), dtype)
    same_list(_kept(call, arguments), _expected(arguments, kernel))


@st.composite
def halves(draw: Draw) -> list[draws.Box]:
    """Boxes of even whole sides, each with halves and quarters of itself."""
    found: list[draws.Box] = []
    for x1, y1, x2, y2 in draw(draws.boxes(1, 5, grain=4.0, far=False)):
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        parts = (
            [x1, y1, x2, y2],
            [x1, y1, middle_x, y2],
            [x1, middle_y, x2, y2],
            [middle_x, middle_y, x2, y2],
            [x1, y1, middle_x + (x2 - x1) / 4, y2],
        )
        found += draw(st.lists(st.sampled_from(parts), min_size=1, max_size=4))
    return found


@st.composite
def copies(draw: Draw) -> list[draws.Box]:
    """Every box two to four times, shuffled."""
    found = draw(draws.boxes(1, 6))
    return draw(st.permutations(found * draw(st.integers(2, 4))))


def duplicates(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """No two kept boxes are equal, and some are kept."""
    arguments = rounded(case.arguments(), dtype)
    kept = _kept(call, arguments)
    rows = [tuple(row) for row in arguments["boxes"].tolist()]
    labels = arguments.get("labels", torch.zeros(len(rows))).tolist()
    seen: dict[tuple[Any, ...], int] = {}
    for i in kept.tolist():
        other = seen.setdefault((*rows[i], labels[i]), i)
        if other != i:
            raise Violation(f"kept {other} and {i}, which are the same box", {"at": (other, i)})
    if not len(kept):
        raise Violation("kept none of several equal boxes")


def degenerate(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Boxes without area are all kept, and the rest is the exact list."""
    arguments = rounded(case.arguments(), dtype)
    kept = _kept(call, arguments)
    sides = arguments["boxes"][:, 2:] - arguments["boxes"][:, :2]
    for i in (sides <= 0).any(1).nonzero()[:, 0].tolist():
        if i not in kept.tolist():
            raise Violation(f"dropped box {i}, which has no area and so no overlap", {"at": (i,)})
    exact_list(call, case, dtype, kernel)


def not_finite(kernel: Kernel) -> st.SearchStrategy[Case]:
    """Cases with one NaN score, or one coordinate that is NaN or infinite."""
    bad = st.sampled_from((float("nan"), float("inf"), -float("inf")))

    @st.composite
    def changed_cases(draw: Draw) -> Case:
        case = draw(cases(kernel, draws.boxes(1, 8, grain=1.0)))
        boxes = [list(box) for box in case.tensors["boxes"]["values"]]
        scores = list(case.tensors["scores"]["values"])
        if draw(st.booleans()):
            scores[draw(st.integers(0, len(scores) - 1))] = float("nan")
        else:
            boxes[draw(st.integers(0, len(boxes) - 1))][draw(st.integers(0, 3))] = draw(bad)
        changed = {"boxes": draws.recipe(boxes, 4), "scores": draws.recipe(scores)}
        tensors = {**case.tensors, **changed}
        return Case(operator=case.operator, tensors=tensors, options=case.options)

    return changed_cases()


def nonfinite(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """A NaN score cannot be sorted; a box that is not finite has no certain overlap.

    So it is of the score that a policy speaks: "raise" refuses it, "zero" leaves its box out. What
    a box gives is free, but it must not crash, nor make indices that there are not.
    """
    arguments = rounded(case.arguments(), dtype)
    answer = call(arguments)
    unsortable = arguments["scores"].isnan()
    if kernel.nonfinite == "raise" and bool(unsortable.any()) and answer.out is not None:
        raise Violation("took a score that is NaN, and says that it raises")
    if kernel.nonfinite in ("undefined", "nan") or answer.out is None:
        return
    check_indices(answer.out, len(unsortable))
    if kernel.nonfinite == "zero" and bool(unsortable[answer.out].any()):
        raise Violation("kept a box whose score is NaN")


def classes(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    """Within each label, what nms keeps of its boxes alone. Not where an IoU is undecided."""
    arguments = rounded(case.arguments(), dtype)
    kept = _kept(call, arguments)
    if not _decided(arguments):
        return
    boxes, scores, labels = (arguments[n] for n in ("boxes", "scores", "labels"))
    single = operators()["nms"].reference
    for label in labels.unique().tolist():
        mine = (labels == label).nonzero()[:, 0]
        alone = single(boxes[mine].double(), scores[mine].double(), arguments["iou_threshold"])
        try:
            same_list(kept[labels[kept] == label], mine[alone])
        except Violation as violation:
            raise Violation(f"label {label}: {violation.text}", violation.more) from None
