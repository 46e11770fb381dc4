"""The trunks that trials start from: pretrained once each, beside trials that need others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.grid import Cell
from ablations.job import Engine, Handle
from ablations.outcome import last_words, pretraining_record
from ablations.setting import TRUNK, Setting
from mrcnn.train import trunk_folder
from reports.record import Record


@dataclass
class Trunks:
    """Those that have yet to be made, and those under way.

    missing   folder of a trunk -> a cell that starts from it
    """

    runs: Path
    missing: dict[Path, Cell]
    running: dict[Path, Handle] = field(default_factory=dict)

    @staticmethod
    def of(cells: Iterable[Cell], runs: Path) -> "Trunks":
        """The trunks of cells that are to train, less those that are there."""
        missing: dict[Path, Cell] = {}
        for cell in cells:
            folder = _folder(cell, runs)
            if folder is None:
                continue
            if all((folder / name).exists() for name in TRUNK):
                pretraining_record(folder)
            else:
                missing.setdefault(folder, cell)
        return Trunks(runs, missing)

    @property
    def handles(self) -> list[Handle]:
        """Of those under way."""
        return list(self.running.values())

    def ready(self, cell: Cell) -> bool:
        """Whether the trunk of a cell is there, or it needs none."""
        folder = _folder(cell, self.runs)
        return folder not in self.missing and folder not in self.running

    def start(self, engine: Engine, setting: Setting) -> None:
        """Begin the next one: with as many threads as it can have if it is the only one."""
        alone = len(self.missing) == 1 and not self.running
        folder = next(iter(self.missing))
        cell = self.missing.pop(folder)
        threads = engine.threads if alone else max(1, engine.threads // max(engine.jobs, 1))
        self.running[folder] = engine.start(setting.pretraining(cell, self.runs, threads))

    def collect(self) -> list[Record]:
        """The records of those that are ready now. Raises ValueError if one failed."""
        found = []
        for folder, handle in list(self.running.items()):
            code = handle.poll()
            if code is None:
                continue
            self.running.pop(folder).close()
            if code != 0:
                words = last_words(folder).strip().splitlines()
                raise ValueError(f"pretraining failed: {words[-1] if words else 'without a word'}")
            found.append(pretraining_record(folder))
        return found

    def progress(self) -> dict[str, Mapping[str, Any]]:
        """The last note of each one under way, by a name for people."""
        return {f"pretraining {f.name[:4]}": h.progress() for f, h in self.running.items()}


def _folder(cell: Cell, runs: Path) -> Path | None:
    return trunk_folder(cell.trial, runs) if cell.trial.pretraining else None
