"""A study as files: an HTML page that needs nothing else, Markdown, CSV, LaTeX, Parquet, PNG."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import latex, table, tidy
from reports.figures import drawn
from reports.looks import stated
from reports.stats import Estimate
from reports.study import Study
from reports.table import Contrast

TEMPLATE = "page.html.jinja"
SHOWN = ("commit", "code_id", "torch", "torchvision", "python", "processor", "device", "threads")
MARKS = {"reproduced": "✓", "contradicted": "✗", "no effect seen": "≈"}
"""What a verdict is marked with; all others are open."""


@dataclass(frozen=True)
class Finding:
    """A sentence of the page's head, the word it is judged with, and that word's mark."""

    sentence: str
    word: str

    @property
    def mark(self) -> str:
        return MARKS.get(self.word, "?")


def render(study: Study, folder: Path) -> list[Path]:
    """Write report.html, report.md, the tables and the pictures; returns their paths, HTML first.

    A pure function of the study: the same records give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study.save(folder)
    frame, found = table.comparison(study), table.contrasts(study)
    shown = drawn(study, found)
    packed = tidy.parquet(tidy.tidy(study, folder.resolve().name))
    files = {
        "table.csv": table.csv(frame).encode(),
        "table.tex": latex.table(study).encode(),
    } | ({"records.parquet": packed} if packed is not None else {})
    sections: dict[str, Any] = {
        "study": study,
        "source": sourced(study),
        "findings": findings(study, found),
        "frame": frame,
        "groups": groups(frame),
        "reading": reading(study),
        "pictures": shown,
        "rows": [(row, table.runs(row)) for row in study.rows],
        "provenance": provenance(study),
        "warnings": warnings(study),
        "failures": [(row.name, r.error) for row in study.rows for r in row.failed],
        "beside": ["report.md", *files],
        "left_out": "" if packed is not None else tidy.NO_PARQUET,
    }
    written = [
        write(folder / "report.html", filled(TEMPLATE, sections)),
        write(folder / "report.md", markdown(study, sections).encode()),
    ]
    written += [write(folder / name, content) for name, content in files.items()]
    return written + [write(folder / p.file, p.content) for p in shown]


def filled(template: str, sections: Mapping[str, Any]) -> bytes:
    """A template of this folder with its sections filled in; everything is escaped."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template(template).render(sections).encode()


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; returns its path."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(content)
    os.replace(draft, path)
    return path


def findings(study: Study, found: Sequence[Contrast]) -> list[Finding]:
    """One sentence per finding, from the numbers alone, and the word that it is judged with."""
    said = []
    for c in found:
        ours = c.ours.signed() if c.ours else "not run"
        paper = "nothing published"
        if c.published is not None:
            paper = f"paper {Estimate(c.published, None, 1).signed()}"
        judged = "" if c.verdict in ("nothing published", "not run") else f" - {c.verdict}"
        sentence = f"{c.a} − {c.b}: {ours} {study.metrics[0]} ({paper}){judged}"
        said.append(Finding(sentence, c.verdict.split(":")[0]))
    return said


def sourced(study: Study) -> str:
    """Where the question comes from, to the table."""
    named = study.table and study.table not in study.source
    return f"{study.source}, {study.table}" if named else study.source


def reading(study: Study) -> str:
    """How the table's numbers are to be read."""
    several = any(len(row.finished) > 1 for row in study.rows)
    return (
        "AP in points of 0 to 100: mean over seeds"
        + (" ± half of its 95 % interval over seeds (Student's t)" if several else "")
        + f'; "change" is paired by seed, from {study.baseline}. {stated(study)}'
    ).strip()


def groups(frame: Any) -> list[tuple[str, int]]:
    """(group, number of columns) of the table's upper head, in order."""
    counted: dict[str, int] = {}
    for group, _ in frame.columns.tolist():
        counted[group] = counted.get(group, 0) + 1
    return list(counted.items())


