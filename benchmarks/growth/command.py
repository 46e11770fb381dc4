"""python -m benchmarks scale: how time and memory grow with the size of the work."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, track

import kernels
from benchmarks.growth.largest import LARGEST, largest
from benchmarks.growth.largest import line as limit_line
from benchmarks.growth.laws import LAWS, operator_of
from benchmarks.growth.process import GIB, Law, enough
from benchmarks.growth.scale import OVER, Found, line, measured, row
from kernels.command import seconds
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by
from mrcnn.spec import unknown

OUT = Path("reports/runs/performance/scale.json")
QUICK_S, QUICK_ROUNDS, QUICK_GIB = 60.0, 2, 1.0


def scale(
    only: Annotated[
        list[str] | None, typer.Argument(help="Operators, or inference; default all.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option(help="RoIs, boxes, threads, ...; may be repeated.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Time for the laws: 90s, 5m, 1h.")] = "5m",
    rounds: Annotated[int, typer.Option(min=1, help="Processes of each size, at most.")] = 5,
    limit_gib: Annotated[
        float, typer.Option(min=0.25, help="Memory that a process may allocate.")
    ] = 3.0,
    quick: Annotated[
        bool, typer.Option(help="Every other size, 2 rounds, 1 minute, 1 GiB, no limits.")
    ] = False,
    limits: Annotated[
        bool, typer.Option(help="Also search the largest sizes that fit; not in the budget.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = OUT,
) -> None:
    """How time and memory grow with RoIs, boxes, image size, classes, channels, threads.

    \b
    Each size is measured in processes of its own; exponents have intervals of 95 % over rounds.
    Then the largest size that fits the stated memory is searched. What is measured is written,
    on Ctrl-C too.

    \b
    Examples:
      python -m benchmarks scale --quick
      python -m benchmarks scale --budget 20m
      python -m benchmarks scale nms batched_nms --variable boxes
      python -m benchmarks scale roi_align --limit-gib 8
    """
    laws, largest_of = chosen(LAWS, only, variable), chosen(LARGEST, only, variable)
    if not laws and not largest_of:
        raise ValueError(
            f"{only} has no law of {variable}; `scale --help` shows some that there are"
        )
    budget_s = seconds(budget)
    if quick:
        laws = [thinned(law) for law in laws]
        budget_s, rounds, limit_gib, limits = QUICK_S, QUICK_ROUNDS, QUICK_GIB, False
    limit = round(limit_gib * GIB)
    enough(limit)
    found: list[Found] = []
    fits: list[dict[str, Any]] = []
    try:
        show_growth(laws, found, budget_s=budget_s, rounds=rounds, limit=limit)
        failed = show_largest(largest_of, fits, limit) if limits else []
    finally:
        write(out, found, fits, limit)
    over = [one for one in found if OVER in one.left_out.values()]
    if over:
        typer.echo(f"{len(over)} of {len(laws)} laws not begun: {budget} were over")
    failed += [one.failed for one in found if one.failed]
    if failed:
        raise ValueError(f"{len(failed)} without a number: {failed[0]}")


def show_growth(laws: list[Law], found: list[Found], *, rounds: int, **given: Any) -> None:
    """Measure the laws, adding to `found`, and say what they are."""
    with Progress(transient=True) as bar:
        task = bar.add_task("laws", total=len(laws) * rounds)
        for one in measured(laws, found, rounds=rounds, **given):
            bar.update(task, advance=1, description=f"{one.law.what}, {one.law.variable}")
    for one in found:
        typer.echo(line(row(one, given["limit"])))


def show_largest(laws: list[Law], fits: list[dict[str, Any]], limit: int) -> list[str]:
    """Search the largest sizes, adding to `fits`, and say them; returns what went wrong."""
    failed = []
    for law in track(laws, "largest sizes", transient=True):
        fits.append({})
        try:
            for fits[-1] in largest(law, limit=limit):  # noqa: B007  (each is better than the last)
                pass
        except ValueError as error:
            failed.append(str(error))
        if fits[-1]:
            typer.echo(limit_line(fits[-1]))
    return failed


def write(out: Path, found: list[Found], fits: list[dict[str, Any]], limit: int) -> None:
    """Write what there is, if there is anything."""
    rows = [row(one, limit) for one in found]
    limits = [one for one in fits if one]
    if any(one.outcomes for one in found) or limits:
        about = made_by("cpu", kernels.in_use("cpu"))
        write_json(out, {"scaling": rows, "largest": limits, "made_by": about})
        typer.echo(f"wrote {len(rows)} laws and {len(limits)} largest sizes to {out}")


def chosen(laws: tuple[Law, ...], only: list[str] | None, variable: list[str] | None) -> list[Law]:
    """The laws of these operators and variables. Raises ValueError for one there is not."""
    first = {operator_of(law.what) for law in LAWS}
    variables = {law.variable for law in LAWS}
    for name in only or []:
        if name not in first:
            raise ValueError(unknown(name, sorted(first), "operator with a law"))
    for name in variable or []:
        if name not in variables:
            raise ValueError(unknown(name, sorted(variables), "variable"))
    return [
        law
        for law in laws
        if (not only or operator_of(law.what) in only)
        and (not variable or law.variable in variable)
    ]


def thinned(law: Law) -> Law:
    """Every other size, from the first on; two sizes stay two."""
    return replace(law, values=law.values[::2] if len(law.values) > 2 else law.values)
