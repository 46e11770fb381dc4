"""Kernels that are wrong on purpose, and kernels that are right in another way."""

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
