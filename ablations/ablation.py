"""An ablation is a baseline, ONE field, and the values that field takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mrcnn.config import Trial
from mrcnn.differences import at
from mrcnn.scales import at_scale
from mrcnn.spec import unknown, vary

OURS = ("mask boundary AP", "mask AP, boxes given")
"""What the paper does not give: edges alone, and masks without what finding objects adds."""

MASKS_AND_BOXES = (
    *("mask AP", "mask AP50", "mask AP75"),
    *("box AP", "box AP50", "box AP75"),
    *OURS,
)
"""The columns of Table 2d, and so, from the left, of all of Table 2; then ours."""

METRICS = (
    *(
        f"{kind} {what}"
        for kind in ("mask", "box", "keypoint")
        for what in ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR")
    ),
    *OURS,
    "mask IoU, boxes given",
    *(
        f"missed AP: {error}"
        for error in (
            *("classification", "localisation", "both"),
            *("duplicate", "background", "missed"),
        )
    ),
)
"""What a record can hold, and so what an ablation can show."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A question, and the trials that answer it.

    title, question  what a page is headed with
    source           where the question comes from, to the table
    baseline         the trial that all rows start from
    field            the one field that differs, as a path into the trial
    values           row name -> value; one of them is the baseline's own
    metrics          shown, the deciding one first
    published        row name -> published numbers in the order of `metrics`, as many as there are;
                     NaN for one that is missing in between
    published_on     data set, network and schedule of those
    changes          published differences of rows whose own numbers are not: row, other row, what
                     the first has over the second in the order of `metrics`
    contrasts        pairs of rows whose difference is the finding
    table            the paper's table that it repeats, "Table 2c"; empty for other questions
    paired           what rows cannot share although seeds are equal, in words; empty if nothing

    Raises ValueError for a table without its baseline row, for two rows of the same value, or for
    numbers and contrasts of rows that do not exist.
    """

    title: str
    question: str
    source: str
    baseline: Trial
    field: str
    values: Mapping[str, Any]
    metrics: tuple[str, ...] = MASKS_AND_BOXES
    published: Mapping[str, tuple[float, ...]]
    published_on: str
    contrasts: tuple[tuple[str, str], ...]
    changes: tuple[tuple[str, str, tuple[float, ...]], ...] = ()
    table: str = ""
    paired: str = ""

    def __post_init__(self) -> None:
        rows = dict(self.rows())
        if self.baseline not in rows.values():
            own = at(self.baseline, self.field)
            raise ValueError(
                f"no value of {self.field} is the baseline's, {own!r}; the table needs its row"
            )
        for (one, a), (other, b) in combinations(rows.items(), 2):
            if a == b:
                raise ValueError(f"rows {one!r} and {other!r} have the same {self.field}")
        named = {*self.published, *(name for pair in self.contrasts for name in pair)}
        named |= {name for change in self.changes for name in change[:2]}
        for name in sorted(named - set(self.values)):
            raise ValueError("numbers or contrasts: " + unknown(name, list(self.values), "row"))

    def rows(self) -> Iterator[tuple[str, Trial]]:
        """Each row's name and its trial as defined, at full scale."""
        for name, value in self.values.items():
            yield name, vary(self.baseline, self.field, value)

    @property
    def baseline_row(self) -> str:
        """The name of the row that is the baseline."""
        return next(name for name, trial in self.rows() if trial == self.baseline)

    def trials(self, scale: str, seeds: int) -> Iterator[tuple[str, int, Trial]]:
        """(row, seed, trial) of the whole grid, brought to `scale` after the field was varied."""
        for seed in range(seeds):
            for name, trial in self.rows():
                yield name, seed, vary(at_scale(trial, scale), "seed", seed)
