"""A gate's record for those who did not run it: an HTML page, a job's summary, a comment, JUnit.

Reads the gate.json that `python -m benchmarks gate` writes. The verdict comes first everywhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports import strips
from reports.gate_junit import junit
from reports.gate_words import (
    KINDS,
    MARKS,
    Record,
    Row,
    about,
    again,
    change,
    checked,
    headline,
    load_gate,
    minutes,
    notes,
    one_line,
    per_round,
    ratios,
    sentences,
    share,
    side,
    sides,
    tally,
    verdict_of,
    worst_first,
)
from reports.page import filled, write

__all__ = ["comment", "junit", "load_gate", "render_gate", "side", "summary"]

TEMPLATE = "gate.html.jinja"
MARKER = "<!-- mrcnn-lab: benchmarks gate -->"
"""First line of a comment, so that the next run finds it."""
COMMENT_LIMIT = 60_000
"""Characters: GitHub refuses a comment of more than 65,536."""
SHOWN = 5
"""Benchmarks that a comment names before its details are opened."""
MADE = ("processor", "device", "cores", "torch", "torchvision", "python", "code_id")
READING = (
    "A verdict rests on the rounds, in each of which both sides ran as fresh processes in turn: "
    "SLOWER and FASTER need a change beyond the smallest one worth a verdict, and an interval that "
    "does not hold 0, corrected for the number of benchmarks and of looks. SAME needs a smaller "
    "change, and an interval of this benchmark alone, 95 % over all looks, within the band; else "
    "the gate is UNSURE."
)
READING_PEER = (
    "A verdict rests on the rounds, in each of which ours and the peer ran as fresh processes in "
    "turn: AHEAD and BEHIND say on which side of the declared ratio the interval lies."
)


def render_gate(file: Path, folder: Path) -> list[Path]:
    """Write report.html and report.md of a gate's record; returns their paths.

    Raises ValueError naming a file that is no gate's record.
    """
    record = load_gate(file)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write(folder / "report.html", html(record)),
        write(folder / "report.md", summary(record).encode()),
    ]


def summary(record: Mapping[str, Any]) -> str:
    """Markdown for the page of a job: the verdict, every benchmark, where it was measured, how to
    measure it again.
    """
    record = checked(record)
    first = headline(record)
    parts = [
        f"## {first.mark} {first.text}",
        f"{tally(record)}. {measured(record)}",
        "\n".join(f"> {text_of(line)}" for line in notes(record)),
        table(record, worst_first(record)),
        listed(record),
        reading(record),
        f"```\n{again(record)}\n```",
        machine(record),
        log(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def comment(record: Mapping[str, Any]) -> str:
    """Markdown for a pull request: the verdict and what changed; all else is folded away.

    Longer ones than a comment can be lose rows of the table, and say how many.
    """
    record = checked(record)
    first, rows = headline(record), worst_first(record)
    changed = sentences(record)
    lines = [f"- {s.mark} {code(s.text)}" for s in changed[:SHOWN]]
    if len(changed) > SHOWN:
        lines.append(f"- and {len(changed) - SHOWN} more, below")
    names = [r["name"] for r in rows if KINDS[verdict_of(r)] in ("bad", "open")]
    parts = [MARKER, f"### {first.mark} {first.text}", "\n".join(lines)]
    tail = [
        listed(record),
        "</details>",
        f"<details><summary>Measure it again</summary>\n\n```\n{again(record, names[:SHOWN])}\n```"
        f"\n\n{machine(record)}\n\n</details>",
    ]
    room = COMMENT_LIMIT - sum(map(len, parts + tail)) - 500
    parts += [f"<details><summary>{tally(record)}</summary>", cut(record, rows, room), *tail]
    parts.insert(3, f"<sub>{measured(record)}</sub>")
    return "\n\n".join(part for part in parts if part) + "\n"


def cut(record: Record, rows: Sequence[Row], room: int) -> str:
    """The table, or as many of its rows as fit into so many characters."""
    whole = table(record, rows)
    if len(whole) <= room:
        return whole
    lines, kept = whole.split("\n"), 2
    while kept < len(lines) and sum(len(line) + 1 for line in lines[: kept + 1]) < room:
        kept += 1
    return "\n".join(lines[:kept]) + f"\n\nLeft out for length: {len(lines) - kept} more."


def table(record: Record, rows: Sequence[Row]) -> str:
    """A line per benchmark in Markdown."""
    if not rows:
        return ""
    head = ["", "benchmark", "change of time" if not record.get("against") else "speed"]
    head += [*columns(rows), "band", "can detect", "rounds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        word = verdict_of(row)
        cells = [f"{MARKS[word]} {word}", code(row["name"]), text_of(about(row, record))]
        cells += [*milliseconds(row, rows), share(row.get("band")), share(row.get("detectable"))]
        lines.append(f"| {' | '.join([*cells, str(row.get('rounds') or '')])} |")
    return "\n".join(lines)


def columns(rows: Sequence[Row]) -> list[str]:
    """Names of the columns of milliseconds, the side compared with first."""
    return [f"{name}, ms" for name in sides_of(rows)]


def sides_of(rows: Sequence[Row]) -> list[str]:
    """Names of the sides that have samples."""
    return list(dict.fromkeys(name for row in rows for name in per_round(row)))


def milliseconds(row: Row, rows: Sequence[Row]) -> list[str]:
    """The middle of each side's rounds; empty for a side without samples."""
    found = per_round(row)
    middles = [sorted(found.get(name, ())) for name in sides_of(rows)]
    return [f"{ms[len(ms) // 2]:.4g}" if ms else "" for ms in middles]


