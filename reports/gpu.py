"""What a GPU showed, as a page: speed, conformance by lane, the zoo of GPU bugs.

Reads the JSON that `python -m benchmarks gpu` writes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.conformance import bugs, findings, lanes, verdicts
from reports.page import write
from reports.speed import said, shares_table, speed_table, speeds

Rows = Sequence[Mapping[str, Any]]


def render_gpu(file: Path, folder: Path) -> list[Path]:
    """Write report.md and ratios.png; returns their paths.

    Raises ValueError naming the file if it does not hold such results.
    """
    try:
        found = json.loads(file.read_text())
        timings, outcomes, zoo = found["timings"], found["outcomes"], found["zoo"]
        steps, about = found["steps"], found["made_by"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not what a GPU showed ({error!r})") from None
    folder.mkdir(parents=True, exist_ok=True)
    parts, written = [f"# On a GPU: {about['device']}", said(about, timings)], []
    if timings:
        written.append(write(folder / "ratios.png", speeds(timings)))
        parts += ["## Speed", "![Ratios](ratios.png)", speed_table(timings)]
    if found.get("detector"):
        parts += ["## The detector", shares_table(found["detector"])]
    if outcomes:
        parts += ["## Conformance", lanes(outcomes), verdicts(outcomes), findings(outcomes)]
    if zoo:
        parts += ["## Bugs that GPU code has", bugs(zoo)]
    parts += ["## What was run", ran(steps)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return [write(folder / "report.md", text.encode()), *written]


def ran(steps: Rows) -> str:
    """Every step, how long it took, and how it ended; and those that other code has made."""
    lines = ["| step | seconds | exit code | last words |", "|---|---|---|---|"]
    for step in steps:
        code = "out of time" if step["exit_code"] is None else step["exit_code"]
        last = step["words"][-1].replace("|", "/") if step["words"] else ""
        lines.append(f"| {step['step']} | {step['seconds']} | {code} | {last} |")
    made: dict[str, list[str]] = {}
    for step in steps:
        made.setdefault(str(step.get("code_id")), []).append(step["step"])
    if len(made) > 1:
        few = min(made, key=lambda code: len(made[code]))
        rest = ", ".join(sorted(set(made) - {few}))
        lines += ["", f"By sources {few}: {', '.join(made[few])}. By {rest}: all others."]
    return "\n".join(lines)
