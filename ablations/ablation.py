"""An ablation is a baseline, ONE field, and the values that field takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mrcnn.config import Trial
from mrcnn.presets import at_scale
from mrcnn.spec import vary


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A question, and the trials that answer it.

    title, question  what a page is headed with
    source           where the question comes from, to the table
    baseline         the trial that all rows start from
    field            the one field that differs, as a path into the trial
    values           row name -> value; one of them is the baseline's own
    metrics          shown, the deciding one first
    published        row name -> published numbers in the order of `metrics`, as many as there are
    published_on     data set, network and schedule of those
    contrasts        pairs of rows whose difference is the finding

    Raises ValueError for a table without its baseline row, or for names of rows that do not exist.
    """

    title: str
    question: str
    source: str
    baseline: Trial
    field: str
    values: Mapping[str, Any]
    metrics: tuple[str, ...] = (
        "mask AP",
        "mask AP50",
        "mask AP75",
        "box AP",
        "box AP50",
        "box AP75",
    )
    published: Mapping[str, tuple[float, ...]]
    published_on: str
    contrasts: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if self.baseline not in [trial for _, trial in self.rows()]:
            raise ValueError(f"no value of {self.field} is the baseline's; the table needs its row")
        named = {*self.published, *(name for pair in self.contrasts for name in pair)}
        if unknown := named - set(self.values):
            raise ValueError(f"numbers or contrasts of rows that do not exist: {sorted(unknown)}")

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
