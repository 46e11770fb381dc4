"""python -m reports: pages from records."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reports.conformance import render_conformance
from reports.explain import render_explain
from reports.gate_page import comment, junit, load_gate, render_gate, summary
from reports.index import entries_of, render_index
from reports.page import render, write
from reports.performance import render_performance
from reports.publish import publish
from reports.speed import render_speed
from reports.study import load_study

PAGES = Path("reports/runs/pages")
MEASURED = Path("reports/runs/performance")
STUDY = "study.json"

app = typer.Typer(
    help="""Make pages from the records that runs have left. Nothing is trained.

    \b
    Examples:
      python -m reports render
      python -m reports render reports/runs/pages/roi_layer-small
      python -m reports performance reports/runs/performance --out page
      python -m reports gate reports/runs/gate/gate.json --junit gate.xml
      python -m reports index
      python -m reports conformance --outcomes outcomes.json --zoo zoo.json
      python -m reports speed reports/runs/performance/operators.json
      python -m reports publish reports/runs/pages/roi_layer-small
      python -m reports explain trace/
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("render")
def render_pages(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Page folders, or folders of measurements; default all."),
    ] = None,
    pages: Annotated[Path, typer.Option(help="Where page folders lie.")] = PAGES,
    measured: Annotated[
        Path, typer.Option(help="What `python -m benchmarks` has left, for the performance page.")
    ] = MEASURED,
) -> None:
    """Make pages again from their records: of ablations, and of performance."""
    for folder in folders or found(pages, measured):
        if (folder / STUDY).exists() or not any(folder.glob("*.json")):
            written = render(load_study(folder), folder)
        else:
            written = render_performance(folder, pages / "performance")
        typer.echo(f"wrote {written[0]}")


@app.command()
def performance(
    folder: Annotated[Path, typer.Argument(help="Where the records (*.json) lie.")] = MEASURED,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = PAGES / "performance",
) -> None:
    """Make the page of all measurements: ratios, roofline, stages, growth, history."""
    typer.echo(f"wrote {render_performance(folder, out)[0]}")


@app.command()
def gate(
    file: Annotated[Path, typer.Argument(help="What `python -m benchmarks gate` wrote.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = PAGES / "gate",
    junit_to: Annotated[Path | None, typer.Option("--junit", help="JUnit XML, to here.")] = None,
    summary_to: Annotated[
        Path | None, typer.Option("--summary", help="Markdown for a job's page, added to it.")
    ] = None,
    comment_to: Annotated[
        Path | None, typer.Option("--comment", help="Markdown for a pull request, to here.")
    ] = None,
) -> None:
    """Make the page of a gate's run, and what continuous integration shows of it."""
    record = load_gate(file)
    if junit_to:
        write(junit_to, junit(record))
    if summary_to:
        with summary_to.open("a") as text:
            text.write(summary(record))
    if comment_to:
        write(comment_to, comment(record).encode())
    typer.echo(f"wrote {render_gate(file, out)[0]}")


@app.command()
def index(
    pages: Annotated[Path, typer.Option(help="Where page folders lie.")] = PAGES,
    only: Annotated[str, typer.Option(help="Pages whose names match, as '*-small'.")] = "*",
) -> None:
    """Write the index over all pages, and say every finding."""
    for entry in entries_of(pages, only)[0]:
        typer.echo(f"{entry.study.title}\n  {pages / entry.link}")
        for finding in entry.findings:
            typer.echo(f"    {finding.mark} {finding.sentence}")
    typer.echo(f"wrote {render_index(pages, only)[0]}")


@app.command()
def conformance(
    outcomes: Annotated[
        Path | None, typer.Option(help="What `python -m kernels check --out` wrote.")
    ] = None,
    zoo: Annotated[
        Path | None, typer.Option(help="What `python -m kernels zoo --out` wrote.")
    ] = None,
    by_lane: Annotated[
        Path | None, typer.Option(help="What `python -m kernels zoo --lane ... --out` wrote.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = PAGES / "conformance",
) -> None:
    """Make the page of a conformance run: verdicts, findings, and what is killed where."""
    if outcomes is None and zoo is None and by_lane is None:
        raise ValueError("name --outcomes FILE, --zoo FILE, --by-lane FILE, or more of them")
    typer.echo(f"wrote {render_conformance(outcomes, zoo, out, by_lane)[0]}")


@app.command()
def speed(
    files: Annotated[list[Path], typer.Argument(help="What `python -m benchmarks` wrote.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = PAGES / "speed",
) -> None:
    """Make the page of timings: ratios to torchvision's, and what the detector gains."""
    typer.echo(f"wrote {render_speed(files, out)[0]}")


@app.command("explain")
def explain(
    folders: Annotated[
        list[Path],
        typer.Argument(help="What `python -m mrcnn trace` wrote; more are put beside the first."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder; default the trace's.")] = None,
) -> None:
    """Draw every stage of one image: anchors, proposals, RoIs, points, masks, what was dropped."""
    typer.echo(f"wrote {render_explain(folders, out)}")


@app.command("publish")
def publish_page(
    folder: Annotated[Path, typer.Argument(help="A page's folder.")],
    to: Annotated[Path, typer.Option(help="Where published pages lie.")] = Path(
        "reports/published"
    ),
) -> None:
    """Copy a page and its records to a folder that is committed."""
    written = publish(load_study(folder), to / folder.resolve().name)
    typer.echo(f"published {written[0]}")


def found(pages: Path, measured: Path) -> list[Path]:
    """The page folders below `pages`, and that of measurements. Raises ValueError if there is
    neither.
    """
    folders = sorted(path.parent for path in pages.glob(f"*/{STUDY}"))
    folders += [measured] if any(measured.glob("*.json")) else []
    if not folders:
        raise ValueError(
            f"{pages}: no page there; make one with python -m ablations run NAME,"
            " or measure with python -m benchmarks run"
        )
    return folders


def main() -> None:
    """Run the command; bad input ends in one line and exit code 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
