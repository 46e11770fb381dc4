"""python -m benchmarks history: keep the numbers of a run, and say where they changed over time."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.history.change_points import LEVEL
from benchmarks.history.series import append, append_to_branch, line_of, read, read_branch, trends
from mrcnn.atomic import write_json

OUT = Path("reports/runs/performance/trends.json")


def history(
    folder: Annotated[Path | None, typer.Option(help="Where history.jsonl lies.")] = None,
    branch: Annotated[
        str | None, typer.Option(help="The branch it lies on, in the current repository.")
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(help="A gate.json or operators.json to add first; may be repeated."),
    ] = None,
    level: Annotated[
        float, typer.Option(help="Of histories without a change, the share that shows one.")
    ] = LEVEL,
    out: Annotated[Path, typer.Option(help="Where the series go, for the page.")] = OUT,
) -> None:
    """Keep a run's numbers, and say which benchmarks changed their level, when, and by how much.

    \b
    Examples:
      python -m benchmarks history --folder history --add reports/runs/gate/gate.json
      python -m benchmarks history --branch benchmarks-history
      python -m benchmarks history --branch origin/benchmarks-history --out trends.json
    """
    if (folder is None) == (branch is None):
        raise ValueError("name --folder FOLDER or --branch NAME, one of them")
    for file in add or []:
        keep(record_in(file), folder, branch)
    lines = read(folder) if folder else read_branch(str(branch))
    found = trends(lines, level)
    for line in told(found):
        typer.echo(line)
    write_json(out, found)
    typer.echo(f"wrote {len(found['series'])} series of {len(lines)} runs to {out}")


def keep(record: dict[str, Any], folder: Path | None = None, branch: str | None = None) -> None:
    """Add a run's record to the history in a folder, on a branch, or both."""
    line = line_of(record)
    if folder:
        append(folder, line)
    if branch:
        append_to_branch(branch, line)


def record_in(file: Path) -> dict[str, Any]:
    """What a run wrote. Raises ValueError naming a file that is no such record."""
    try:
        record = json.loads(file.read_text())
        line_of(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: not a record of a run ({error})") from None
    return record  # type: ignore[no-any-return]


def told(found: dict[str, Any]) -> list[str]:
    """One line for each change, the largest slowdown first."""
    rows = [(change, series) for series in found["series"] for change in series["changes"]]
    lines = []
    for change, series in sorted(rows, key=lambda row: -row[0]["ratio"]):
        at = series["points"][change["index"]]
        word = "slower" if change["ratio"] > 1 else "faster"
        size = f"{100 * (change['ratio'] - 1):+.1f} %"
        commit = str(at["commit"] or "a working tree")[:12]
        what = f"{series['name']} ({series['measure']})"
        lines.append(f"{word} {size} from {commit}, {at['when'][:10]}: {what}")
    return lines or ["no benchmark changed its level"]
