"""python -m kernels: what there is, and whether a kernel computes what it claims to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import kernels
from kernels.command import command_line

if TYPE_CHECKING:
    from kernels.conformance.power import Fate

app = typer.Typer(
    help="""The operators of Mask R-CNN, their backends, and the checks for anybody's kernel.

    \b
    Examples:
      python -m kernels list
      python -m kernels list --checks roi_align
      python -m kernels list --lanes
      python -m kernels check my_kernels.py
      python -m kernels check --operator roi_align --backend numba
      python -m kernels check my_kernels.py --check values --dtype float16 --profile nightly
      python -m kernels check my_kernels.py --lane emulated --profile quick
      python -m kernels zoo --operator nms
      python -m kernels zoo --lane emulated --lane interpreter --profile quick
      python -m kernels sound nms --profile nightly
      python -m kernels repro 'roi_align/mine/float32/values@eNqLVi...' --kernels my_kernels.py
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_all(
    checks: Annotated[
        str | None, typer.Option(help="An operator: name its checks and their rules instead.")
    ] = None,
    lanes: Annotated[
        bool, typer.Option("--lanes", help="Name the lanes and which can run here instead.")
    ] = False,
) -> None:
    """Name every operator, its backends (the usual one starred) and its source."""
    if lanes:
        from kernels.conformance.lanes import LANES

        for title, lane in LANES.items():
            missing = lane.missing()
            typer.echo(f"{title:<14} {lane.proof}{f' (not here: {missing})' if missing else ''}")
        return
    if checks is not None:
        from kernels.conformance.checks import every_check

        for check in every_check(checks).values():
            typer.echo(f"{check.name:<16} {check.rule}")
        return
    for name, op in kernels.operators().items():
        usual = set(op.default.values())
        shown = ", ".join(b + "*" * (b in usual) for b in op.backends)
        typer.echo(f"{name:<22} {shown:<42} {op.source}")
    note = kernels.foreign()
    if note:
        typer.echo(note, err=True)


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="A file with @kernel declarations; default: ours.")
    ] = None,
    operator: Annotated[str | None, typer.Option(help="One operator; default all.")] = None,
    backend: Annotated[str | None, typer.Option(help="One backend or kernel, by name.")] = None,
    checks: Annotated[
        list[str] | None, typer.Option("--check", help="One check; may be repeated.")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="One dtype; may be repeated.")] = None,
    lane: Annotated[
        list[str] | None,
        typer.Option(help="One lane; may be repeated. Default all but gpu+sanitizer."),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="quick: few cases; ci: the same cases each time; nightly.")
    ] = "ci",
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write all outcomes as JSON.")] = None,
) -> None:
    """Put kernels under the checks of their operators. Exit code 1 if one fails.

    What cannot run here, for want of a GPU or a compiler, is counted as not run.
    """
    from kernels.conformance.engine import Outcome
    from kernels.conformance.lanes import SANITIZED
    from kernels.conformance.results import as_json, as_junit, put_under_test, summary
    from kernels.conformance.selection import chosen

    selected = chosen(file, operator, backend, lane or ())
    outcomes: list[Outcome] = []
    try:
        put_under_test(selected, checks or (), dtype or (), profile, file, outcomes)
    finally:
        if out is not None and outcomes:
            out.write_text(json.dumps(as_json(outcomes), indent=1))
        if junit is not None and outcomes:
            junit.write_text(as_junit(outcomes))
        for line in summary(outcomes):
            typer.echo(line)
        if not lane and any(k.lane == "gpu" for k in selected):
            typer.echo(f"lane {SANITIZED:<17} not asked for (--lane {SANITIZED})")
    raise typer.Exit(1 if any(o.bad for o in outcomes) else 0)


