"""Which kernels a command means: those of a file, or this project's own backends."""

from collections.abc import Sequence
from pathlib import Path

from kernels.conformance.declaration import Kernel, declared_in
from kernels.conformance.lanes import LANES, USUAL
from kernels.conformance.own import own
from kernels.op import operators, unknown


def chosen(
    file: Path | None, operator: str | None, name: str | None, lanes: Sequence[str] = ()
) -> list[Kernel]:
    """The kernels of `file` or our own, of one operator and of one name if given.

    lanes   only these; empty: all but the sanitizer's

    Raises ValueError, naming the nearest, where that leaves none.
    """
    if operator is not None and operator not in operators():
        raise ValueError(unknown(operator, operators(), "operator"))
    for lane in lanes:
        if lane not in LANES:
            raise ValueError(unknown(lane, LANES, "lane"))
    every = own() if file is None else declared_in(file)
    found = [k for k in every if operator in (None, k.operator)]
    if name is not None and name not in {k.name for k in found}:
        where = "backend" if file is None else f"kernel of {file}"
        raise ValueError(unknown(name, {k.name: k for k in found}, where))
    found = [k for k in found if name in (None, k.name)]
    if not found:
        raise ValueError(f"{file}: declares no kernel of {operator}")
    wanted = lanes or USUAL
    kept = [k for k in found if k.lane in wanted]
    if not kept:
        there = ", ".join(dict.fromkeys(k.lane for k in found))
        raise ValueError(f"no such kernel has a lane {', '.join(wanted)}; they have {there}")
    return kept
