"""The cells of an ablation, row by seed, and what is already known of each."""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ablations
from ablations.ablation import Ablation
from ablations.own import ENDINGS, own
from mrcnn.config import Trial
from mrcnn.provenance import code_id, training_id, trial_id
from mrcnn.spec import assign, unknown
from reports.record import FILE, Record, load_record


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One trial of the grid and the folder it leaves its results in.

    training   id of its training, which trials that only predict differently have in common
    """

    row: str
    seed: int
    trial: Trial
    id: str
    training: str
    folder: Path

    @property
    def record(self) -> Record | None:
        """What the trial left, whatever code made it; None if it has not ended."""
        path = self.folder / FILE
        return load_record(path) if path.exists() else None

    def state(self) -> str:
        """finished | failed | made by other code | interrupted | to do"""
        record = self.record
        if record is None:
            return "interrupted" if (self.folder / "resume.pt").exists() else "to do"
        if record.error is not None:
            return "failed"
        return "finished" if record.code_id == code_id() else "made by other code"


def cells(
    ablation: Ablation, scale: str, seeds: int, runs: Path, changes: Sequence[str] = ()
) -> list[Cell]:
    """The grid, seed by seed. `changes` (path=value) apply to every trial, after scaling.

    Raises ValueError for an unknown scale, fewer than one seed, a change that does not fit, or one
    of the very field that the ablation varies.
    """
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}")
    for text in changes:
        path = text.partition("=")[0].strip()
        if f"{ablation.field}.".startswith(f"{path}.") or path == "seed":
            raise ValueError(f"--set {text}: {path} is what the rows differ in")
    hashes: dict[object, str] = {}
    found = []
    for row, seed, trial in ablation.trials(scale, seeds):
        trial = assign(trial, list(changes))
        if trial.data not in hashes:
            hashes[trial.data] = trial.data.hash(runs / "data")
        id = trial_id(trial, hashes[trial.data])
        training = training_id(trial, hashes[trial.data])
        found.append(
            Cell(row=row, seed=seed, trial=trial, id=id, training=training, folder=runs / id)
        )
    return found


def names() -> list[str]:
    """The ablations of this package: the modules that define one."""
    modules = (m.name for m in pkgutil.iter_modules(ablations.__path__) if m.name != "__main__")
    return [name for name in modules if _defined(f"ablations.{name}") is not None]


def named(name: str) -> Ablation:
    """The ablation called `name`, or the one that a .py or .toml file defines: see own.py.

    Raises ValueError with the nearest name, or naming the file and what is wrong in it.
    """
    if name.endswith(ENDINGS):
        return own(name)
    if name not in names():
        raise ValueError(unknown(name, names(), "ablation"))
    found = _defined(f"ablations.{name}")
    assert found is not None
    return found


def _defined(module: str) -> Ablation | None:
    found = getattr(importlib.import_module(module), "ABLATION", None)
    return found if isinstance(found, Ablation) else None
