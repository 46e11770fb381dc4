"""Several ablations filled as one grid, with as many seeds as their verdicts need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ablations.ablation import Ablation
from ablations.budget import most_telling_first
from ablations.grid import Cell, cells, named, names
from ablations.own import ENDINGS
from ablations.paper import TABLES
from ablations.run import Outcome, Runner
from ablations.study import study_of
from mrcnn.spec import unknown
from reports.looks import LOOKS, undecided
from reports.study import Study

PAPER = "paper"
"""The name that stands for all tables of the paper."""
Seeds = int | Literal["auto"]


def seeds_of(text: str) -> Seeds:
    """What --seeds says. Raises ValueError unless it is a number from 1 on or "auto"."""
    if text == "auto":
        return "auto"
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--seeds must be at least 1, or auto, got {text}")
    return int(text)


def asked(name: str) -> tuple[str, ...]:
    """The ablations that a name on the command line stands for.

    Raises ValueError with the nearest name there is, that of the paper's tables among them.
    """
    if name == PAPER:
        return TABLES
    if not name.endswith(ENDINGS) and name not in names():
        raise ValueError(unknown(name, [*names(), PAPER], "ablation"))
    return (name,)


@dataclass(frozen=True)
class Sweep:
    """What was asked for: ablations, and how each of their grids is made.

    names             of ablations, or files that define one
    seeds             per row; "auto": 3, and after a look at the results more for the rows of
                      contrasts that are undecided. Nothing but the records tells how far it is
    accept_old_code   results of other code count
    device            that trials run on: part of the command that a page names
    """

    names: tuple[str, ...]
    scale: str
    seeds: Seeds
    runs: Path
    changes: tuple[str, ...] = ()
    accept_old_code: bool = False
    device: str = "cpu"

    @cached_property
    def ablations(self) -> Mapping[str, Ablation]:
        """By the name they were asked for with."""
        return {name: named(name) for name in self.names}

    @cached_property
    def whole(self) -> Mapping[str, list[Cell]]:
        """Every cell that may be needed, by ablation."""
        most = LOOKS[-1] if self.seeds == "auto" else self.seeds
        return {
            name: cells(ablation, self.scale, most, self.runs, self.changes)
            for name, ablation in self.ablations.items()
        }

    def grid(self, name: str, ended: Callable[[Cell], bool] | None = None) -> list[Cell]:
        """The cells of an ablation that are wanted, as far as the records tell by now.

        ended   whether a cell counts at a look; default: those with a result or a failure
        """
        wanted, _ = self._looked(name, ended or self._ended)
        return wanted

    def cells(
        self, ended: Callable[[Cell], bool] | None = None, *, most_telling: bool = False
    ) -> list[Cell]:
        """The wanted cells of all ablations in one, seed by seed or the most telling first."""
        grids = {name: self.grid(name, ended) for name in self.names}
        if most_telling:
            return most_telling_first([(self.ablations[n], g) for n, g in grids.items()])
        return sorted((c for grid in grids.values() for c in grid), key=lambda cell: cell.seed)

    def looks(self) -> list[str]:
        """What was seen at the looks so far, a line for each."""
        return [line for name in self.names for line in self._looked(name, self._ended)[1]]

    def study(self, name: str) -> Study:
        """What the page of an ablation shows."""
        looks = LOOKS if self.seeds == "auto" else ()
        command = f"python -m ablations run {name} --scale {self.scale} --seeds {self.seeds}"
        command += "".join(f" --set '{change}'" for change in self.changes)
        command += f" --device {self.device}" if self.device != "cpu" else ""
        return study_of(self.ablations[name], self.grid(name), self.runs, command, looks)

    def page(self, name: str) -> Path:
        """The folder of an ablation's page."""
        return self.runs / "pages" / f"{Path(name).stem}-{self.scale}"

    def _ended(self, cell: Cell) -> bool:
        usable = ("finished", "failed", "made by other code")
        return cell.state() in usable[: 3 if self.accept_old_code else 2]

    def _looked(self, name: str, ended: Callable[[Cell], bool]) -> tuple[list[Cell], list[str]]:
        """The cells wanted and what was seen at each look, of those whose cells have all ended."""
        every, ablation = self.whole[name], self.ablations[name]
        if self.seeds != "auto":
            return every, []
        needing, found, said = set(ablation.values), list[Cell](), list[str]()
        for before, look in zip((0, *LOOKS), LOOKS, strict=False):
            found += [c for c in every if before <= c.seed < look and c.row in needing]
            if look == LOOKS[-1] or not needing or not all(ended(cell) for cell in found):
                break
            needing &= undecided(study_of(ablation, found, self.runs, "", LOOKS), look)
            said.append(f"{name}, {look} seeds: undecided {_listed(needing)}")
        return found, said


def fill(sweep: Sweep, runner: Runner) -> Outcome:
    """Run what the sweep wants, look, and go on until it wants no more."""
    whole, tried, said = Outcome(), set[str](), set[str]()

    def ended(cell: Cell) -> bool:
        """A failure of before is tried again first, and counts then."""
        return cell.id in tried if cell.state() == "failed" else sweep._ended(cell)

    while True:
        wanted = sweep.cells(ended, most_telling=runner.budget.until is not None)
        new = [cell for cell in wanted if cell.id not in tried]
        if not new:
            return whole
        outcome = runner.fill(new)
        tried |= {cell.id for cell in new}
        whole.failed += outcome.failed
        whole.left += outcome.left
        for line in sweep.looks():
            if line not in said:
                runner.watch.say(line)
        said |= set(sweep.looks())


def _listed(rows: set[str]) -> str:
    return "; ".join(sorted(rows)) or "nothing"
