"""python -m ablations: from a question to a page that answers it."""

from pathlib import Path
from typing import Annotated

import typer

from ablations.budget import Budget, estimate
from ablations.engines import Wish
from ablations.grid import cells, named
from ablations.local import cores
from ablations.plan import listing, planned
from ablations.probe import probed
from ablations.session import filled, leftover, written
from ablations.sweep import Sweep, asked, seeds_of
from kernels.command import RESUMES, command_line

RUNS = Path("reports/runs")

app = typer.Typer(
    help="""Compare variants of Mask R-CNN that differ in one field.

    \b
    Examples:
      python -m ablations list
      python -m ablations plan roi_layer --seeds 3
      python -m ablations run roi_layer
      python -m ablations run roi_layer --scale smoke --set train.steps=20
      python -m ablations plan paper --seeds 3
      python -m ablations run my_question.py --seeds 3
      python -m ablations run ablations/examples/sample_points.toml
      python -m ablations run paper --seeds auto --budget 30m
      python -m ablations status paper
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="An ablation, or a .py or .toml file that defines one.")]
BUDGET = "90s, 30m or 2h: the most telling trials first, and none that would not end in time."
JOBS = "Trials at a time; default: as many as there are cores, 1 on a GPU."
ADDRESS = "Of a Ray cluster; default: Ray on this machine."
ACCEPT = "Keep trials that other code made."

NameOrPaper = Annotated[
    str, typer.Argument(help="An ablation, a file that defines one, or paper: all of its tables.")
]
SeedsOrAuto = Annotated[
    str, typer.Option("--seeds", help="Per row; auto: 3, then 5 and 8 where nothing is decided.")
]
Scale = Annotated[
    str, typer.Option(help="smoke (seconds), small (minutes), medium (one GPU) or coco (GPUs).")
]
Seeds = Annotated[int, typer.Option(help="Seeds per row.")]
Runs = Annotated[Path, typer.Option(help="Where trials keep their results.")]
Changes = Annotated[
    list[str], typer.Option("--set", help="path=value for every row; may be repeated.")
]


@app.command("list")
def list_all() -> None:
    """Name every ablation, its question and its rows."""
    for line in listing():
        typer.echo(line)


@app.command()
def plan(
    name: NameOrPaper,
    scale: Scale = "small",
    seeds: Seeds = 1,
    changes: Changes = [],  # noqa: B006
    runs: Runs = RUNS,
) -> None:
    """Show what would run, how the rows differ, what is shared, and how long it may take."""
    grids = {}
    for one in asked(name):
        ablation = named(one)
        grids[one] = ablation, cells(ablation, scale, seeds, runs, changes)
    for line in planned(grids, cores()):
        typer.echo(line)


@app.command()
def status(
    name: NameOrPaper,
    scale: Scale = "small",
    seeds: SeedsOrAuto = "1",
    changes: Changes = [],  # noqa: B006
    runs: Runs = RUNS,
) -> None:
    """Count what is finished, failed, interrupted and to do."""
    sweep = Sweep(asked(name), scale, seeds_of(seeds), runs, (*changes,))
    grid = list({cell.id: cell for cell in sweep.cells()}.values())
    states = [cell.state() for cell in grid]
    for state in sorted(set(states)):
        typer.echo(f"{states.count(state)} {state}")
    for line in sweep.looks():
        typer.echo(line)
    typer.echo(estimate(grid, cores()))


@app.command()
def run(
    name: NameOrPaper,
    scale: Scale = "small",
    seeds: SeedsOrAuto = "1",
    changes: Changes = [],  # noqa: B006
    budget: Annotated[str | None, typer.Option(help=BUDGET)] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help=JOBS)] = None,
    threads: Annotated[
        int | None, typer.Option("--threads-per-trial", min=1, help="Default: 1 on the CPU.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes-per-trial", min=1, help="More than 1: by torchrun.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    engine: Annotated[str, typer.Option(help="local, or ray: see --address.")] = "local",
    address: Annotated[str | None, typer.Option(help=ADDRESS)] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus-per-trial", min=0, help="For Ray to hand out.")
    ] = None,
    runs: Runs = RUNS,
    accept_old_code: Annotated[bool, typer.Option("--accept-old-code", help=ACCEPT)] = False,
) -> None:
    """Train what has no record yet, then write the page. Ctrl-C at any time; run again to go on."""
    time_given = Budget.of(budget)
    wish = Wish(engine, device, jobs, threads, processes, address, gpus)
    wish.refuse_contradictions()
    sweep = Sweep(asked(name), scale, seeds_of(seeds), runs, (*changes,), accept_old_code, device)
    outcome = filled(sweep, wish, time_given)
    for path in written(sweep):
        typer.echo(f"wrote {path}")
    if outcome.left:
        typer.echo(leftover(sweep, outcome.left, jobs or cores()))
    for cell in outcome.failed:
        typer.echo(f"failed: {cell.row}, seed {cell.seed}; see {cell.folder}/stderr.txt", err=True)
    raise typer.Exit(1 if outcome.failed else 0)


@app.command()
def probe(
    what: Annotated[str, typer.Argument(help="equivariance, the one there is.")],
    out: Annotated[Path, typer.Option(help="Folder for its result and page.")],
    checkpoint: Annotated[Path | None, typer.Option(help="A trained network on Shapes.")] = None,
    preset: Annotated[str, typer.Option(help="An untrained one instead.")] = "small_c4",
) -> None:
    """Measure what needs no training, and write its page."""
    for path in probed(what, out, checkpoint, preset):
        typer.echo(f"wrote {path}")


if __name__ == "__main__":
    command_line(app, stopped=RESUMES)
