"""How the checks of one operator are written down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from kernels.conformance.call import Call
from kernels.conformance.case import Case
from kernels.conformance.check import Check, Wrong
from kernels.conformance.declaration import Kernel
from kernels.conformance.zoo import faults

Run = Callable[[Call, Case, str, Kernel], None]
Cases = Callable[..., SearchStrategy[Case]]


@dataclass(frozen=True)
class Maker:
    """Makes the checks of one operator, `drawn(kernel, **draw)` being its strategy."""

    operator: str
    drawn: Cases

    def __call__(
        self,
        name: str,
        rule: str,
        run: Run,
        *wrong: Wrong | str,
        draw: Mapping[str, Any] | None = None,
        **about: Any,
    ) -> Check:
        """A check.

        wrong   what it must catch: functions, or faults of RoI operators by name
        draw    what the operator's strategy is asked for
        about   other fields of `Check`; "cases" takes the place of the operator's strategy
        """
        about.setdefault("cases", lambda kernel, dtype: self.drawn(kernel, **(draw or {})))
        planted = dict(_named(self.operator, one) for one in wrong)
        return Check(
            name=name, rule=rule, operators=(self.operator,), run=run, wrong=planted, **about
        )


def _named(operator: str, wrong: Wrong | str) -> tuple[str, Wrong]:
    if isinstance(wrong, str):
        return wrong, faults.of(operator, wrong)
    return wrong.__name__.replace("_", " "), wrong
