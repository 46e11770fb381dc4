"""python -m benchmarks gate: from its options to the files that it leaves."""

import inspect
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.status import Status

import kernels as operators
from benchmarks import suite
from benchmarks.gate import options, process
from benchmarks.gate import run as gates
from benchmarks.gate.count import by_instructions
from benchmarks.gate.counted import missing
from benchmarks.gate.process import ended_as_by_ctrl_c
from benchmarks.gate.run import Found, Plan
from benchmarks.gate.sides import TREE, Side, changed, checked_out, top
from kernels.command import seconds
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by

RUNS = Path("reports/runs")
OUT = RUNS / "gate"
PEER = "torchvision"
REPEATED = {
    "ahead": "--ahead",
    "rounds_max": "--rounds-max",
    "every": "--all",
    "only": "--only",
    "gone": "--gone",
    "new": "--new",
    "build": "--build",
    "python": "--python",
    "patience": "--patience",
    "count": "--count",
}
"""What says what is measured, and how, besides the sides and the budget."""


def gate(
    base: options.Base = None,
    head: options.Head = None,
    kernels: options.Kernels = None,
    against: options.Against = None,
    ahead: options.Ahead = 1.0,
    budget: options.Budget = "10m",
    rounds_max: options.RoundsMax = gates.MOST,
    every: options.Every = False,
    only: options.Only = None,
    gone: options.Gone = None,
    new: options.New = None,
    on_unsure: options.OnUnsure = "fail",
    build: options.Build = None,
    python: options.Python = None,
    patience: options.Patience = process.PATIENCE_S,
    junit: options.Junit = None,
    summary: options.Summary = None,
    comment: options.Comment = None,
    history: options.History = None,
    history_branch: options.HistoryBranch = None,
    count: options.Counted = None,
    out: options.Out = OUT,
) -> int:
    """FASTER, SAME, SLOWER or UNSURE: is the code slower than it was at another revision?

    \b
    Both sides are measured in turn, in fresh processes, until each benchmark has a verdict or the
    budget is spent. Of a hundred runs on equal code, one at most calls anything faster or slower.
    Exit code: 0 fine, 1 slower, 2 a benchmark has no number, 3 unsure.

    \b
    Examples:
      python -m benchmarks gate --base origin/main
      python -m benchmarks gate --base v1.2 --head HEAD --budget 20m --on-unsure pass
      python -m benchmarks gate --base HEAD~1 --only nms/10k --only paste_masks
      python -m benchmarks gate --base origin/main --kernels my_kernels.py --junit gate.xml
      python -m benchmarks gate --base main --build "make" --python venv/bin/python
      python -m benchmarks gate --base HEAD~1 --count instructions
      python -m benchmarks gate --against torchvision
    """
    return run(Asked(**locals()))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options as they were given."""

    base: options.Base
    head: options.Head
    kernels: options.Kernels
    against: options.Against
    ahead: options.Ahead
    budget: options.Budget
    rounds_max: options.RoundsMax
    every: options.Every
    only: options.Only
    gone: options.Gone
    new: options.New
    on_unsure: options.OnUnsure
    build: options.Build
    python: options.Python
    patience: options.Patience
    junit: options.Junit
    summary: options.Summary
    comment: options.Comment
    history: options.History
    history_branch: options.HistoryBranch
    count: options.Counted
    out: options.Out


def run(asked: Asked) -> int:
    """A gate run from its options to its files; returns the exit code."""
    if asked.on_unsure not in ("pass", "fail"):
        raise ValueError(f"--on-unsure must be pass or fail, got {asked.on_unsure!r}")
    if asked.against not in (None, PEER):
        raise ValueError(f"--against must be {PEER}, got {asked.against!r}")
    if (asked.base is None) == (asked.against is None):
        raise ValueError("name what to compare with: --base REVISION, or --against torchvision")
    if asked.count not in (None, "instructions"):
        raise ValueError(f"--count must be instructions, got {asked.count!r}")
    if asked.count and (why := missing()) is not None:
        raise ValueError(why)
    budget_s, root = seconds(asked.budget), top(Path.cwd())
    file = within(root, asked.kernels)
    asked.out.mkdir(parents=True, exist_ok=True)
    found = Found()
    with (
        ended_as_by_ctrl_c(),
        checked_out(
            root,
            base=asked.base,
            head=asked.head,
            kernels=file,
            build=asked.build,
            python=asked.python,
        ) as sides,
        shown() as (say, step),
    ):
        one, two = compared(sides, asked.against)
        tell_sides(found, say, [*dict.fromkeys(s.said for s in sides.values())])
        if asked.head is not None and changed(root):
            tell_sides(found, say, [f"{changed(root)} files of {TREE} differ and are not measured"])
        plan = Plan(
            sides=(one, two),
            names=tuple(asked.only)
            if asked.only
            else None
            if asked.every or file
            else suite.DEFAULT,
            gone=tuple(asked.gone or ()),
            new=tuple(asked.new or ()),
            budget_s=budget_s,
            most=asked.rounds_max,
            unsure_passes=asked.on_unsure == "pass",
            against=asked.against,
            ahead=asked.ahead,
            promised=() if asked.only or file or asked.against else suite.promised(one.folder),
            patience_s=asked.patience,
        )
        judge = by_instructions if asked.count else None
        code = gates.run(plan, found, say, replace(gates.BY_PROCESSES, step=step, judge=judge))
    for line in lines(plan, found, code):
        typer.echo(line)
    kept = gates.record(plan, found, code) | {"made_by": made_by("cpu", operators.in_use("cpu"))}
    kept["counted"] = asked.count
    kept["options"] = [*([f"--kernels {shlex.quote(file)}"] if file else []), *repeated(asked)]
    write_json(asked.out / "gate.json", kept)
    told(kept, asked)
    return code


def repeated(asked: Asked) -> list[str]:
    """The options that another run needs to measure the same, where they are not the usual ones."""
    usual, words = inspect.signature(gate).parameters, []
    for name, option in REPEATED.items():
        given = getattr(asked, name)
        if given == usual[name].default:
            continue
        for one in given if isinstance(given, list) else [given]:
            words.append(option if one is True else f"{option} {shlex.quote(str(one))}")
    return words


def within(root: Path, file: Path | None) -> str | None:
    """A file's path relative to the root. Raises ValueError for one that lies elsewhere."""
    if file is None:
        return None
    try:
        return Path(os.path.abspath(file)).relative_to(root).as_posix()  # links stay, ".." goes
    except ValueError:
        raise ValueError(f"--kernels {file}: does not lie in the repository {root.name}") from None


