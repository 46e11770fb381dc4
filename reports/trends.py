"""Series of results over runs, with the runs at which their level changed.

Reads the trends.json that `python -m benchmarks history` writes.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from reports.ink import FAINT, SERIES, Picture, picture
from reports.strips import percent

PANELS = 12
"""Series that are drawn; those that changed come first, and the table has all."""
Series = Mapping[str, Any]


def checked(found: Any, name: str) -> Mapping[str, Any]:
    """The trends, if they are such. Raises ValueError naming the file and what is wrong."""
    try:
        for series in found["series"]:
            values = [float(point["value"]) for point in series["points"]]
            [point["when"] for point in series["points"]]
            if not values or min(values) <= 0:
                raise ValueError(f"{series['name']}: values {values}, expected numbers above 0")
            for change in series["changes"]:
                if not 0 < change["index"] < len(values) or change["ratio"] <= 0:
                    raise ValueError(f"{series['name']}: a change at {change['index']}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: not trends ({error})") from None
    return found  # type: ignore[no-any-return]


def changed_first(series: Sequence[Series]) -> list[Series]:
    """The series, those with the largest changes in front."""

    def size(one: Series) -> float:
        sizes = [max(c["ratio"], 1 / c["ratio"]) for c in one["changes"]]
        return -max(sizes, default=0.0)

    return sorted(series, key=size)


def trend_picture(series: Sequence[Series]) -> Picture | None:
    """Panels of the series that changed most; None where there are no series."""
    shown = changed_first(series)[:PANELS]
    if not shown:
        return None
    caption = "Each point is a run, the line the median between changes; a slower level is red."
    panels = [_panel(one) for one in shown]
    return picture(panels, name="Over time", caption=caption, file="trends.png")


def _panel(series: Series) -> Figure:
    figure = Figure(figsize=(4.2, 1.9), layout="constrained")
    axes = figure.add_subplot()
    values = [point["value"] for point in series["points"]]
    axes.plot(values, "o", color=FAINT, markersize=2.5)
    edges = [0, *(change["index"] for change in series["changes"]), len(values)]
    colours = [SERIES[0], *(SERIES[1 if c["ratio"] > 1 else 2] for c in series["changes"])]
    for left, right, colour in zip(edges, edges[1:], colours, strict=False):
        level = median(values[left:right])
        axes.plot([left - 0.4, right - 0.6], [level, level], color=colour, linewidth=2.2)
    for change in series["changes"]:
        axes.axvline(change["index"] - 0.5, color=FAINT, linewidth=0.8, linestyle=":")
        axes.annotate(
            percent(change["ratio"]),
            (change["index"] - 0.5, 1.0),
            (3, -9),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8,
            fontweight="bold",
        )
    where = f", {series['where'].split(',')[0]}" if series.get("where") else ""
    axes.set_title(f"{series['name']}\n{series['measure']}{where}", fontsize=7, loc="left")
    low, high = min(values), max(values)
    pad = max(0.15 * (high - low), 0.03 * high)
    axes.set_ylim(low - pad, high + 2 * pad)
    days = [point["when"][:10] for point in series["points"]]
    axes.set_xticks([0, len(values) - 1], [days[0], days[-1]], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    return figure


def change_rows(series: Sequence[Series]) -> list[tuple[str, ...]]:
    """One row for each change: benchmark, measure, size, first commit at the new level, its day,
    the last commit at the old one.
    """
    rows: list[tuple[str, ...]] = []
    for one in changed_first(series):
        for change in one["changes"]:
            after, before = (one["points"][change["index"] - i] for i in (0, 1))
            rows.append(
                (
                    str(one["name"]),
                    str(one["measure"]),
                    percent(change["ratio"]),
                    str(after.get("commit") or "a working tree")[:12],
                    str(after["when"])[:10],
                    str(before.get("commit") or "a working tree")[:12],
                )
            )
    return rows