def provenance(study: Study) -> list[tuple[str, str]]:
    """Where the numbers come from: name and value, each value all runs had."""
    records = [r for row in study.rows for r in row.finished]
    found: list[tuple[str, str]] = []
    for name in SHOWN:
        seen = sorted({str(r.made_by.get(name) or "-") for r in records})
        found.append((name.replace("_", " "), ", ".join(seen) or "-"))
    if any(r.made_by.get("dirty") for r in records):
        found.append(("working tree", "had uncommitted changes under mrcnn/ or kernels/"))
    backends = sorted({_listed(r.made_by.get("kernels") or {}) for r in records})
    found.append(("kernels", ", ".join(backends) or "-"))
    found.append(("data", ", ".join(sorted({_listed(r.data) for r in records})) or "-"))
    seeds = sorted({seed for row in study.rows for seed in row.seeds})
    found.append(("seeds", ", ".join(map(str, seeds))))
    for trunk in study.pretrainings:
        seconds = trunk.cost.get("train_s")
        took = f"{seconds:.0f} s" if seconds is not None else "an unknown time"
        found.append(("pretrained trunk", f"{trunk.id}: made once for all runs, took {took}"))
    return found


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in sorted(values.items())) or "defaults"


def warnings(study: Study) -> list[str]:
    """What a reader has to know before believing the table."""
    records = [r for row in study.rows for r in row.finished]
    found = []
    if study.anything_published and not study.comparable:
        found.append(f"Not comparable with the published column: {study.ours_on}.")
    for name in ("code_id", "device", "threads", "torch"):
        seen = {str(r.made_by.get(name)) for r in records}
        if len(seen) > 1:
            found.append(f"The rows were made with different {name}: {', '.join(sorted(seen))}.")
    for row in study.rows:
        if len(row.finished) < len(row.records):
            found.append(f"{row.name}: runs finished: {table.runs(row)}.")
    counts = {row.name: len(row.seeds) for row in study.rows}
    if set(counts.values()) == {1}:
        found.append("One seed: no interval, and differences of a few points can be noise.")
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"Rows have different numbers of seeds, as each needed: {each}.")
    return found


def markdown(study: Study, sections: Mapping[str, Any]) -> str:
    """The page for a pull request."""
    lines = [
        f"<!-- made by: {study.command} - do not edit -->",
        f"# {study.title}",
        f"{study.question}",
        f"Source: {sections['source']}. Field varied: `{study.field}`.",
        "\n".join(f"- {f.mark} **{f.sentence}**" for f in sections["findings"]),
        "\n".join(f"> {warning}" for warning in sections["warnings"]),
        f"Ours: {study.ours_on}."
        + (f" Paper: {study.published_on}." if study.anything_published else ""),
        table.markdown(sections["frame"]),
        sections["reading"],
    ]
    lines += [f"![{p.name}]({p.file})\n\n{p.caption}" for p in sections["pictures"]]
    values = "\n".join(
        f"| {row.name} | {', '.join(map(str, row.seeds))} | `{row.value}` |" for row in study.rows
    )
    lines += [f"| row | seeds | {study.field} |\n|---|---|---|\n{values}"]
    lines += [f"Not paired across the rows: {study.paired}."] * bool(study.paired)
    made = "\n".join(f"| {name} | {value} |" for name, value in sections["provenance"])
    lines += [f"| provenance | |\n|---|---|\n{made}", f"Again: `{study.command}`"]
    beside = ", ".join(f"`{name}`" for name in sections["beside"])
    left_out = f" Left out: {sections['left_out']}." * bool(sections["left_out"])
    lines += [f"Beside this page: `report.html`, {beside}.{left_out}"]
    lines += [f"Failed: {name}\n\n```\n{error}\n```" for name, error in sections["failures"]]
    return "\n\n".join(line for line in lines if line) + "\n"
