"""python -m ablations: from a question to a page that answers it."""

from pathlib import Path
from typing import Annotated

import typer

from ablations.grid import Cell, cells, named, names
from ablations.run import Runner, cores
from ablations.study import study_of
from ablations.watch import watching
from kernels.command import RESUMES, command_line
from mrcnn.options import usable
from mrcnn.spec import diff
from reports.page import render

RUNS = Path("reports/runs")

app = typer.Typer(
    help="""Compare variants of Mask R-CNN that differ in one field.

    \b
    Examples:
      python -m ablations list
      python -m ablations plan roi_layer --seeds 3
      python -m ablations run roi_layer
      python -m ablations run roi_layer --scale smoke --set train.steps=20
      python -m ablations run my_question.py --seeds 3
      python -m ablations status roi_layer
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="An ablation, or a .py file that defines ABLATION.")]
Scale = Annotated[str, typer.Option(help="smoke (seconds), small (minutes) or coco (GPUs).")]
Seeds = Annotated[int, typer.Option(help="Seeds per row.")]
Runs = Annotated[Path, typer.Option(help="Where trials keep their results.")]
Changes = Annotated[
    list[str], typer.Option("--set", help="path=value for every row; may be repeated.")
]


@app.command("list")
def list_all() -> None:
    """Name every ablation, its question and its rows."""
    for name in names():
        ablation = named(name)
        typer.echo(f"{name}: {ablation.question}\n    {ablation.source}; varies {ablation.field}")
        typer.echo(f"    {' | '.join(ablation.values)}")


@app.command()
def plan(
    name: Name,
    scale: Scale = "small",
    seeds: Seeds = 1,
    changes: Changes = [],  # noqa: B006
    runs: Runs = RUNS,
) -> None:
    """Show what would run, how the rows differ, and how long it may take."""
    ablation = named(name)
    grid = cells(ablation, scale, seeds, runs, changes)
    base = next(cell for cell in grid if cell.row == ablation.baseline_row)
    for cell in grid:
        typer.echo(f"{cell.id}  {cell.row}, seed {cell.seed}: {cell.state()}")
        if cell.seed == base.seed:
            for path, theirs, ours in diff(base.trial, cell.trial):
                typer.echo(f"    {path}: {ours} instead of {theirs}")
            if cell.id == base.id and cell.row != base.row:
                typer.echo(f"    the very trial of {base.row}, at this scale: trained once")
    typer.echo(estimate(grid, cores()))


@app.command()
def status(
    name: Name,
    scale: Scale = "small",
    seeds: Seeds = 1,
    changes: Changes = [],  # noqa: B006
    runs: Runs = RUNS,
) -> None:
    """Count what is finished, failed, interrupted and to do."""
    grid = cells(named(name), scale, seeds, runs, changes)
    states = [cell.state() for cell in grid]
    for state in sorted(set(states)):
        typer.echo(f"{states.count(state)} {state}")
    typer.echo(estimate(grid, cores()))


@app.command()
def run(
    name: Name,
    scale: Scale = "small",
    seeds: Seeds = 1,
    changes: Changes = [],  # noqa: B006
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; default: cores, 1 on a GPU.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    runs: Runs = RUNS,
    accept_old_code: Annotated[
        bool, typer.Option("--accept-old-code", help="Keep trials that other code made.")
    ] = False,
) -> None:
    """Train what has no record yet, then write the page. Ctrl-C at any time; run again to go on."""
    ablation = named(name)
    usable(device)
    grid = cells(ablation, scale, seeds, runs, changes)
    command = f"python -m ablations run {name} --scale {scale} --seeds {seeds}"
    command += "".join(f" --set '{text}'" for text in changes)
    command += f" --device {device}" if device != "cpu" else ""
    with watching() as watch:
        at_once = jobs or (cores() if device == "cpu" else 1)
        runner = Runner(runs=runs, jobs=at_once, watch=watch, device=device)
        failed = runner.fill(grid, accept_old_code=accept_old_code)
    folder = runs / "pages" / f"{Path(name).stem}-{scale}"
    for path in render(study_of(ablation, grid, runs, command), folder):
        typer.echo(f"wrote {path}")
    for cell in failed:
        typer.echo(f"failed: {cell.row}, seed {cell.seed}; see {cell.folder}/stderr.txt", err=True)
    raise typer.Exit(1 if failed else 0)


def estimate(grid: list[Cell], jobs: int) -> str:
    """The time to go, from what finished trials took; says so where there is nothing to go by."""
    left = sum(cell.state() != "finished" for cell in grid)
    took = [c.record.cost["total_s"] for c in grid if c.state() == "finished" and c.record]
    if not left:
        return "nothing left to run"
    if not took:
        return f"{left} trials to run; no finished one to tell the time by"
    minutes = -(-left // jobs) * sum(took) / len(took) / 60
    return f"{left} trials to run, about {minutes:.0f} min with {jobs} at a time"


if __name__ == "__main__":
    command_line(app, stopped=RESUMES)
