"""From a cell to the job that runs it."""

from dataclasses import dataclass
from pathlib import Path

from ablations.grid import Cell
from ablations.job import WEIGHTS, Job
from mrcnn.spec import plain
from mrcnn.train import trunk_folder

TRUNK = ("trunk.safetensors", "result.json")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How every trial runs, whatever the engine: recorded, not identity.

    threads     of each process of a trial
    processes   of each trial, started by torchrun if more than one
    options     added to every command of a trial
    """

    device: str = "cpu"
    threads: int = 1
    processes: int = 1
    options: tuple[str, ...] = ()

    def trial(self, cell: Cell, runs: Path, trained: Path | None) -> Job:
        """The job of a cell: to train, or only to evaluate the weights of the run `trained`."""
        needs: tuple[str, ...] = ()
        source = None if trained is None else trained.relative_to(runs).as_posix()
        if source is not None:
            needs = (f"{source}/{WEIGHTS}", f"{source}/result.json")
        elif cell.trial.pretraining is not None:
            trunk = trunk_folder(cell.trial, runs).relative_to(runs).as_posix()
            needs = tuple(f"{trunk}/{name}" for name in TRUNK)
        return Job(
            verb="train",
            place=cell.folder.relative_to(runs).as_posix(),
            trial=plain(cell.trial),
            threads=self.threads,
            processes=self.processes,
            trained=source,
            needs=needs,
            options=("--device", self.device, *self.options),
        )

    def pretraining(self, cell: Cell, runs: Path, threads: int) -> Job:
        """The job of the trunk that a cell starts from."""
        return Job(
            verb="pretrain",
            place=trunk_folder(cell.trial, runs).relative_to(runs).as_posix(),
            trial=plain(cell.trial),
            threads=threads,
            options=("--device", self.device),
        )
