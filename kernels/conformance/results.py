"""Outcomes as a person, a machine and a CI server read them."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kernels.conformance.checks import checks_of, every_check
from kernels.conformance.declaration import Kernel
from kernels.conformance.engine import Outcome, check_kernel, there_is
from kernels.conformance.lanes import LANES
from kernels.conformance.repro import explained, in_words


def put_under_test(
    kernels: Sequence[Kernel],
    names: Sequence[str],
    dtypes: Sequence[str],
    profile: str,
    file: Path | None,
    outcomes: list[Outcome],
) -> None:
    """Check kernel after kernel, with progress; what is bad is printed as it is found.

    outcomes        is added to one by one, so that an interruption loses none

    names, dtypes   of checks that an operator does not have and dtypes that a kernel does not
                    declare are left out for it; if that leaves nothing, ValueError
    """
    there_is(profile)
    plan = []
    for kernel in kernels:
        here = [n for n in names if n in every_check(kernel.operator)]
        kept = [d for d in dtypes if d in kernel.dtypes]
        if (here or not names) and (kept or not dtypes):
            plan.append((kernel, here, kept))
    if not plan:
        checks_of(kernels[0].operator, names)  # says which name is none
        raise ValueError(f"no kernel declares {', '.join(dtypes)}")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(file=sys.stderr)
    bars = Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bars:
        total = sum(len(checks_of(k.operator, n)) * len(d or k.dtypes) for k, n, d in plan)
        task = bars.add_task("", total=total)
        for kernel, here, kept in plan:
            bars.update(task, description=f"{kernel.operator}, {kernel.title}")
            for outcome in check_kernel(kernel, names=here, dtypes=kept, profile=profile):
                outcomes.append(outcome)
                bars.advance(task)
                if outcome.bad:
                    print(explained(outcome, file))


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """What passed, failed, is known to fail, did not run: a line a kernel, then a line a lane.

    A kernel of which nothing ran is counted in its lane alone.
    """
    lines = []
    for name in dict.fromkeys((o.operator, o.title) for o in outcomes):
        here = [o for o in outcomes if (o.operator, o.title) == name]
        cases, seconds = sum(o.cases for o in here), sum(o.seconds for o in here)
        alone = "" if all(o.isolated for o in here) else "; not in a process of its own"
        if any(o.verdict != "not run" for o in here):
            about = f"{counted(here)}; {cases} cases, {seconds:.0f} s{alone}"
            lines.append(f"{name[0]:<22} {name[1]:<20} {about}")
    for lane in (lane for lane in LANES if any(o.lane == lane for o in outcomes)):
        here = [o for o in outcomes if o.lane == lane]
        profile = next((f"; profile {o.profile}" for o in here if o.profile), "")
        missing = dict.fromkeys(o.reason for o in here if o.verdict == "not run" and not o.profile)
        why = f" ({'; '.join(missing)})" if missing else ""
        lines.append(f"lane {lane:<17} {counted(here)}{profile}{why}")
    return lines


def counted(outcomes: Sequence[Outcome]) -> str:
    """How many have which verdict."""
    counts = Counter(o.verdict for o in outcomes)
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The outcomes as plain values, the failing case as its token."""
    return [
        {
            **{k: v for k, v in vars(o).items() if k not in ("case", "worst")},
            "case": o.case.token if o.case else None,
            "words": in_words(o.case) if o.case else [],
            "worst": {k: str(v) for k, v in o.worst.items()},
        }
        for o in outcomes
    ]


def as_junit(outcomes: Sequence[Outcome]) -> str:
    """JUnit XML: a suite a kernel and lane, a case a check and dtype."""
    root = ElementTree.Element("testsuites")
    for name in dict.fromkeys((o.operator, o.title) for o in outcomes):
        here = [o for o in outcomes if (o.operator, o.title) == name]
        suite = ElementTree.SubElement(root, "testsuite", name="/".join(name))
        suite.set("tests", str(len(here)))
        suite.set("failures", str(sum(o.bad for o in here)))
        suite.set("skipped", str(sum(o.verdict in ("not run", "known") for o in here)))
        about = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(about, "property", name="lane", value=here[0].lane)
        for o in here:
            case = ElementTree.SubElement(suite, "testcase", name=f"{o.dtype}/{o.check}")
            case.set("classname", "/".join(name))
            case.set("time", f"{o.seconds:.3f}")
            if o.bad:
                found = ElementTree.SubElement(case, "failure", message=o.reason)
                found.text = explained(o, None)
            elif o.verdict in ("not run", "known"):
                ElementTree.SubElement(case, "skipped", message=o.reason)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")
