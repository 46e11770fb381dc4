"""Kernels that are wrong on purpose, and kernels that are right in another way."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

from kernels.conformance.declaration import Kernel


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A kernel with one fault.

    fault       in words
    killed_by   the check that must catch it; others may as well
    equivalent  why no check can tell it from a right one; None for a fault that shows
    crashes     it ends the process, so that it runs in a worker only
    """

    kernel: Kernel
    fault: str
    killed_by: str
    equivalent: str | None = None
    crashes: bool = False


def menagerie() -> Iterator[tuple[str, Broken]]:
    """Every broken kernel with the name of the module that it stands in."""
    for module in _modules():
        for broken in getattr(importlib.import_module(f"{__name__}.{module}"), "BROKEN", ()):
            yield module, broken


def sound() -> Iterator[Kernel]:
    """Every kernel that is right in another way."""
    for module in _modules():
        yield from getattr(importlib.import_module(f"{__name__}.{module}"), "SOUND", ())


def _modules() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(__path__))
