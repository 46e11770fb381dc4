"""Timings as a page: how fast each operator is against torchvision, and what the detector gains.

Reads the JSON that `python -m benchmarks run`, `detector` and `first-call` write.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from reports.page import write
from reports.plot import OKABE_ITO, png

Rows = Sequence[Mapping[str, Any]]
LAST = "channels_last"
MARKS = {"float64": "D", "float32": "o", "float16": "s", "bfloat16": "^"}
NEAR = {
    "of copy": (
        "of_roof",
        "the bytes that these RoIs must move, at the rate of a plain copy on the same machine, as a"
        " share of the time taken",
    ),
    "of limit": (
        "of_light",
        "the least time, as a share of the time taken: what must be moved, at the rate of a plain"
        " copy, or what must be computed, at that of a product of matrices on the same machine,"
        " whichever takes longer",
    ),
}
"""Column -> the value of a row that is in it, and what that is. Former timings have the first."""


def render_speed(files: Sequence[Path], folder: Path) -> list[Path]:
    """Write report.md, ratios.png, and all samples as timings.json; returns their paths.

    Raises ValueError naming a file that holds no timings, or if none holds an operator's.
    """
    found = [_read(file) for file in files]
    timings, shares = _all(found, "timings"), _all(found, "detector")
    first = {k: v for one in found for k, v in one.get("first_calls", {}).items()}
    if not timings:
        raise ValueError("no file holds timings of `python -m benchmarks run`")
    about = next(one["made_by"] for one in found if one.get("timings"))
    parts = [
        "# Speed against torchvision",
        said(about, timings),
        "![Ratios](ratios.png)",
        speed_table(timings),
    ]
    if shares:
        parts += ["## What the detector gains", shares_table(shares)]
    if first:
        parts += ["## The first call", _first(first)]
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"timings": timings, "detector": shares, "first_calls": first, "made_by": about}
    return [
        write(folder / "report.md", ("\n\n".join(parts) + "\n").encode()),
        write(folder / "ratios.png", speeds(timings)),
        write(folder / "timings.json", json.dumps(kept, indent=1).encode()),
    ]


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
        if not isinstance(found, dict) or "made_by" not in found:
            raise ValueError("it does not say what made it")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not timings ({error})") from None
    return found


def _all(found: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [row for one in found for row in one.get(name, ())]


def said(about: Mapping[str, Any], timings: Rows) -> str:
    """Where timings were made, and how they are to be read."""
    changed = " with changes" if about.get("dirty") else ""
    where = about["processor"] if about["device"] == "cpu" else about["device"]
    made = f"commit {about['commit']}{changed}, sources {about['code_id']}"
    column = _near(timings)
    hot = any(row.get("cache") == "hot" for row in timings)
    return (
        f"{where}, {about['cores']} cores; torch {about['torch']}, torchvision"
        f" {about['torchvision']}; {made}.\n\n"
        "Each round times ours and torchvision's own operator in turn, on inputs that no round has"
        " seen before; the order turns round each time. The ratio is the median over rounds of"
        " torchvision's time to ours, with the interval that holds the true median with 95 %"
        " confidence. Answers are compared with the reference before and after."
        + " `hot`: right after a call on the same inputs, so that a cache may hold them." * hot
        + f" `{column}`: {NEAR[column][1]}."
    )


def _near(timings: Rows) -> str:
    """The column that all of these timings can have."""
    return "of limit" if all("of_light" in row for row in timings) else "of copy"


def speed_table(timings: Rows) -> str:
    """A line per timing."""
    column = _near(timings)
    lines = [
        f"| workload | backend | dtype | layout | threads | ours, ms | ratio | {column} | pairs |"
    ]
    lines.append("|---" * 9 + "|")
    for row in timings:
        share = row[NEAR[column][0]]
        near = "" if share is None else f"{100 * share:.0f} %"
        threads = row["threads"] if row["device"] == "cpu" else ""
        cells = [row["workload"], _backend(row), row["dtype"], row["layout"], threads]
        cells += [f"{median(row['ours_ms']):.3g}", _ratio(row["ratio"]), near]
        cells.append(len(row["peer_ms"]) or "")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _ratio(ratio: Sequence[float] | None) -> str:
    if ratio is None:
        return "no peer"
    middle, low, high = ratio
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def shares_table(shares: Rows) -> str:
    """A line per piece of the detector's work."""
    lines = ["| work | threads | ours, ms | torchvision's, ms | ratio | pairs |", "|---" * 6 + "|"]
    for row in shares:
        threads = row["threads"] if row["device"] == "cpu" else "GPU"
        ours, theirs = median(row["ours_ms"]), median(row["peer_ms"])
        cells = [row["name"], threads, f"{ours:.4g}", f"{theirs:.4g}", _ratio(row["ratio"])]
        lines.append("| " + " | ".join(map(str, [*cells, len(row["ours_ms"])])) + " |")
    return "\n".join(lines)


def _first(first: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| operator | compiles, s | from the cache, s |", "|---|---|---|"]
    for name, one in first.items():
        lines.append(f"| {name} | {one['compiles_s']:.2f} | {one['cached_s']:.2f} |")
    return "\n".join(lines)


def speeds(timings: Rows) -> bytes:
    """Ratios with their intervals, a band a workload, on an axis of powers. Colours tell backends
    and threads apart, shapes dtypes; a mark is filled where channels lie last.
    """
    rows = [row for row in timings if row["ratio"] is not None]
    bands = {name: [r for r in rows if r["workload"] == name] for name in _names(rows)}
    figure = Figure(figsize=(9, 0.13 * (len(rows) + 2 * len(bands)) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    colours = list(dict.fromkeys(_coloured(row) for row in rows))
    y, middles, seen = 0.0, [], set()
    for band in bands.values():
        middles.append(y + (len(band) - 1) / 2)
        for row in band:
            middle, low, high = row["ratio"]
            colour = OKABE_ITO[colours.index(_coloured(row)) % len(OKABE_ITO)]
            axes.errorbar(
                middle,
                y,
                xerr=[[middle - low], [high - middle]],
                fmt=MARKS[row["dtype"]],
                color=colour,
                markerfacecolor=colour if row["layout"] == LAST else "white",
                markersize=4,
                capsize=2,
                label=None if _kind(row) in seen else _kind(row),
            )
            seen.add(_kind(row))
            y += 1
        axes.axhline(y, color="#dddddd", linewidth=0.8)
        y += 1
    axes.set_yticks(middles, list(bands), fontsize=8)
    axes.set_ylim(y, -1)
    axes.set_xscale("log")
    axes.axvline(1, color="#666666", linewidth=1)
    axes.set_xlabel("times as fast as torchvision")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x", which="both", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, fontsize=7, ncols=3)
    return png(figure)


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["workload"] for row in rows))


def _coloured(row: Mapping[str, Any]) -> str:
    threads = row["threads"]
    where = f", {threads} thread{'s' * (threads > 1)}" if row["device"] == "cpu" else ""
    return f"{_backend(row)}{where}"


def _backend(row: Mapping[str, Any]) -> str:
    """With what else tells two timings of a backend apart."""
    graph = ", graph" if row.get("graph") else ""
    return row["backend"] + graph + (", hot" if row.get("cache") == "hot" else "")


def _kind(row: Mapping[str, Any]) -> str:
    layout = "channels last" if row["layout"] == LAST else "channels first"
    return f"{_coloured(row)}, {row['dtype']}, {layout}"
