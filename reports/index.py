"""One page over all ablations: every published effect beside ours, and how each was judged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from reports import plot, table
from reports.figures import Picture
from reports.page import MARKS, Finding, filled, findings, sourced, write
from reports.record import Record
from reports.study import Study, load_study
from reports.table import Contrast

TEMPLATE = "index.html.jinja"
VERDICTS = (*MARKS, "cannot tell", "nothing published", "not run")
FOREST = (
    "Every finding: ours as dots, the published ones as diamonds, in points of each ablation's own "
    "metric. 95 % intervals: thick over seeds, thin over seeds and test images together; a dot "
    "without one is of one seed. What counts is the side of 0; the data are not the paper's."
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One ablation of the index: its folder below the pages, and what there is to say of it."""

    name: str
    study: Study
    contrasts: tuple[Contrast, ...]

    @property
    def findings(self) -> list[Finding]:
        return findings(self.study, self.contrasts)

    @property
    def link(self) -> str:
        return f"{self.name}/report.html"

    @property
    def source(self) -> str:
        return self.study.table or sourced(self.study)

    @property
    def records(self) -> list[Record]:
        """Of all runs that have ended, and of the pretraining."""
        ended = [r for row in self.study.rows for r in row.records if r is not None]
        return ended + self.study.pretrainings

    @property
    def runs(self) -> str:
        """How many runs finished, failed and are missing."""
        rows = self.study.rows
        count = sum(len(row.records) for row in rows)
        failed = sum(len(row.failed) for row in rows)
        missing = sum(r is None for row in rows for r in row.records)
        text = f"{count - failed - missing} of {count}" + (f", {failed} failed" if failed else "")
        return text + (f", {missing} missing" if missing else "")

    @property
    def seeds(self) -> str:
        """The number of seeds of each row, or from the fewest to the most."""
        counts = sorted({len(row.finished) for row in self.study.rows})
        return "-".join(map(str, counts[:1] + counts[1:][-1:]))

    @property
    def whole(self) -> bool:
        return all(len(row.finished) == len(row.records) for row in self.study.rows)


def render_index(pages: Path, only: str = "*") -> list[Path]:
    """Write index.html, index.md and findings.png over the page folders below `pages`.

    only   a pattern that names of page folders must match, such as "*-small"

    A pure function of the studies' records. A page that cannot be read is said to be so.
    Raises ValueError if there is none.
    """
    entries, broken = entries_of(pages, only)
    counts = Counter(f.word for e in entries for f in e.findings)
    shown = [forest(entries)] if any(e.contrasts for e in entries) else []
    sections = {
        "entries": entries,
        "broken": broken,
        "counts": [(word, MARKS.get(word, "?"), counts[word]) for word in VERDICTS],
        "pictures": shown,
        "time": minutes([r for e in entries for r in e.records]),
        "time_of": {e.name: minutes(e.records) for e in entries},
        "unfinished": [e for e in entries if not e.whole],
    }
    written = [
        write(pages / "index.html", filled(TEMPLATE, sections)),
        write(pages / "index.md", markdown(entries, sections).encode()),
    ]
    return written + [write(pages / p.file, p.content) for p in shown]


def entries_of(pages: Path, only: str = "*") -> tuple[list[Entry], list[str]]:
    """The ablations below `pages` by name, and of each page that is broken what is wrong with it.

    Raises ValueError if there is no page at all.
    """
    entries, broken = [], []
    for path in sorted(pages.glob(f"{only}/study.json")):
        try:
            study = load_study(path.parent)
            found = tuple(table.contrasts(study))
        except ValueError as error:
            broken.append(str(error).replace(f"{pages}/", ""))
            continue
        entries.append(Entry(name=path.parent.name, study=study, contrasts=found))
    if not entries and not broken:
        raise ValueError(
            f"{pages}: no page there named {only!r}; make one with python -m ablations run NAME"
        )
    return entries, broken


def minutes(records: Sequence[Record]) -> str:
    """The time of runs, each counted once however many tables it is in, and a training however
    many runs evaluate it.
    """
    total = sum({(r.kind, r.id): seconds(r) for r in records}.values()) / 60
    return f"{total:.1f} min" if total < 120 else f"{total / 60:.1f} h"


def seconds(record: Record) -> float:
    """What a run took itself: the training that another one did is not its own."""
    if record.trained_by is not None:
        return record.cost.get("evaluate_s", 0.0)
    return record.cost.get("total_s", record.cost.get("train_s", 0.0))


def forest(entries: Sequence[Entry]) -> Picture:
    """All findings of all ablations on one axis, ablation by ablation."""
    shown: list[plot.Line] = []
    for entry in entries:
        if not entry.contrasts:
            continue
        metric = entry.study.metrics[0]
        title = f"{entry.name} ({metric})"
        shown.append(plot.Line(label=title, ours=None, published=None, heading=True))
        shown += plot.lines(entry.contrasts)
    figure = Figure(figsize=(plot.WIDTH + 1, 0.42 * len(shown) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    plot.forest(axes, shown, "each one's metric")
    plot.legend_of_forest(figure, axes)
    return Picture("findings.png", "All findings", FOREST, plot.png(figure))


def markdown(entries: Sequence[Entry], sections: dict[str, object]) -> str:
    """The index for a pull request."""
    counts: list[tuple[str, str, int]] = sections["counts"]  # type: ignore[assignment]
    time_of: dict[str, str] = sections["time_of"]  # type: ignore[assignment]
    broken: list[str] = sections["broken"]  # type: ignore[assignment]
    shown: list[Picture] = sections["pictures"]  # type: ignore[assignment]
    said = ", ".join(f"{count} {word}" for word, _, count in counts if count)
    lines = [
        "<!-- made by: python -m reports index - do not edit -->",
        "# Ablations: the published effects and ours",
        f"Findings: {said or 'none'}. Time of all runs: {sections['time']}.",
        "\n".join(f"> {e.name}: runs finished: {e.runs}." for e in entries if not e.whole),
        "\n".join(f"> Cannot be read: {text}" for text in broken),
        "\n\n".join(f"![{p.name}]({p.file})\n\n{p.caption}" for p in shown),
        "\n".join(
            ["| ablation | source | finding | runs | seeds | time |", "|---|---|---|---|---|---|"]
            + [
                f"| [{e.study.title}: {e.name}]({e.name}/report.md) | {e.source} | "
                + "<br>".join(f"{f.mark} {f.sentence}" for f in e.findings)
                + f" | {e.runs} | {e.seeds} | {time_of[e.name]} |"
                for e in entries
            ]
        ),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"
