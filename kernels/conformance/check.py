"""A check: one rule of a specification, the inputs it is tried on, and the errors it must see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis.strategies import SearchStrategy

from kernels.conformance.call import Call
from kernels.conformance.case import Case
from kernels.conformance.declaration import Kernel

Wrong = Callable[..., Any]
"""A function with the operator's signature that is wrong in one way."""


def always(kernel: Kernel) -> str | None:
    """Applies to every kernel."""
    return None


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule, tried on drawn cases.

    rule      of the specification, in a sentence: what a kernel that fails has broken
    operators it applies to
    cases     (kernel, dtype) -> the strategy that draws its inputs
    run       (call, case, dtype, kernel) raises Violation where the rule is broken
    skipped   (kernel) -> why it does not apply, or None
    wrong     name -> a broken kernel that this check must catch on the very inputs it has drawn;
              one that it does not catch is a failure "no power" of the run, not of the kernel
    exact     cases tried in every run before any is drawn
    dtypes    it is run in, of those a kernel declares; None: all of them
    examples  how many cases are drawn, as a share of the profile's
    covers    (cases) -> ingredient and in how many of them it was: shown with the outcome
    """

    name: str
    rule: str
    operators: tuple[str, ...]
    cases: Callable[[Kernel, str], SearchStrategy[Case]]
    run: Callable[[Call, Case, str, Kernel], None]
    skipped: Callable[[Kernel], str | None] = always
    wrong: Mapping[str, Wrong] = field(default_factory=dict)
    exact: tuple[Case, ...] = ()
    dtypes: tuple[str, ...] | None = None
    examples: float = 1.0
    covers: Callable[[Sequence[Case]], Mapping[str, int]] | None = None
