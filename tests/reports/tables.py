"""Studies of made-up scores, without files: for what is computed from them."""

from pathlib import Path

from reports.record import Record
from reports.study import Row, Study

WORDS = dict.fromkeys(("title", "question", "source", "field", "ours_on", "command"), "")


def row(name, scores, metric="mask AP", folder=Path("nowhere")):
    """One row; `scores` seed by seed: a number, an error in words, or None if it has not run."""
    seeds = tuple(range(len(scores)))
    return Row(
        name=name,
        value="",
        seeds=seeds,
        folders=tuple(folder / f"{name}{seed}" for seed in seeds),
        records=tuple(record(score, metric) for score in scores),
    )


def record(score, metric):
    if score is None:
        return None
    failed = isinstance(score, str)
    return Record(
        kind="trial",
        id="",
        code_id="",
        config={},
        metrics={} if failed else {metric: float(score)},
        error=score if failed else None,
    )


def study(scores, published, folder=Path("nowhere"), **changes):
    """Rows by name; the first is the baseline, which all others are contrasted with.

    published   row -> its published value; empty: nothing was
    """
    names = list(scores)
    options = dict(
        rows=tuple(row(name, values, folder=folder) for name, values in scores.items()),
        baseline=names[0],
        metrics=("mask AP",),
        published={name: (value,) for name, value in published.items()},
        published_on="",
        comparable=True,
        contrasts=tuple((name, names[0]) for name in names[1:]),
    )
    return Study(**{**WORDS, **options, **changes})