def compared(sides: dict[str, Side], against: str | None) -> tuple[Side, Side]:
    """The two that are measured: base and head, or head as the peer and as itself."""
    if against is None:
        return sides["base"], sides["head"]
    head = sides["head"]
    return replace(head, name="peer", peer=True), replace(head, name="ours")


def tell_sides(found: Found, say: Callable[[str], None], words: list[str]) -> None:
    """Say lines and keep them."""
    for line in words:
        found.said.append(line)
        say(line)


def lines(plan: Plan, found: Found, code: int) -> Iterator[str]:
    """The verdicts, and in the end what follows from them."""
    width = max(map(len, found.about), default=0)
    for name in found.about:
        said = found.verdicts.get(name)
        if said is None or name in found.errors:
            yield f"{'NO NUMBER':<9} {name:<{width}}  {found.errors.get(name, 'not measured')}"
            continue
        tail = f"within {100 * said.band:.1f} %" if said.word == "SAME" else ""
        tail = f"can find {100 * said.detectable:.1f} %" if said.word == "UNSURE" else tail
        yield (
            f"{said.word:<9} {name:<{width}}  {said.ratio:.3f} times the time of "
            f"{plan.sides[0].name} ({said.low:.3f} to {said.high:.3f}), {said.rounds} rounds"
            + (f", {tail}" if tail else "")
        )
    words = [v.word for n, v in found.verdicts.items() if n not in found.errors]
    counts = [f"{words.count(w)} {w}" for w in dict.fromkeys(words)]
    if without := len(found.about) - len(words):
        counts.append(f"{without} without a number")
    yield f"{', '.join(counts) or 'nothing measured'}: exit code {code}"


def told(kept: dict[str, Any], asked: Asked) -> None:
    """The files for a machine of continuous integration."""
    from benchmarks.history.command import keep
    from reports import gate_page

    if asked.junit:
        asked.junit.parent.mkdir(parents=True, exist_ok=True)
        asked.junit.write_bytes(gate_page.junit(kept, asked.on_unsure))
    if asked.comment:
        asked.comment.write_text(gate_page.comment(kept))
    if asked.summary:
        with asked.summary.open("a") as out:
            out.write(gate_page.summary(kept))
    if asked.history or asked.history_branch:
        keep(kept, asked.history, asked.history_branch)


@contextmanager
def shown() -> Iterator[tuple[Callable[[str], None], Callable[[str, str], None]]]:
    """What says a line, and what shows the step under way, on a terminal alone."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield (lambda line: typer.echo(line, err=False)), (lambda phase, name: None)
        return
    at = {"phase": "", "name": ""}
    with Status("starting", console=console) as status:

        def step(phase: str, name: str) -> None:
            at.update({k: v for k, v in (("phase", phase), ("name", name)) if v})
            status.update(f"{at['phase']}  {at['name']}")

        yield (lambda line: console.print(line, markup=False, highlight=False)), step
