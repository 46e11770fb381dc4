"""Records to rows and columns: ours and the published numbers side by side, never mixed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reports.record import Record
from reports.resample import between_runs
from reports.stats import Difference, adjusted, estimate, level_at, paired, verdicts
from reports.study import Row, Study

OURS, PAPER = "ours", "paper"
UNPUBLISHED, COST = "ours, not in the paper", "cost per trial"
MORE = ("mask boundary AP", "mask AP, boxes given", "mask IoU, boxes given")
"""Shown wherever runs have them: the quality of the masks themselves."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The difference of two rows in a metric: ours, the published one, and the verdict.

    adjusted_p   corrected for the number of the table's contrasts and for the planned looks
    """

    a: str
    b: str
    ours: Difference | None
    published: float | None
    verdict: str
    adjusted_p: float | None = None


def comparison(study: Study) -> pd.DataFrame:
    """One line per row; columns in groups: ours and, beside it, the same from the paper; what the
    paper does not give; the cost. "change" is from the baseline, in the first metric.

    Every cell is text, as it is to be shown; "-" where there is nothing to show.
    """
    base = study.row(study.baseline)
    both = published_metrics(study)
    rest = [m for m in study.metrics if m not in both]
    counted = any("flops_g" in r.cost for row in study.rows for r in row.finished)
    lines = {}
    for row in study.rows:
        paper = dict(zip(study.metrics, study.published.get(row.name, ()), strict=False))
        line = {("", "runs"): runs(row)}
        line |= {(OURS, m): _mean(row.finished, m) for m in both or rest}
        change = difference(row, base, study.metrics[0], study.looks) if row is not base else None
        line[OURS, "change"] = change.signed() if change else "-"
        for metric in both:
            known = math.isfinite(paper.get(metric, math.nan))
            line[PAPER, metric] = f"{paper[metric]:.1f}" if known else "-"
        line |= {(UNPUBLISHED, m): _mean(row.finished, m) for m in rest if both}
        line |= {(UNPUBLISHED, m): _mean(row.finished, m) for m in further(study)}
        line[COST, "min"] = _cost(row.finished, "total_s", 60)
        line[COST, "ms/step"] = _cost(row.finished, "ms_per_step", 1)
        line |= {(COST, "GFLOPs"): _cost(row.finished, "flops_g", 1)} if counted else {}
        lines[row.name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def further(study: Study) -> list[str]:
    """Of MORE what the study does not show by itself and any run has."""
    records = [r for row in study.rows for r in row.finished]
    return [m for m in MORE if m not in study.metrics and values(records, m)]


def published_metrics(study: Study) -> tuple[str, ...]:
    """The metrics for which anything was published."""
    return study.metrics[: max((len(v) for v in study.published.values()), default=0)]


def runs(row: Row) -> str:
    """How many runs finished, failed and are missing: nothing is dropped in silence."""
    text = f"{len(row.finished)} of {len(row.records)}"
    missing = sum(r is None for r in row.records)
    text += f", {len(row.failed)} failed" if row.failed else ""
    return text + (f", {missing} missing" if missing else "")


def values(records: Sequence[Record], metric: str) -> list[float]:
    """The finite values of a metric."""
    found = (r.metrics.get(metric, math.nan) for r in records)
    return [v for v in found if math.isfinite(v)]


def _mean(records: Sequence[Record], metric: str) -> str:
    found = values(records, metric)
    return str(estimate(found)) if found else "-"


def _cost(records: Sequence[Record], name: str, unit: float) -> str:
    found = [r.cost[name] / unit for r in records if r.cost.get(name) is not None]
    return f"{sum(found) / len(found):.2f}" if found else "-"


def pairs(row: Row, base: Row, metric: str) -> list[tuple[Path, float, Path, float]]:
    """Folder and value of the metric in both rows, seed by seed, where both finished that seed."""
    ours, theirs = _by_seed(row, metric), _by_seed(base, metric)
    return [(*ours[seed], *theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def _by_seed(row: Row, metric: str) -> dict[int, tuple[Path, float]]:
    found = zip(row.seeds, row.folders, row.records, strict=True)
    finished = [(s, f, r.metrics.get(metric, math.nan)) for s, f, r in found if r and not r.error]
    return {seed: (folder, value) for seed, folder, value in finished if math.isfinite(value)}


def difference(row: Row, base: Row, metric: str, looks: Sequence[int] = ()) -> Difference | None:
    """The paired change of a metric; None without a seed that both rows finished.

    Over test images too if every run has its matches and the metric can be had from them.
    looks   the numbers of seeds at which the sweep could stop
    """
    both = pairs(row, base, metric)
    if not both:
        return None
    of_a, ours, of_b, theirs = zip(*both, strict=True)
    noise, images = between_runs(of_a, of_b, metric)
    level = level_at(min(len(row.seeds), len(base.seeds)), looks)
    return paired(ours, theirs, image_variance=noise, images=images, level=level)


def contrasts(study: Study, metric: str | None = None) -> list[Contrast]:
    """The study's findings in a metric, by default its first, corrected for their number."""
    of = metric or study.metrics[0]
    rows = [(study.row(a), study.row(b)) for a, b in study.contrasts]
    ours = [difference(a, b, of, study.looks) for a, b in rows]
    paper = [published_change(study, a, b, of) for a, b in study.contrasts]
    said = verdicts(ours, paper, study.looks)
    return [
        Contrast(a=a, b=b, ours=d, published=theirs, verdict=word, adjusted_p=p)
        for (a, b), d, theirs, word, p in zip(
            study.contrasts, ours, paper, said, adjusted(ours), strict=True
        )
    ]


def published_change(study: Study, a: str, b: str, metric: str) -> float | None:
    """What was published for a - b; None if neither the change was, nor the metric of both."""
    for one, other, values in study.changes:
        if (one, other) == (a, b) and metric in study.metrics[: len(values)]:
            return values[study.metrics.index(metric)]
    both = [dict(zip(study.metrics, study.published.get(n, ()), strict=False)) for n in (a, b)]
    if not all(math.isfinite(row.get(metric, math.nan)) for row in both):
        return None
    return round(both[0][metric] - both[1][metric], 1)


def markdown(frame: pd.DataFrame) -> str:
    """The table for a pull request; the column group stands in each head."""
    heads = [": ".join(filter(None, column)) for column in frame.columns]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, cells in frame.iterrows():
        lines.append(f"| {name} | " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def csv(frame: pd.DataFrame) -> str:
    """The same with one head per column, such as "ours mask AP"."""
    flat = frame.copy()
    flat.columns = pd.Index([" ".join(filter(None, column)) for column in frame.columns])
    return flat.to_csv(index_label="row")
