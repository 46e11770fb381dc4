"""Jobs as Ray actors: on this machine, or on a cluster that has no folder in common with us.

What a job reads goes to its worker as bytes, and what it wrote comes back so. Of an interrupted
trial the saved state stays where the worker was, in that machine's folder for temporary files, and
is gone on with there. A data set in COCO's format, and weights of a body, have to lie at the same
path on every machine.
"""

import getpass
import hashlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ablations.host import Host, write
from ablations.job import STALE, STOPPED, Job
from ablations.local import TRAINER, cores, locked
from mrcnn.provenance import ROOT

RETRIES = 3
"""How often a job is started again whose worker was lost."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


def import_ray() -> ModuleType:
    """Ray. Raises ValueError that says how to install it."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    try:
        import ray
    except ImportError:
        raise ValueError(
            "--engine ray needs Ray, which is not installed: pip install 'mrcnn-lab[ray]', "
            "or pip install ray"
        ) from None
    return ray  # type: ignore[no-any-return]


class Cluster:
    """The engine of a Ray cluster; each trial has an actor, which runs it as a process.

    address   of the cluster; None starts one of our own on this machine
    limit     trials at a time; None: as many as the cluster has room for
    threads   and GPUs that each trial is given
    scratch   folder for the work on each machine; None: one among its temporary files

    Raises ValueError if Ray is missing, does not answer, or has no machine that is large enough.
    """

    def __init__(
        self,
        *,
        runs: Path,
        address: str | None = None,
        limit: int | None = None,
        threads_each: int = 1,
        gpus: float = 0,
        trainer: Sequence[str] = TRAINER,
        scratch: Path | None = None,
    ) -> None:
        self.ray = import_ray()
        self.runs, self.gpus, self.trainer, self.scratch = runs, gpus, trainer, scratch
        self._connect(address)
        machines = [n["Resources"] for n in self.ray.nodes() if n["Alive"]]
        self.threads = int(max(m.get("CPU", 0) for m in machines))
        most_gpus = max(m.get("GPU", 0) for m in machines)
        if threads_each > self.threads or gpus > most_gpus:
            self.close()
            raise ValueError(
                f"a trial wants {threads_each} threads and {gpus:g} GPUs; the machines of this "
                f"Ray cluster have at most {self.threads} and {most_gpus:g}"
            )
        room = sum(
            min(
                m.get("CPU", 0) // threads_each,
                m.get("GPU", 0) // gpus if gpus else float("inf"),
            )
            for m in machines
        )
        self.jobs = min(limit or int(room), int(room))

    def start(self, job: Job) -> "Remote":
        """An actor for the job, once Ray finds room. Raises ValueError as `Local.start` does."""
        return Remote(self, job, locked(self.runs / job.place))

    def close(self) -> None:
        self.ray.shutdown()

    def host(self, job: Job) -> Any:
        """A new actor with what the job needs."""
        made = self.ray.remote(Host).options(num_cpus=job.threads, num_gpus=self.gpus)
        return made.remote(self._scratch(), [*self.trainer], os.getcwd())

    def _scratch(self) -> str:
        """For these runs alone; relative to each machine's temporary files unless it was given."""
        if self.scratch is not None:
            return str(self.scratch.resolve())
        mine = f"{getpass.getuser()}@{platform.node()}:{self.runs.resolve()}"
        key = hashlib.sha256(mine.encode()).hexdigest()
        return f"mrcnn-lab-{key[:12]}"

    def _connect(self, address: str | None) -> None:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            options |= {"num_cpus": cores(), "include_dashboard": False, "address": "local"}
        else:
            packages = [str(ROOT / name) for name in ("ablations", "kernels", "mrcnn", "reports")]
            options |= {"address": address, "runtime_env": {"py_modules": packages}}
        for again in (True, True, False):
            try:
                with _set("PYTHONPATH", path):  # inherited by the workers of a cluster of our own
                    self.ray.init(**options)
                return
            except Exception as error:  # of its own processes, which it gives half a minute
                self.ray.shutdown()
                if address is not None or not again:
                    where = "on this machine" if address is None else f"at --address {address}"
                    raise ValueError(f"no Ray cluster {where}: {error}") from None


class Remote:
    """The handle of a job that an actor does; a lost actor is replaced, a few times."""

    def __init__(self, cluster: Cluster, job: Job, lock: Any) -> None:
        self.cluster, self.job, self.lock = cluster, job, lock
        self.ray, self.folder = cluster.ray, cluster.runs / job.place
        self.code: int | None = None
        self.note: Mapping[str, Any] = {}
        self.actor: Any = None
        self.asked: Any = None
        self.lost = 0
        for stale in STALE if job.verb == "train" else ():
            (self.folder / stale).unlink(missing_ok=True)
        self._launch()

    def poll(self) -> int | None:
        if self.code is not None:
            return self.code
        ready, _ = self.ray.wait([self.asked], timeout=0)
        if ready:
            with self._surviving():
                code, note = self.ray.get(self.asked)
                self.begun, self.note = True, note or self.note
                if code is None:
                    self.asked = self.actor.look.remote()
                else:
                    self._fetch(code)
        return self.code

    def progress(self) -> Mapping[str, Any]:
        return self.note

    def interrupt(self) -> None:
        if self.code is None and self.begun:
            self.actor.interrupt.remote()
        elif self.code is None:  # it waits for room, or for its process
            self.kill()
            self.code = STOPPED

    def kill(self) -> None:
        if self.code is None:
            self.ray.kill(self.actor)
            self.code = -9

    def close(self) -> None:
        self.lock.close()

    def _launch(self) -> None:
        self.actor, self.begun = self.cluster.host(self.job), False
        there = [p for p in self.job.needs if (self.cluster.runs / p).exists()]
        files = {place: (self.cluster.runs / place).read_bytes() for place in there}
        self.asked = self.actor.begin.remote(self.job, files)

    def _fetch(self, code: int) -> None:
        """Take over what the job left; of an interrupted one nothing, it stays where it is."""
        if code != STOPPED:
            for name, content in self.ray.get(self.actor.results.remote()):
                write(self.folder / name, content)
            self.ray.get(self.actor.forget.remote())
        self.ray.kill(self.actor)
        self.code = code

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Within the block, a lost actor makes a new one."""
        errors = self.ray.exceptions
        try:
            yield
        except errors.ActorUnavailableError:
            self.asked = self.actor.look.remote()  # of a connection that may come back
        except errors.RayActorError as error:
            self.lost += 1
            self.note = {"phase": f"worker lost, retry {self.lost}", "step": 0, "of": 1}
            if self.lost <= RETRIES:
                self._launch()
            else:
                text = f"the Ray worker was lost {self.lost} times\n{error}"
                write(self.folder / "stderr.txt", text.encode())
                self.code = -9
        except errors.RayTaskError as error:
            write(self.folder / "stderr.txt", str(error).encode())
            self.ray.kill(self.actor)
            self.code = 1


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
