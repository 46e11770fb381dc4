"""Whether the suite can be trusted: what it kills of the broken, what it accuses of the sound."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kernels.conformance.checks import checks_of
from kernels.conformance.declaration import Kernel
from kernels.conformance.engine import Outcome, check_kernel
from kernels.conformance.origin import ZOO
from kernels.conformance.zoo import Broken, menagerie, sound


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of a broken kernel.

    killers    checks that failed it, the first of them in the order the checks run
    survived   checks that ran and passed it
    """

    broken: Broken
    killers: tuple[str, ...]
    survived: tuple[str, ...]

    @property
    def killed(self) -> bool:
        return bool(self.killers)

    @property
    def word(self) -> str:
        """What became of it, and whether not by the check that was to catch it."""
        word = "killed" if self.killed else "equivalent" if self.broken.equivalent else "SURVIVES"
        return word if self.as_foretold else f"{word}, not by {self.broken.killed_by}"

    @property
    def as_foretold(self) -> bool:
        """Killed by the check named, or not at all where no check can tell it from a right one."""
        if self.broken.equivalent is not None:
            return not self.killed
        return self.broken.killed_by in self.killers


def fates(
    operator: str | None = None, *, profile: str = "ci", every_check: bool = True
) -> Iterator[Fate]:
    """Put the broken kernels of an operator, or all, under its checks.

    every_check   not only the check that is named as the killer
    """
    if operator is not None:
        checks_of(operator)
    for module, broken in menagerie():
        if operator not in (None, broken.kernel.operator):
            continue
        kernel = broken.kernel
        if broken.crashes:
            kernel = replace(kernel, origin=f"{ZOO}{module}:{kernel.name}")
        names = () if every_check else (broken.killed_by,)
        outcomes = list(
            check_kernel(
                kernel,
                profile=profile,
                names=names,
                dtypes=kernel.dtypes[:1],
                isolate=broken.crashes,
                shrink=False,
            )
        )
        killers = dict.fromkeys(o.check for o in outcomes if o.verdict == "failed")
        passed = dict.fromkeys(o.check for o in outcomes if o.verdict in ("passed", "no power"))
        yield Fate(
            broken=broken,
            killers=tuple(killers),
            survived=tuple(n for n in passed if n not in killers),
        )


def accusations(
    operator: str, *, profile: str = "nightly", kernels: Sequence[Kernel] = ()
) -> tuple[list[Outcome], int]:
    """What the suite holds against kernels that are right, and over how many cases.

    Without an accusation in n cases, at most 3 / n of such cases accuse, with 95 % confidence.
    """
    checks_of(operator)
    found: list[Outcome] = []
    cases = 0
    for kernel in kernels or sound():
        if kernel.operator == operator:
            for outcome in check_kernel(kernel, profile=profile, isolate=False):
                cases += outcome.cases
                found += [outcome] if outcome.verdict == "failed" else []
    return found, cases
