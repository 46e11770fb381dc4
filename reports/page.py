"""A study as files: one HTML page that needs nothing else, Markdown, CSV and PNG."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import pictures, plot, table
from reports.stats import Estimate
from reports.study import Study, gallery

TEMPLATE = "page.html.jinja"
SHOWN = ("commit", "code_id", "torch", "torchvision", "python", "processor", "device", "threads")


@dataclass(frozen=True)
class Picture:
    """An image of the page: its file, what it shows in words, and its bytes."""

    file: str
    caption: str
    content: bytes

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.content).decode()


def render(study: Study, folder: Path) -> list[Path]:
    """Write report.html, report.md, table.csv and the pictures; returns their paths, HTML first.

    A pure function of the study: the same records give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study.save(folder)
    frame, shown = table.comparison(study), drawn(study)
    sections: dict[str, Any] = {
        "study": study,
        "headlines": headlines(study),
        "frame": frame,
        "groups": groups(frame),
        "pictures": shown,
        "provenance": provenance(study),
        "warnings": warnings(study),
        "failures": [(row.name, r.error) for row in study.rows for r in row.failed],
    }
    place = FileSystemLoader(Path(__file__).parent)
    pages = Environment(
        loader=place,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = [
        write(folder / "report.html", pages.get_template(TEMPLATE).render(sections).encode()),
        write(folder / "report.md", markdown(study, sections).encode()),
        write(folder / "table.csv", table.csv(frame).encode()),
    ]
    return written + [write(folder / p.file, p.content) for p in shown]


def write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; returns its path."""
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_bytes(content)
    os.replace(draft, path)
    return path


def drawn(study: Study) -> list[Picture]:
    """Every picture there is something to draw in."""
    shown = []
    metric = study.metrics[0]
    if any(c.ours for c in table.contrasts(study)):
        caption = f"Differences in {metric}: ours, and the published ones where there are any."
        shown.append(Picture("effects.png", caption, plot.effects(study)))
        shown.append(Picture("bars.png", "Our results, row by row.", plot.bars(study)))
    found = {row.name: gallery(row.folders) for row in study.rows if row.finished}
    strip = pictures.strip({name: g for name, g in found.items() if g})
    if strip:
        caption = (
            "The same validation images under each variant, ground truth first. Shown are the "
            "images in which the variants differ most; a detection has the colour of the object "
            f"it overlaps most, grey if none, and scores at least {pictures.MIN_SCORE}."
        )
        shown.append(Picture("pictures.png", caption, strip))
    if any(row.finished for row in study.rows):
        shown.append(Picture("curves.png", "Training loss.", plot.curves(study)))
    return shown


def headlines(study: Study) -> list[str]:
    """One sentence per finding, from the numbers alone."""
    sentences = []
    for c in table.contrasts(study):
        ours = c.ours.signed() if c.ours else "not run"
        paper = "nothing published"
        if c.published is not None:
            paper = f"paper {Estimate(c.published, None, 1).signed()}"
        said = "" if c.verdict in ("nothing published", "not run") else f" - {c.verdict}"
        sentences.append(f"{c.a} − {c.b}: {ours} {study.metrics[0]} ({paper}){said}")
    return sentences


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
        seen = sorted({str(r.made_by.get(name)) for r in records})
        found.append((name.replace("_", " "), ", ".join(seen) or "-"))
    if any(r.made_by.get("dirty") for r in records):
        found.append(("working tree", "had uncommitted changes under mrcnn/ or kernels/"))
    backends = sorted({_listed(r.made_by.get("kernels") or {}) for r in records})
    found.append(("kernels", ", ".join(backends) or "-"))
    found.append(("data", ", ".join(sorted({_listed(r.data) for r in records})) or "-"))
    found.append(("seeds", ", ".join(map(str, study.rows[0].seeds))))
    if study.pretraining is not None:
        seconds = study.pretraining.cost.get("train_s")
        took = f"{seconds:.0f} s" if seconds is not None else "an unknown time"
        shared = f"{study.pretraining.id}: shared by all rows, took {took}"
        found.append(("pretrained trunk", shared))
    return found


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in sorted(values.items())) or "defaults"


def warnings(study: Study) -> list[str]:
    """What a reader has to know before believing the table."""
    records = [r for row in study.rows for r in row.finished]
    found = []
    if not study.comparable:
        found.append(f"Not comparable with the published column: {study.ours_on}.")
    for name in ("code_id", "device", "threads", "torch"):
        seen = {str(r.made_by.get(name)) for r in records}
        if len(seen) > 1:
            found.append(f"The rows were made with different {name}: {', '.join(sorted(seen))}.")
    for row in study.rows:
        if len(row.finished) < len(row.records):
            found.append(f"{row.name}: {table.runs(row)} runs finished.")
    if study.rows and len(study.rows[0].seeds) == 1:
        found.append("One seed: no interval, and differences of a few points can be noise.")
    return found


def markdown(study: Study, sections: Mapping[str, Any]) -> str:
    """The page for a pull request."""
    lines = [
        f"<!-- made by: {study.command} - do not edit -->",
        f"# {study.title}",
        f"{study.question}",
        f"Source: {study.source}. Field varied: `{study.field}`.",
        "\n".join(f"- **{sentence}**" for sentence in sections["headlines"]),
        "\n".join(f"> {warning}" for warning in sections["warnings"]),
        f"Ours: {study.ours_on}. Paper: {study.published_on}.",
        table.markdown(sections["frame"]),
    ]
    lines += [f"![{p.caption}]({p.file})\n\n{p.caption}" for p in sections["pictures"]]
    values = "\n".join(f"| {row.name} | `{row.value}` |" for row in study.rows)
    lines += [f"| row | {study.field} |\n|---|---|\n{values}"]
    made = "\n".join(f"| {name} | {value} |" for name, value in sections["provenance"])
    lines += [f"| provenance | |\n|---|---|\n{made}", f"Again: `{study.command}`"]
    lines += [f"Failed: {name}\n\n```\n{error}\n```" for name, error in sections["failures"]]
    return "\n\n".join(line for line in lines if line) + "\n"
