"""How long trials take, which of them tell most, and what fits into a budget of time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ablations.ablation import Ablation
from ablations.grid import Cell
from ablations.local import last_note
from kernels.command import seconds
from mrcnn.config import Trial
from reports.record import Record

PHASES = {"train": (0.0, 0.85), "evaluate": (0.85, 0.15)}
"""Where each phase of a trial begins and how much of its time it takes, about."""
START_S = 4.0
"""What a process needs until it has loaded PyTorch; no record counts it."""


@dataclass(frozen=True)
class Budget:
    """Time that ends at a moment of the monotonic clock; without one it never does."""

    until: float | None = None

    @staticmethod
    def of(text: str | None) -> "Budget":
        """Time from now on: 90s, 30m, 2h; None never ends. Raises ValueError for anything else."""
        return Budget(None if text is None else time.monotonic() + seconds(text))

    @property
    def over(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until

    def allows(self, expected_s: float | None) -> bool:
        """Whether what is expected to take so long would end in time; unknown: yes, unless over."""
        left = float("inf") if self.until is None else self.until - time.monotonic()
        return left > (expected_s or 0.0)


def most_telling_first(grids: Sequence[tuple[Ablation, Sequence[Cell]]]) -> list[Cell]:
    """The cells of all grids, each trial once: first seeds first; of a seed the rows that published
    effects are between; of those the baseline, which most of them share.
    """
    keys: dict[str, tuple[int, bool, bool]] = {}
    cells: dict[str, Cell] = {}
    for ablation, grid in grids:
        judged = rows_judged(ablation)
        for cell in grid:
            key = cell.seed, cell.row not in judged, cell.row != ablation.baseline_row
            keys[cell.id] = min(key, keys.get(cell.id, key))
            cells.setdefault(cell.id, cell)
    return sorted(cells.values(), key=lambda cell: keys[cell.id])


def rows_judged(ablation: Ablation) -> set[str]:
    """The rows of the contrasts for which an effect was published."""
    changes = {frozenset(change[:2]) for change in getattr(ablation, "changes", ())}
    published = set(ablation.published)
    return {
        row
        for pair in ablation.contrasts
        if set(pair) <= published or frozenset(pair) in changes
        for row in pair
    }


@dataclass
class Times:
    """What trials took, and so what others will take: of the same configuration but for the seed
    if one is known, else of all.
    """

    whole: dict[Trial, list[float]] = field(default_factory=dict)
    evaluating: dict[Trial, list[float]] = field(default_factory=dict)

    def note(self, cell: Cell, record: Record) -> None:
        """Count a finished trial in."""
        total, trained = record.cost.get("total_s"), record.cost.get("train_s", 0.0)
        if record.error is None and total is not None:
            like = replace(cell.trial, seed=0)
            self.whole.setdefault(like, []).append(total + START_S)
            self.evaluating.setdefault(like, []).append(max(total - trained, 0.0) + START_S)

    def expected(self, cell: Cell, *, trained: bool) -> float | None:
        """Seconds that a cell needs from now on; None while nothing is known to go by.

        trained   its weights are there, and have only to be evaluated
        """
        known = self.evaluating if trained else self.whole
        took = known.get(replace(cell.trial, seed=0)) or [s for one in known.values() for s in one]
        if not took:
            return None
        begun = share(last_note(cell.folder)) if (cell.folder / "resume.pt").exists() else 0.0
        return sum(took) / len(took) * (1 - begun)


def times_of(cells: Sequence[Cell]) -> Times:
    """The times of the finished ones."""
    times = Times()
    for cell in cells:
        if (record := cell.record) is not None:
            times.note(cell, record)
    return times


def share(note: Mapping[str, object]) -> float:
    """How much of its trial a running worker has done, by its last note: 0 to 1."""
    begins, takes = PHASES.get(str(note.get("phase", "")), (0.0, 0.0))
    return begins + takes * float(note["step"]) / float(note["of"]) if takes else 0.0  # type: ignore[arg-type]


def in_words(duration_s: float) -> str:
    """`about 40 s` or `about 12 min`."""
    return f"about {duration_s / 60:.0f} min" if duration_s > 90 else f"about {duration_s:.0f} s"


def time_left(began: float, done: float, total: float) -> str:
    """The time to go in words, once enough has been seen to say."""
    if done < 0.15:
        return ""
    return f", {in_words((time.monotonic() - began) * (total - done) / done)} left"


def estimate(cells: Sequence[Cell], jobs: int) -> str:
    """The time to go, from what finished trials took; says so where there is nothing to go by."""
    once = list({cell.id: cell for cell in cells}.values())
    left = [cell for cell in once if cell.state() != "finished"]
    if not left:
        return "nothing left to run"
    times, seen = times_of(once), set[str]()
    seen |= {c.training for c in once if c.state() == "finished"}
    total = 0.0
    for cell in left:
        took = times.expected(cell, trained=cell.training in seen)
        seen.add(cell.training)
        if took is None:
            return f"{len(left)} trials to run; no finished one to tell the time by"
        total += took
    return f"{len(left)} trials to run, {in_words(total / jobs)} with {jobs} at a time"
