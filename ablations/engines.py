"""From what was typed to an engine and to the setting of its trials."""

from dataclasses import dataclass
from pathlib import Path

from ablations.job import Engine
from ablations.local import Local, cores
from ablations.setting import Setting
from mrcnn.options import usable
from mrcnn.spec import unknown

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Wish:
    """The options of `run` that say where and how trials run; None: as it fits.

    jobs      trials at a time
    address   of a Ray cluster; None: one of our own on this machine
    threads   of each process of a trial
    gpus      of each trial, for Ray to hand out
    """

    engine: str = "local"
    device: str = "cpu"
    jobs: int | None = None
    threads: int | None = None
    processes: int = 1
    address: str | None = None
    gpus: float | None = None

    def refuse_contradictions(self) -> None:
        """Raises ValueError for options that do not go together, or a device that is not here."""
        if self.engine not in ENGINES:
            raise ValueError(unknown(self.engine, list(ENGINES), "engine"))
        for name, value in (("--address", self.address), ("--gpus-per-trial", self.gpus)):
            if value is not None and self.engine != "ray":
                raise ValueError(f"{name} {value}: goes with --engine ray")
        if self.processes > 1 and self.engine == "ray":
            raise ValueError(f"--processes-per-trial {self.processes}: goes with --engine local")
        if self.engine == "local":
            usable(self.device)

    def chosen(self, runs: Path) -> tuple[Engine, Setting]:
        """The engine, started, and how it runs each trial. Raises ValueError if it cannot be."""
        self.refuse_contradictions()
        on_cpu = self.device == "cpu"
        if self.engine == "ray":
            from ablations.cluster import Cluster

            threads = self.threads or 1
            gpus = (0 if on_cpu else 1) if self.gpus is None else self.gpus
            engine: Engine = Cluster(
                runs=runs, address=self.address, limit=self.jobs, threads_each=threads, gpus=gpus
            )
            return engine, Setting(device=self.device, threads=threads)
        each = (self.threads or 1) * self.processes
        jobs = self.jobs or (max(1, cores() // each) if on_cpu else 1)
        threads = self.threads or (1 if on_cpu else max(1, cores() // (jobs * self.processes)))
        setting = Setting(device=self.device, threads=threads, processes=self.processes)
        return Local(runs=runs, jobs=jobs), setting
