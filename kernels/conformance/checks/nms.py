"""The rules of nms, which batched_nms shares, and those that labels add."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from kernels.conformance.call import Call
from kernels.conformance.case import Case
from kernels.conformance.check import Check, Wrong
from kernels.conformance.checks import suppression as rules
from kernels.conformance.declaration import Kernel
from kernels.conformance.strategies import boxes as draws
from kernels.conformance.zoo import nms as zoo

Run = Callable[[Call, Case, str, Kernel], None]
SQUARE = [0.0, 0.0, 8.0, 8.0]
NEGATIVE = Case(
    operator="batched_nms",
    tensors={
        "boxes": draws.recipe([SQUARE, [-9.0, -9.0, -1.0, -1.0]], 4),
        "scores": draws.recipe([1.0, 0.5]),
        "labels": draws.recipe([0, 1]),
    },
    options={"iou_threshold": 0.5},
)
"""Moved by the largest coordinate + 1, the second box is the first."""


class _Rules:
    """The checks of one operator; a check's exact cases belong to one operator alone."""

    def __init__(self, operator: str) -> None:
        self.operator = operator

    def check(self, name: str, rule: str, run: Run, *wrong: Wrong, **about: Any) -> Check:
        """A check, named errors and all."""
        boxes = about.pop("boxes", draws.boxes())
        drawn = {k: about.pop(k) for k in ("scores", "thresholds", "labels") if k in about}
        about.setdefault("cases", lambda kernel, dtype: rules.cases(kernel, boxes, **drawn))
        named = {(w.__doc__ or "").split(":")[0]: w for w in wrong}
        return Check(
            name=name, rule=rule, operators=(self.operator,), run=run, wrong=named, **about
        )

    def crowd(self, n: int, seed: int, threshold: float, **about: float) -> Case:
        """Many boxes, of a seed."""
        tensors = dict(draws.crowd(n, seed, **about))
        if self.operator == "batched_nms":
            g = torch.Generator().manual_seed(seed)
            labels = torch.tensor([177, 945, 1201])[torch.randint(3, (n,), generator=g)]
            tensors["labels"] = draws.recipe(labels.tolist())
        options = {"iou_threshold": threshold}
        return Case(operator=self.operator, tensors=tensors, options=options)

    def few(self, boxes: list[draws.Box], *thresholds: float) -> tuple[Case, ...]:
        """The same few boxes of one label, the first best, at each threshold."""
        scores = [draws.falling(rank) for rank in range(len(boxes))]
        tensors = {"boxes": draws.recipe(boxes, 4), "scores": draws.recipe(scores)}
        if self.operator == "batched_nms":
            tensors["labels"] = draws.recipe([7] * len(boxes))
        return tuple(
            Case(operator=self.operator, tensors=tensors, options={"iou_threshold": t})
            for t in thresholds
        )

    def of_overlaps(self) -> tuple[Check, ...]:
        """Which boxes stay."""
        return (
            self.check(
                "certificate",
                "A box is kept unless its IoU with a better one that is kept is greater than the"
                " threshold; the best comes first.",
                rules.certificate,
                *(zoo.threshold_off, zoo.plus_one, zoo.all_kept, zoo.none_kept),
                *(zoo.dropped_suppress, zoo.best_kept),
                scores=draws.scores,
                exact=(self.crowd(80, 1, 0.5), self.crowd(80, 2, 0.3, side=5.0)),
            ),
            self.check(
                "exact list",
                "Where no IoU is within rounding of the threshold and no scores are equal there is"
                " one right list.",
                rules.exact_list,
                *(zoo.threshold_off, zoo.plus_one, zoo.within_tiles, zoo.one_word),
                *(zoo.last_kept, zoo.by_index),
                exact=(self.crowd(300, 3, 0.5), self.crowd(130, 4, 0.3), self.crowd(65, 5, 0.7)),
            ),
        )

    def of_edges(self) -> tuple[Check, ...]:
        """Which boxes stay where overlaps are all, none, or just the threshold."""
        return (
            self.check(
                "threshold 0 and 1",
                "A box goes at an IoU greater than the threshold: any overlap at 0, never at 1.",
                rules.exactly,
                zoo.at_least,
                boxes=draws.boxes(grain=1.0, far=False, most=16),
                thresholds=(0.0, 1.0),
                exact=self.few([SQUARE, SQUARE, [20.0, 20.0, 30.0, 30.0]], 0.0, 1.0),
                skipped=_made_for(0.0, 1.0),
                examples=0.6,
            ),
            self.check(
                "equal to the threshold",
                "A box whose IoU equals the threshold stays.",
                rules.exactly,
                zoo.at_least,
                boxes=rules.halves(),
                thresholds=(0.5, 0.25, 0.75),
                exact=self.few([SQUARE, [0.0, 0.0, 4.0, 8.0]], 0.5),
                skipped=_made_for(0.5, 0.25, 0.75),
                examples=0.6,
            ),
            self.check(
                "duplicates",
                "Of identical boxes one is kept.",
                rules.duplicates,
                *(zoo.all_kept, zoo.none_kept),
                boxes=rules.copies(),
                scores=draws.scores,
                examples=0.4,
            ),
            self.check(
                "degenerate",
                "A box without area has IoU 0 with every other: it stays, and so do they.",
                rules.degenerate,
                *(zoo.areas_inside_out, zoo.best_kept),
                boxes=draws.some_without_area(),
                exact=self.few([SQUARE, [8.0, 8.0, 0.0, 0.0], [3.0, 3.0, 3.0, 3.0]], 0.5),
                examples=0.6,
            ),
        )

    def of_lists(self) -> tuple[Check, ...]:
        """In which order, and of what input."""
        return (
            self.check(
                "ties",
                "Boxes are visited by falling score, equal scores by rising index.",
                rules.exact_list,
                zoo.ties_backwards,
                scores=draws.tied_scores,
                examples=0.6,
            ),
            self.check(
                "order",
                "Indices come best first.",
                rules.best_first,
                *(zoo.by_index, zoo.ascending, zoo.none_kept),
                boxes=draws.boxes(2, 20),
                thresholds=(0.93, 0.7, 0.5),
                examples=0.5,
            ),
            self.check(
                "permutation",
                "Input in another order gives the same boxes.",
                rules.permutation,
                *(zoo.not_sorted, zoo.positions),
                boxes=draws.boxes(2, 20),
                examples=0.5,
            ),
            self.check(
                "empty",
                "Of no boxes none are kept.",
                rules.exactly,
                zoo.not_for_none,
                boxes=draws.boxes(0, 0),
                examples=0.1,
            ),
            self.check(
                "one box",
                "A box alone is kept, whatever it is.",
                rules.exactly,
                zoo.none_kept,
                boxes=st.one_of(draws.boxes(1, 1), draws.without_area().map(lambda box: [box])),
                scores=lambda n: st.lists(st.floats(-4, 4, width=16), min_size=n, max_size=n),
                examples=0.3,
            ),
            self.check(
                "nonfinite",
                "A score that is NaN gives what is declared; a box that is not finite no crash.",
                rules.nonfinite,
                cases=lambda kernel, dtype: rules.not_finite(kernel),
                examples=0.5,
            ),
        )

    def of_labels(self) -> tuple[Check, ...]:
        """What labels add."""
        return (
            self.check(
                "classes",
                "Boxes of different labels never suppress each other.",
                rules.classes,
                zoo.class_ignored,
                boxes=draws.boxes(2, 24),
                exact=(NEGATIVE,),
            ),
            self.check(
                "far labels",
                "Whatever the numbers of the labels and the size of the image.",
                rules.classes,
                *(zoo.coordinate_trick, zoo.labels_in_bits),
                boxes=draws.boxes(8, 40),
                labels=((1, 257), (0, 256), (946, 1202), (1201, 1202), (0, 1202)),
                exact=tuple(self.crowd(200, i, 0.47, apart=4000.0) for i in (7, 8)),
            ),
        )


def _made_for(*thresholds: float) -> Callable[[Kernel], str | None]:
    def skipped(kernel: Kernel) -> str | None:
        fits = any(kernel.allows({"iou_threshold": t}) for t in thresholds)
        return None if fits else f"not made for a threshold of {' or '.join(map(str, thresholds))}"

    return skipped


_SINGLE, _BATCHED = _Rules("nms"), _Rules("batched_nms")
CHECKS: tuple[Check, ...] = (
    *(_SINGLE.of_overlaps() + _SINGLE.of_edges() + _SINGLE.of_lists()),
    *(_BATCHED.of_overlaps() + _BATCHED.of_edges() + _BATCHED.of_lists() + _BATCHED.of_labels()),
)
