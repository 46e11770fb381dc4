"""Records to rows and columns: ours and the published numbers side by side, never mixed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports.record import Record
from reports.stats import Estimate, estimate, holm, p_value, paired, verdict
from reports.study import Row, Study

OURS, PAPER = "ours", "paper"
UNPUBLISHED, COST = "ours, not in the paper", "cost per trial"


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The difference of two rows in the first metric: ours, the published one, and the verdict."""

    a: str
    b: str
    ours: Estimate | None
    published: float | None
    verdict: str


def comparison(study: Study) -> pd.DataFrame:
    """One line per row; columns in groups: ours and, beside it, the same from the paper; what the
    paper does not give; the cost. "change" is from the baseline, in the first metric.

    Every cell is text, as it is to be shown; "-" where there is nothing to show.
    """
    base = study.row(study.baseline)
    both = published_metrics(study)
    rest = [m for m in study.metrics if m not in both]
    lines = {}
    for row in study.rows:
        paper = dict(zip(study.metrics, study.published.get(row.name, ()), strict=False))
        line = {("", "runs"): runs(row)}
        line |= {(OURS, m): _mean(row.finished, m) for m in both or rest}
        change = difference(row, base, study.metrics[0]) if row is not base else None
        line[OURS, "change"] = change.signed() if change else "-"
        for metric in both:
            line[PAPER, metric] = f"{paper[metric]:.1f}" if metric in paper else "-"
        line |= {(UNPUBLISHED, m): _mean(row.finished, m) for m in rest if both}
        line[COST, "min"] = _cost(row.finished, "total_s", 60)
        line[COST, "ms/step"] = _cost(row.finished, "ms_per_step", 1)
        lines[row.name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


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


def pairs(row: Row, base: Row, metric: str) -> tuple[list[float], list[float]]:
    """The metric in both rows, of the seeds that finished in both."""
    both = [
        (a.metrics.get(metric, math.nan), b.metrics.get(metric, math.nan))
        for a, b in zip(row.records, base.records, strict=True)
        if a is not None and b is not None and a.error is None and b.error is None
    ]
    kept = [(a, b) for a, b in both if math.isfinite(a) and math.isfinite(b)]
    return [a for a, _ in kept], [b for _, b in kept]


def difference(row: Row, base: Row, metric: str) -> Estimate | None:
    """The paired change of a metric; None without a seed that both rows finished."""
    ours, theirs = pairs(row, base, metric)
    return paired(ours, theirs) if ours else None


def contrasts(study: Study) -> list[Contrast]:
    """The study's findings in its first metric, corrected for their number."""
    metric = study.metrics[0]
    both = [pairs(study.row(a), study.row(b), metric) for a, b in study.contrasts]
    adjusted = holm([p_value(a, b) for a, b in both])
    found = []
    for (a, b), (ours, theirs), p in zip(study.contrasts, both, adjusted, strict=True):
        change = paired(ours, theirs) if ours else None
        has = study.published.get(a) and study.published.get(b)
        paper = round(study.published[a][0] - study.published[b][0], 1) if has else None
        said = verdict(change, paper, p) if change else "not run"
        found.append(Contrast(a=a, b=b, ours=change, published=paper, verdict=said))
    return found


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