@app.command()
def zoo(
    operator: Annotated[str | None, typer.Option(help="One operator; default all.")] = None,
    lane: Annotated[
        list[str] | None,
        typer.Option(help="Bugs that GPU code has, in this lane instead; may be repeated."),
    ] = None,
    specimen: Annotated[
        list[str] | None,
        typer.Option(help="With --lane: only this one, as cuda/roi_align/race; may be repeated."),
    ] = None,
    profile: Annotated[str, typer.Option(help="quick, ci or nightly.")] = "ci",
    out: Annotated[Path | None, typer.Option(help="Write the kill table as JSON.")] = None,
) -> None:
    """Put kernels that are wrong on purpose under the checks. Exit code 1 if one survives."""
    if lane:
        if operator is not None:
            raise ValueError("choose --operator or --lane: the zoo of GPU bugs has its own")
        raise typer.Exit(0 if zoo_by_lane(lane, specimen or [], profile, out) else 1)
    if specimen:
        raise ValueError("--specimen goes with --lane: it names one of the zoo of GPU bugs")
    from kernels.conformance.power import fates

    rows: list[dict[str, Any]] = []
    bad = 0
    try:
        for fate in fates(operator, profile=profile):
            bad += not fate.as_foretold
            rows.append(row_of(fate))
            by = ", ".join(fate.killers) or fate.broken.equivalent or ""
            typer.echo(f"{rows[-1]['operator']:<22} {rows[-1]['name']:<40} {fate.word}: {by}")
    finally:  # what was found until Ctrl-C is kept
        if out is not None:
            out.write_text(json.dumps(rows, indent=1))
        typer.echo(f"{len(rows)} broken kernels, {sum(bool(r['killers']) for r in rows)} killed")
    raise typer.Exit(1 if bad else 0)


def row_of(fate: "Fate") -> dict[str, Any]:
    """What became of a broken kernel, as it is written."""
    broken = fate.broken
    about = {"operator": broken.kernel.operator, "name": broken.kernel.name, "fault": broken.fault}
    return {**about, "killers": fate.killers, "survived": fate.survived, "why": broken.equivalent}


def zoo_by_lane(lanes: list[str], specimens: list[str], profile: str, out: Path | None) -> bool:
    """Print and write what lanes see of the bugs that GPU code has; whether all is as foretold."""
    from kernels.conformance.by_lane import fates_by_lane

    rows = []
    try:
        for row in fates_by_lane(lanes, specimens, profile=profile, every_check=False):
            rows.append(row)
            by = ", ".join(row["killers"]) or row["why"]
            word = row["verdict"] + ("" if row["as_foretold"] else ", not foretold")
            typer.echo(f"{row['lane']:<14} {row['specimen']:<40} {word}: {by}")
    finally:
        if out is not None:
            out.write_text(json.dumps(rows, indent=1))
    return all(row["as_foretold"] for row in rows)


@app.command()
def sound(
    operator: Annotated[str, typer.Argument(help="An operator.")],
    profile: Annotated[str, typer.Option(help="quick, ci or nightly.")] = "nightly",
) -> None:
    """Put kernels that are right in another way under the checks. Exit code 1 if one is accused."""
    from kernels.conformance.power import accusations
    from kernels.conformance.repro import explained

    accused, cases = accusations(operator, profile=profile)
    for outcome in accused:
        typer.echo(explained(outcome, None))
    bound = 100 * 3 / max(cases, 1)
    typer.echo(f"{operator}: {len(accused)} accusations in {cases} cases")
    if not accused:
        typer.echo(f"so at most {bound:.3f} % of such cases accuse, with 95 % confidence")
    raise typer.Exit(1 if accused else 0)


@app.command()
def repro(
    case: Annotated[
        str, typer.Argument(help="operator/kernel[lane]/dtype/check@case, as printed.")
    ],
    file: Annotated[
        Path | None, typer.Option("--kernels", help="The file that declares the kernel.")
    ] = None,
) -> None:
    """Try one failing case again. Exit code 1 if it still fails."""
    from kernels.conformance.repro import explained, replayed

    outcome = replayed(case, file)
    typer.echo(explained(outcome, file))
    raise typer.Exit(1 if outcome.bad else 0)


if __name__ == "__main__":
    command_line(app)
