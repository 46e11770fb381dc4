"""Plots of a study, as PNG bytes that depend on the records alone.

A row has a colour, a marker and a stroke of its own, and its name beside it: no plot is read by
colour alone. The ground is white, so that a page may lay them on any.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from reports.stats import Difference, estimate
from reports.study import Row, Study
from reports.table import Contrast, contrasts, values

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people with any colour vision tell apart."""
OURS, PAPER = OKABE_ITO[0], OKABE_ITO[1]
MARKERS = "osD^vP*X"
STROKES = ("-", "--", "-.", ":")
WIDTH = 5.6
"""Of a plot, in inches: on a phone the letters are still letters."""


DPI = 140


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as PNG, with no date or version in it: the same figure, the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a forest plot: two rows' difference, ours and the published one; or a heading
    over those that follow.
    """

    label: str
    ours: Difference | None
    published: float | None
    verdict: str = ""
    heading: bool = False


def lines(found: Sequence[Contrast]) -> list[Line]:
    """The findings of a study as lines of a forest plot."""
    return [
        Line(label=f"{c.a}\n− {c.b}", ours=c.ours, published=c.published, verdict=c.verdict)
        for c in found
    ]


def forest(axes: Any, shown: Sequence[Line], metric: str) -> None:
    """Differences with their intervals, thick over seeds and thin over test images as well; the
    published ones as diamonds below; at the right what follows.
    """
    for y, line in enumerate(reversed(shown)):
        if line.ours is not None:
            _interval(axes, y + 0.14, line.ours)
            axes.plot(line.ours.value, y + 0.14, "o", color=OURS, label="ours")
        elif not line.heading:
            axes.text(0, y + 0.14, " not run", color="#555555", va="center", fontsize=8)
        if line.published is not None:
            marks = {"color": PAPER, "markersize": 6, "markerfacecolor": "white"}
            axes.plot(line.published, y - 0.18, "D", **marks, label="paper")
    axes.axvline(0, color="#444444", linewidth=1)
    axes.set_yticks(range(len(shown)), [line.label for line in reversed(shown)], fontsize=8)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(f"difference in {metric}, points")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    said = [_wrapped(line.verdict) for line in reversed(shown)]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(shown)), said, fontsize=8)
    right.tick_params(length=0)
    axes.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)
    for text, line in zip(axes.get_yticklabels(), reversed(shown), strict=True):
        text.set_fontweight("bold" if line.heading else "normal")


def _interval(axes: Any, y: float, ours: Difference) -> None:
    for half, width in ((ours.both, 1.2), (ours.seeds, 3.5)):
        if half is not None:
            ends = (ours.value - half, ours.value + half)
            axes.plot(ends, (y, y), color=OURS, linewidth=width, solid_capstyle="butt")
            axes.plot(ends, (y, y), "|", color=OURS, markersize=7)


def _wrapped(verdict: str) -> str:
    head, _, rest = verdict.partition(": ")
    return f"{head}:\n{rest.split(',')[0]}" if rest else head


def legend_of_forest(figure: Figure, axes: Any) -> None:
    """Which mark is whose, above the plot."""
    handles, labels = axes.get_legend_handles_labels()
    each = dict(zip(reversed(labels), reversed(handles), strict=True))
    each = {name: each[name] for name in ("ours", "paper") if name in each}
    if each:
        figure.legend(
            each.values(), each.keys(), loc="outside upper center", ncols=2, frameon=False
        )


def effects(study: Study, found: Sequence[Contrast] | None = None) -> bytes:
    """Each finding as a point on the axis of differences: ours with its intervals, the paper's."""
    shown = lines(contrasts(study) if found is None else found)
    figure = Figure(figsize=(WIDTH, 0.62 * len(shown) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    forest(axes, shown, study.metrics[0])
    legend_of_forest(figure, axes)
    return png(figure)


def bars(study: Study, metrics: Mapping[str, str], *, one_scale: bool = False) -> bytes:
    """A panel per metric (title -> name) with a bar per row: the mean, its interval over seeds,
    and a stroke for each seed.

    one_scale   whether bars of different panels may be compared
    """
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    size = (WIDTH, lines * (0.3 * len(study.rows) + 0.75) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True, sharex=one_scale)
    for i, axes in enumerate(grid.flat):
        axes.set_visible(i < len(metrics))
    ends = []
    for axes, (title, metric) in zip(grid.flat, metrics.items(), strict=False):
        ends.append(_panel(axes, study, metric))
        axes.set_xlim(0, 1.3 * (max(ends) if one_scale else ends[-1]))
        axes.set_title(title, fontsize=9)
    grid[-1][0].set_xlabel("points; | one seed", fontsize=8)
    return png(figure)


def _panel(axes: Any, study: Study, metric: str) -> float:
    """Draws the bars; returns where the longest ends, interval and all."""
    far = 0.0
    for y, row in enumerate(reversed(study.rows)):
        found = values(row.finished, metric)
        if not found:
            axes.text(0, y, " none", va="center", fontsize=7, color="#555555")
            continue
        mean = estimate(found)
        half = mean.half_width or 0.0
        axes.barh(y, mean.value, color="#9ecae6", edgecolor=OURS, height=0.72)
        if half:
            axes.errorbar(mean.value, y, xerr=half, color="black", capsize=3, linewidth=1.1)
        axes.plot(found, [y] * len(found), "|", color="#333333", markersize=5)
        end = max(min(mean.value + half, 100.0), *found)
        axes.annotate(
            f"{mean.value:.1f}",
            (end, y),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
        far = max(far, end)
    axes.set_yticks(range(len(study.rows)), [row.name for row in reversed(study.rows)], fontsize=8)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)
    return far or 1.0


def curves(study: Study) -> bytes:
    """Training loss of each row's first finished run, a mean over ten notes at a time."""
    figure, axes = _plain(3.4)
    for i, row in enumerate(study.rows):
        history = row.finished[0].history if row.finished else ()
        if history:
            steps = [entry["step"] for entry in history]
            losses = smoothed([entry["loss"] for entry in history], 10)
            every = max(1, len(steps) // 8)
            axes.plot(steps, losses, **style(i), label=row.name, markevery=every)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    if all(value > 0 for line in axes.lines for value in line.get_ydata()):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="both", labelsize=8)
    axes.legend(frameon=False, ncols=2, fontsize=8)
    return png(figure)


Curve = tuple[Sequence[float], Sequence[float]]


def precision_over_recall(panels_of: Mapping[str, Mapping[str, Curve]], rows: Study) -> bytes:
    """A panel per title with a line per row: name -> (recalls, precision), both 0 .. 1."""
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    panels = figure.subplots(1, len(panels_of), squeeze=False, sharey=True)[0]
    names = [row.name for row in rows.rows]
    for axes, (title, found) in zip(panels, panels_of.items(), strict=True):
        for name, (recalls, precision) in found.items():
            axes.plot(recalls, precision, **style(names.index(name)), label=name, markevery=10)
        axes.set(xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("precision")
    _named_above(figure, panels[0])
    return png(figure)


def costs(study: Study, axes_of: Mapping[str, str]) -> bytes:
    """The first metric over what it cost: a panel per cost (title -> name), a marker per row."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    panels = figure.subplots(1, len(axes_of), squeeze=False, sharey=True)[0]
    metric = study.metrics[0]
    for axes, (title, name) in zip(panels, axes_of.items(), strict=True):
        for i, row in enumerate(study.rows):
            x, y = cost_of(row, name), values(row.finished, metric)
            if x is None or not y:
                continue
            mean = estimate(y)
            marks = style(i) | {"linestyle": "none", "label": row.name}
            axes.errorbar(x, mean.value, yerr=mean.half_width or 0, capsize=3, **marks)
        axes.set_xlabel(title, fontsize=9)
        axes.margins(0.15)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(metric)
    _named_above(figure, panels[0])
    return png(figure)


def cost_of(row: Row, name: str) -> float | None:
    """The mean cost of a row's finished runs that trained; None where it is not known.

    name   of Record.cost; "..._min" is its "..._s" in minutes
    """
    unit = 60 if name.endswith("_min") else 1
    name = name.removesuffix("_min") + "_s" if unit == 60 else name
    trained = [r for r in row.finished if r.trained_by is None or unit == 1]
    found = [r.cost[name] / unit for r in trained if r.cost.get(name) is not None]
    return sum(found) / len(found) if found else None


def style(i: int) -> dict[str, Any]:
    """Colour, marker and stroke of row i."""
    return {
        "color": OKABE_ITO[i % len(OKABE_ITO)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": STROKES[i % len(STROKES)],
        "linewidth": 1.5,
        "markersize": 5,
    }


def _named_above(figure: Figure, axes: Any) -> None:
    """The rows' names above all panels."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 3 if max((len(label) for label in labels), default=0) < 24 else 2
    if labels:
        figure.legend(
            handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=8
        )


def smoothed(series: list[float], window: int) -> list[float]:
    """The mean of each value and those before it, up to `window`."""
    return [
        sum(series[max(0, i + 1 - window) : i + 1]) / min(i + 1, window) for i in range(len(series))
    ]


def _plain(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
