"""Trials that differ only in how a trained network predicts share one training."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablations.grid import Cell
from ablations.job import WEIGHTS
from mrcnn.provenance import code_id
from reports.record import FILE


def trainings(runs: Path, *, accept_old_code: bool = False) -> dict[str, Path]:
    """Training id -> the folder of a finished run that did it, whatever ablation it was for.

    accept_old_code   also those that other code made
    """
    found: dict[str, Path] = {}
    for path in sorted(runs.glob(f"*/{FILE}")):
        try:
            record = json.loads(path.read_text())
            training = record["made_by"].get("training_id")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not a record, or none of ours: its own cell says so
        trained = record["error"] is None and record.get("trained_by") is None
        current = accept_old_code or record["code_id"] == code_id()
        if training and trained and current and (path.parent / WEIGHTS).exists():
            found[training] = path.parent
    return found


@dataclass
class Waiting:
    """The cells that have yet to run, in order. Of those with one training one trains; the others
    wait for it, and then only evaluate its weights.

    trained   training id -> the folder of the run that did it
    """

    cells: list[Cell]
    trained: dict[str, Path]
    under_way: set[str] = field(default_factory=set)

    def take(self, fits: Callable[[Cell], bool]) -> Cell | None:
        """The next that can start and `fits`; None if there is none now."""
        for cell in self.cells:
            if cell.training not in self.under_way and fits(cell):
                self.cells.remove(cell)
                if cell.training not in self.trained:
                    self.under_way.add(cell.training)
                return cell
        return None

    def source(self, cell: Cell) -> Path | None:
        """The run whose weights the cell is to evaluate; None if it trains."""
        return self.trained.get(cell.training)

    def ended(self, cell: Cell, *, well: bool) -> None:
        """A cell's job is over. If it was to train and failed, the next of its kind trains."""
        if cell.training in self.under_way:
            self.under_way.remove(cell.training)
            if well:
                self.trained[cell.training] = cell.folder


def in_turn(cells: Sequence[Cell], states: Mapping[str, str]) -> list[Cell]:
    """Each trial once; of those with one training the interrupted one first, for it has begun."""
    once = list({cell.id: cell for cell in cells}.values())
    begun = {c.training: c for c in once if states[c.id] == "interrupted"}
    firsts = {cell.training: begun.get(cell.training, cell) for cell in reversed(once)}
    order: list[Cell] = []
    for cell in once:
        order += [firsts[cell.training], cell]
    return list({cell.id: cell for cell in order}.values())
