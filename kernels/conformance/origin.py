"""Where a kernel comes from, in words that another process can follow to it."""

import importlib
from dataclasses import replace
from pathlib import Path

from kernels.conformance.declaration import SHIPPED, Kernel, declared_in
from kernels.conformance.own import own

ZOO = "zoo:"


def loaded(origin: str) -> Kernel:
    """The kernel at an origin, as a worker process loads it.

    Raises ValueError if it is not there.
    """
    place, _, name = origin.rpartition(":")
    if place.startswith(ZOO):
        return specimen(place.removeprefix(ZOO), name)
    for kernel in own() if origin.startswith(SHIPPED) else declared_in(Path(place)):
        if kernel.origin == origin:
            return kernel
    raise ValueError(f"there is no kernel {origin!r}")


def specimen(module: str, name: str) -> Kernel:
    """A kernel of the zoo: `name` among the BROKEN and SOUND of one of its modules."""
    inside = importlib.import_module(f"kernels.conformance.zoo.{module}")
    broken = [one.kernel for one in getattr(inside, "BROKEN", ())]
    for one in (*broken, *getattr(inside, "SOUND", ())):
        if one.name == name:
            return replace(one, origin=f"{ZOO}{module}:{name}")
    raise ValueError(f"there is no {name!r} in the zoo's {module}")
