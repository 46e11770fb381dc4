"""Outcomes of the conformance suite as a page: what was found, in whom, and what the suite can see.

Reads the JSON that `python -m kernels check --out` and `python -m kernels zoo --out` write.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reports.page import write
from reports.plot import OKABE_ITO, png

Rows = Sequence[Mapping[str, Any]]
BAD = ("failed", "passes though known", "no power")
LANES = {
    "reference": "nothing of a kernel: it is the definition",
    "cpu": "code for a CPU is right",
    "emulated": "CUDA C++ is right, in bounds, and free of races in the orders tried, on a CPU",
    "interpreter": "the arithmetic of Triton code is right; nothing of races and memory",
    "gpu": "what a GPU computes is right",
    "gpu+sanitizer": "on a GPU it reads and writes nothing that it should not",
}
"""Where kernels run, the weakest proof first, and what it is a proof of."""


def render_conformance(
    outcomes: Path | None, zoo: Path | None, folder: Path, by_lane: Path | None = None
) -> list[Path]:
    """Write report.md, and kills.png where there is a kill table; returns their paths.

    by_lane   what `python -m kernels zoo --lane ... --out` wrote

    Raises ValueError naming a file that does not hold what it should.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts, written = ["# What the conformance suite finds"], []
    if outcomes is not None:
        rows = read(outcomes, ("operator", "kernel", "lane", "check", "dtype", "verdict"))
        parts += [lanes(rows), verdicts(rows), findings(rows)]
    if zoo is not None:
        kills = read(zoo, ("operator", "name", "fault", "killers"))
        written.append(write(folder / "kills.png", kill_picture(kills)))
        parts += ["## What it kills", "![Kill table](kills.png)", kill_table(kills)]
    if by_lane is not None:
        rows = read(by_lane, ("bug", "specimen", "lane", "verdict", "killers", "why"))
        parts += ["## Bugs that GPU code has, and which lane sees which", bugs(rows)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return [write(folder / "report.md", text.encode()), *written]


def read(file: Path, names: Sequence[str]) -> Rows:
    """The rows of a JSON file. Raises ValueError if they lack one of `names`."""
    try:
        rows = json.loads(file.read_text())
        if not all(name in row for row in rows for name in names):
            raise ValueError(f"its rows need {', '.join(names)}")
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{file}: not the outcomes of a check ({error})") from None
    return rows  # type: ignore[no-any-return]


def lanes(rows: Rows) -> str:
    """One line a lane, those that nothing ran in too: no lane's passing stands for another's."""
    lines = ["| lane | what passing shows | passed | failed | known | not run |"]
    lines.append("|---" * 6 + "|")
    for lane, proof in LANES.items():
        counts = ", ".join(profiles_of(rows, lane))
        cells = " | ".join(map(str, counted([r for r in rows if r["lane"] == lane])))
        lines.append(f"| {lane}{f' ({counts})' if counts else ''} | {proof} | {cells} |")
    return "\n".join(lines)


def profiles_of(rows: Rows, lane: str) -> list[str]:
    """How many cases were drawn in a lane, by name."""
    return sorted({r["profile"] for r in rows if r["lane"] == lane and r.get("profile")})


def counted(rows: Rows) -> list[int]:
    """How many passed, failed, are known to fail, did not run."""
    counts = Counter("failed" if r["verdict"] in BAD else r["verdict"] for r in rows)
    return [counts[verdict] for verdict in ("passed", "failed", "known", "not run")]


def verdicts(rows: Rows) -> str:
    """One line a lane and kernel: how many checks passed, failed, are known to fail or not run."""
    lines = ["| lane | operator | kernel | passed | failed | known | not run | cases | seconds |"]
    lines.append("|---" * 9 + "|")
    names = dict.fromkeys((r["lane"], r["operator"], r["kernel"]) for r in rows)
    for lane, operator, kernel in sorted(names, key=lambda name: list(LANES).index(name[0])):
        here = [
            r for r in rows if (r["lane"], r["operator"], r["kernel"]) == (lane, operator, kernel)
        ]
        cells = counted(here)
        cells += [sum(r["cases"] for r in here), round(sum(r["seconds"] for r in here))]
        lines.append(f"| {lane} | {operator} | {kernel} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def findings(rows: Rows) -> str:
    """Every failure, known or not, in words, with the smallest case."""
    parts = []
    for row in rows:
        if row["verdict"] in (*BAD, "known"):
            lane = "" if row["lane"] in ("reference", "cpu") else f" [{row['lane']}]"
            place = f"{row['operator']}, {row['kernel']}{lane}, {row['dtype']}, {row['check']}"
            words = "\n".join(row.get("words") or [])
            about = f"### {place}\n\n{row['reason']}\n\nRule: {row['rule']}"
            parts.append(about + (f"\n\n```\n{words}\n```" if words else ""))
    return "\n\n".join(["## Findings", *parts]) if parts else ""


def kill_table(rows: Rows) -> str:
    """One line a broken kernel: its fault and every check that catches it."""
    lines = ["| operator | broken kernel | its fault | caught by |", "|---|---|---|---|"]
    for row in rows:
        by = ", ".join(row["killers"]) or f"none: {row.get('why') or 'survives'}"
        lines.append(f"| {row['operator']} | {row['name']} | {row['fault']} | {by} |")
    return "\n".join(lines)


def bugs(rows: Rows) -> str:
    """A line per bug, a column per lane: what catches it there, or why nothing can."""
    columns = list(dict.fromkeys(row["lane"] for row in rows))
    lines = [f"| bug | specimen | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for specimen in dict.fromkeys(row["specimen"] for row in rows):
        here = {row["lane"]: row for row in rows if row["specimen"] == specimen}
        bug = next(iter(here.values()))["bug"] or "none: it is right"
        cells = [_cell(here.get(lane)) for lane in columns]
        lines.append(f"| {bug} | {specimen} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["verdict"] == "killed":
        return f"killed: {', '.join(row['killers'])}"
    why = " ".join(str(row["why"]).split()).replace("|", "/")
    return f"{row['verdict']}: {why}" if why else str(row["verdict"])


def kill_picture(rows: Rows) -> bytes:
    """How many broken kernels each check catches, and how many of them no other check does."""
    caught = Counter(name for row in rows for name in row["killers"])
    alone = Counter(row["killers"][0] for row in rows if len(row["killers"]) == 1)
    checks = [name for name, _ in caught.most_common()][::-1]
    figure = Figure(figsize=(8, 0.19 * len(checks) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(checks, [caught[c] for c in checks], color=OKABE_ITO[5], label="caught")
    axes.barh(checks, [alone[c] for c in checks], color=OKABE_ITO[0], label="by no other check")
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel(f"broken kernels, of {len(rows)} tried")
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    return png(figure)
