"""python -m benchmarks pool, replay, plant: the proof that the gate can be trusted."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import kernels as operators
from benchmarks import suite
from benchmarks.gate import planted, pool, verdict
from benchmarks.gate.command import RUNS
from benchmarks.gate.process import ended_as_by_ctrl_c
from benchmarks.gate.sides import top
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by


def record(
    sides: Annotated[
        list[str],
        typer.Option(help="NAME=FOLDER; equal sides A1, A2, slow ones S5, S10. Repeated."),
    ],
    count: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of this condition.")] = 24,
    only: Annotated[list[str] | None, typer.Option(help="This benchmark; may be repeated.")] = None,
    condition: Annotated[str, typer.Option(help="A word for the state of the machine.")] = "quiet",
    load: Annotated[int, typer.Option(min=0, help="Cores to keep busy meanwhile.")] = 0,
    out: Annotated[Path, typer.Option(help="The pool.")] = RUNS / "pool.jsonl",
) -> None:
    """Record rounds of many sides, to try the gate's decisions on; goes on where it was stopped.

    \b
    Examples:
      python -m benchmarks plant ../A1 --percent 0
      python -m benchmarks plant ../S10 --percent 10
      python -m benchmarks pool --sides A1=../A1 --sides A2=../A2 --sides S10=../S10 --rounds 48
      python -m benchmarks pool --sides A1=../A1 --sides A2=../A2 --sides S10=../S10 \\
        --rounds 48 --condition loaded --load 1
    """
    folders = {}
    for text in sides:
        name, given, folder = text.partition("=")
        if not given or not name or name in folders:
            raise ValueError(f"--sides must be NAME=FOLDER, each name once, got {text!r}")
        folders[name] = Path(folder)
    with ended_as_by_ctrl_c(), pool.linked(folders) as linked:
        about = made_by("cpu", operators.in_use("cpu"))
        names = only or suite.DEFAULT
        added = pool.record(
            out, linked, names, count, condition=condition, load=load, made_by=about, say=typer.echo
        )
    typer.echo(f"added {added} rounds to {out}")


def replay(
    files: Annotated[list[Path], typer.Argument(help="Pools.")],
    length: Annotated[
        int, typer.Option("--rounds", min=verdict.FEWEST, help="Rounds of a gate run, at most.")
    ] = 24,
    as_needed: Annotated[
        bool,
        typer.Option("--as-needed", help="The next run begins where the last was decided."),
    ] = False,
    medians: Annotated[
        str | None,
        typer.Option(help="5%: judge each round as pytest-benchmark's comparison does, instead."),
    ] = None,
    markdown: Annotated[bool, typer.Option(help="Print a table for a page.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where every decision goes, as JSON.")] = None,
) -> None:
    """Judge disjoint runs of pools as the gate would, and count how often it is right.

    \b
    Examples:
      python -m benchmarks replay reports/runs/pool.jsonl
      python -m benchmarks replay reports/runs/pool.jsonl --rounds 12 --out replay.json
      python -m benchmarks replay reports/runs/*.jsonl --as-needed --markdown
      python -m benchmarks replay reports/runs/pool.jsonl --medians 5%
    """
    found, made = [], []
    how: dict[str, Any] = {"cut": pool.as_needed if as_needed else pool.together}
    if medians is not None:
        how = {"cut": pool.by_medians, "number": pool.of_medians, "effect": percent(medians)}
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file}: no such pool; `python -m benchmarks pool` records one")
        header, done = pool.read(file)
        if not done:
            raise ValueError(f"{file}: holds no round yet")
        found += pool.decisions(header, done, length, **how)
        made.append(header["made_by"])
    if not found:
        raise ValueError(f"{files[0]}: no condition has {length} rounds yet")
    rows = pool.counted(found)
    typer.echo(table(rows) if markdown else "\n".join(map(in_words, rows)))
    if out is not None:
        kept = {"kind": "replay", "rounds": length, "as_needed": as_needed, "rows": rows}
        write_json(out, {**kept, "decisions": [asdict(d) for d in found], "made_by": made})


def percent(text: str) -> float:
    """5% as 0.05. Raises ValueError for what is no percentage above 0."""
    try:
        found = float(text.removesuffix("%")) / 100
    except ValueError:
        found = 0.0
    if not found > 0 or not text.endswith("%"):
        raise ValueError(f"--medians must be a percentage, 5%, got {text!r}")
    return found


def in_words(row: dict[str, Any]) -> str:
    """One condition and slowdown: a line, and one for each verdict."""
    limit = row["detectable_at_most"]
    what = f"{row['condition']}, slowed by {100 * row['planted']:.0f} %"
    what += f", can find {100 * limit:.0f} %" if limit else ""
    lines = [f"{what}: {row['decisions']} decisions, of {row['rounds']:.1f} rounds each"]
    for word, c in row["counts"].items():
        share = f"{100 * c['share']:5.1f} % ({100 * c['low']:.1f} to {100 * c['high']:.1f})"
        lines.append(f"  {word:<7} {c['count']:4d}  {share}")
    return "\n".join(lines)


def table(rows: list[dict[str, Any]]) -> str:
    """The same as Markdown; a verdict that was never given has the largest share it could have."""
    words = list(pool.WORDS)
    lines = [["condition", "head", "decisions", "rounds", *words], ["---"] * (4 + len(words))]
    for row in rows:
        size, limit = row["planted"], row["detectable_at_most"]
        if limit and not size:
            continue
        head = f"{100 * size:.0f} % slower" if size else "equal"
        head += f", where {100 * limit:.0f} % can be found" if limit else ""
        cells = [row["condition"], head, str(row["decisions"]), f"{row['rounds']:.1f}"]
        for c in row["counts"].values():
            low, share, high = (f"{100 * c[name]:.1f}" for name in ("low", "share", "high"))
            seen = f"{c['count']}: {share} % ({low} to {high})"
            cells.append(seen if c["count"] else f"0 (to {high} %)")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plant(
    folder: Annotated[Path, typer.Argument(help="Where the copy goes.")],
    percent: Annotated[float, typer.Option(min=0, help="By how much operators are slower.")] = 10.0,
) -> None:
    """Copy this checkout, and plant a slowdown in every operator of the copy.

    \b
    Examples:
      python -m benchmarks plant ../S10 --percent 10
    """
    made = planted.plant(top(Path.cwd()), folder, percent / 100)
    typer.echo(f"{made}: operators take {percent:g} % longer")
