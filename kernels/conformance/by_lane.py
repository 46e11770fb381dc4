"""What each lane sees of the bugs that GPU code has: the zoo for GPUs, a row per bug and lane."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from kernels.conformance.checks import ORACLES, checks_of
from kernels.conformance.declaration import Kernel, declared_in
from kernels.conformance.engine import Outcome, called, check_kernel, run
from kernels.conformance.lanes import LANES, SANITIZED, TOOLS, installed
from kernels.conformance.zoo.gpu import FILES, FOLDER, MODULES, PLANTED, Planted
from kernels.op import unknown

WATCHED = (*ORACLES, "gradient", "determinism", "orders")
"""Checks that a sound specimen is put under where not every one is to run."""
DEEP = "deep"


def fates_by_lane(
    lanes: Sequence[str] = (),
    specimens: Sequence[str] = (),
    *,
    profile: str = "quick",
    every_check: bool = True,
) -> Iterator[dict[str, Any]]:
    """Put each specimen under checks in each of its lanes, the weakest first; a row for each.

    lanes         only these; empty: all
    specimens     only these, by title; empty: all
    every_check   of its operator, in all its dtypes; otherwise the one that must catch it there,
                  or the oracle and those that catch it elsewhere, in the dtype that it shows in

    A row has bug (None for a sound specimen), specimen, fault, lane, verdict ("killed", "survived"
    or "not run"), killers, expected ("killed by CHECK", "by luck", "unseen" or "sound"), why, and
    as_foretold. What is killed has the first finding for `why`; what is not run, what is missing.

    Raises ValueError for a lane or a specimen there is not.
    """
    titled = {specimen.title: specimen for specimen in PLANTED}
    for lane in lanes:
        if lane not in LANES:
            raise ValueError(unknown(lane, LANES, "lane"))
    for title in specimens:
        if title not in titled:
            raise ValueError(unknown(title, titled, "specimen"))
    for specimen in [titled[title] for title in specimens or titled]:
        for lane in FILES[specimen.file]:
            if not lanes or lane in lanes:
                yield fate(specimen, lane, profile=profile, every_check=every_check)


def fate(specimen: Planted, lane: str, *, profile: str, every_check: bool) -> dict[str, Any]:
    """The row of a specimen in one of its lanes."""
    about: dict[str, Any] = {"bug": specimen.bug, "specimen": specimen.title, "lane": lane}
    about["expected"] = _expected(specimen, lane)
    missing = _missing(specimen, lane)
    if missing is not None:
        return {**about, "verdict": "not run", "killers": [], "why": missing, "as_foretold": True}
    kernel = _loaded(specimen, lane)
    about["fault"] = kernel.function.__doc__
    outcomes = list(_outcomes(specimen, kernel, profile, every_check))
    failed = [o for o in outcomes if o.verdict == "failed"]
    ran = [o for o in outcomes if o.verdict != "not run"]
    killers = list(dict.fromkeys(o.check for o in failed))
    verdict = "killed" if failed else "survived" if ran else "not run"
    why = specimen.unseen.get(lane, "")
    why = failed[0].reason if failed else why if ran else outcomes[0].reason
    about |= {"verdict": verdict, "killers": killers, "why": why}
    return {**about, "as_foretold": _as_foretold(specimen, lane, verdict, killers)}


def _missing(specimen: Planted, lane: str) -> str | None:
    """Why it cannot run here, or None."""
    module = MODULES[specimen.file]
    absent = LANES[lane].device == "cuda" and not installed(module)
    return LANES[lane].missing() or (f"{module} is not installed" if absent else None)


def _loaded(specimen: Planted, lane: str) -> Kernel:
    wanted = (specimen.operator, specimen.name, lane)
    for kernel in declared_in(FOLDER / specimen.file):
        if (kernel.operator, kernel.name, kernel.lane) == wanted:
            return kernel
    raise ValueError(f"{specimen.title} is not declared for lane {lane}")


def _outcomes(
    specimen: Planted, kernel: Kernel, profile: str, every_check: bool
) -> Iterator[Outcome]:
    there = [c.name for c in checks_of(kernel.operator)]
    wanted = _watched(specimen, kernel.lane)
    names = there if every_check else [name for name in there if name in wanted]
    isolate = kernel.device != "cpu" or not LANES[kernel.lane].here
    dtypes = () if every_check else (specimen.dtype,)
    if names:
        yield from check_kernel(
            kernel, profile=profile, names=names, dtypes=dtypes, isolate=isolate, shrink=False
        )
    if DEEP in wanted:
        # Its rule leaves the emulation out; but these kernels read the map where it is.
        check = replace(checks_of(kernel.operator, [DEEP])[0], skipped=lambda kernel: None)
        with called(kernel, isolate=isolate) as call:
            yield run(check, kernel, specimen.dtype, call, profile, shrink=False)


def _watched(specimen: Planted, lane: str) -> set[str]:
    """The check that must catch it in the lane, or all that might."""
    if lane in specimen.killed_by:
        return {specimen.killed_by[lane]}
    named = {*specimen.killed_by.values(), *specimen.by_luck.values()}
    if lane == SANITIZED:
        return set(TOOLS)
    return {*named, *ORACLES} if named else set(WATCHED)


def _expected(specimen: Planted, lane: str) -> str:
    if specimen.bug is None:
        return "sound"
    if lane in specimen.killed_by:
        return f"killed by {specimen.killed_by[lane]}"
    return "by luck" if lane in specimen.by_luck else "unseen"


def _as_foretold(specimen: Planted, lane: str, verdict: str, killers: Sequence[str]) -> bool:
    if verdict == "not run" or lane in specimen.by_luck:
        return True
    if lane in specimen.killed_by:
        return specimen.killed_by[lane] in killers
    return not killers