def listed(record: Record) -> str:
    """Benchmarks that one side alone has."""
    lines = []
    for name, why in (("new", "only head has"), ("gone", "head no longer has")):
        if names := record.get(name):
            lines.append(f"{name.capitalize()} ({why}): {', '.join(map(code, names))}.")
    return "\n\n".join(lines)


def measured(record: Record) -> str:
    """What was compared with what, and what it cost."""
    text = "; ".join(f"{name} {what}" for name, what in sides(record)) + "."
    if seconds := record.get("budget_s"):
        text += f" Budget {minutes(seconds)}."
    return text_of(text[0].upper() + text[1:])


def reading(record: Record) -> str:
    """How the numbers are to be read."""
    return READING_PEER if record.get("against") else READING


def log(record: Record) -> str:
    """All that the gate said on its way, folded away."""
    lines = [line.rstrip().replace("`", "'") for line in record.get("said") or ()]
    if not lines:
        return ""
    text = "\n".join(lines)
    return f"<details><summary>What the gate said</summary>\n\n```\n{text}\n```\n\n</details>"


def machine(record: Record) -> str:
    """Where it was measured, in one line."""
    made = record.get("made_by") or {}
    return ", ".join(f"{n.replace('_', ' ')} {made[n]}" for n in MADE if made.get(n)) or ""


def code(text: str) -> str:
    """A text in Markdown as it is: nothing in it is a link, a mention, or ends a cell."""
    return f"`{one_line(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def text_of(text: str) -> str:
    """A text in Markdown that opens no tag, ends no cell and calls nobody."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return text.replace("@", "@&#8203;")


def html(record: Record) -> bytes:
    """The page of a gate's record."""
    rows = worst_first(record)
    scale = scale_of(rows)
    names = [r["name"] for r in rows if KINDS[verdict_of(r)] in ("bad", "open")]
    told = strips.times if record.get("against") else strips.percent
    made = record.get("made_by") or {}
    sections = {
        "first": headline(record),
        "sentences": sentences(record),
        "notes": notes(record),
        "said": [line.rstrip() for line in record.get("said") or ()],
        "tally": tally(record),
        "measured": sides(record),
        "columns": columns(rows),
        "axis": strips.axis(scale, told, "time of head over that of base, logarithmic"),
        "rows": [shown(row, rows, record, scale) for row in rows],
        "new": record.get("new") or (),
        "gone": record.get("gone") or (),
        "reading": reading(record),
        "again": again(record, names if len(names) <= SHOWN else ()),
        "dirty": bool((record.get("head") or {}).get("dirty")),
        "budget": minutes(record["budget_s"]) if record.get("budget_s") else "",
        "looks": ", ".join(map(str, record.get("looks") or ())),
        "exit_code": record["exit_code"],
        "made": [(n.replace("_", " "), made[n]) for n in MADE if made.get(n)],
        "peer": record.get("against"),
    }
    return filled(TEMPLATE, sections)


def scale_of(rows: Sequence[Row]) -> strips.Scale:
    """The axis that all benchmarks share: their intervals and bands, not their single rounds."""
    ends = [row[n] for row in rows for n in ("low", "high", "ratio") if row.get(n)]
    bands = [1 + row["band"] for row in rows if row.get("band")]
    return strips.spanning([*ends, *bands, *(1 / band for band in bands)], least=1.05)


def shown(row: Row, rows: Sequence[Row], record: Record, scale: strips.Scale) -> dict[str, Any]:
    """A benchmark as the page's table has it."""
    word, drawn = verdict_of(row), Markup("")
    if None not in (row.get("ratio"), row.get("low"), row.get("high")):
        drawn = strips.strip(
            scale,
            row["ratio"],
            row["low"],
            row["high"],
            kind=KINDS[word],
            band=row.get("band") if not record.get("against") else None,
            dots=ratios(row),
            said=f"{row['name']}: {change(row, record.get('against'))}",
        )
    return {
        "name": row["name"],
        "word": word,
        "mark": MARKS[word],
        "kind": KINDS[word],
        "strip": drawn,
        "about": about(row, record),
        "ms": milliseconds(row, rows),
        "band": share(row.get("band")),
        "detectable": share(row.get("detectable")),
        "rounds": row.get("rounds") or "",
    }
