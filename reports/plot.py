"""Plots of a study, as PNG bytes that depend on the records alone."""

import io
from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

from reports.study import Study
from reports.table import contrasts, values

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people with any colour vision tell apart."""
OURS, PAPER = OKABE_ITO[0], OKABE_ITO[1]


def png(figure: Figure) -> bytes:
    """The figure as PNG, with no date or version in it: the same figure, the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def effects(study: Study) -> bytes:
    """Each finding as a point on the axis of differences: ours with its interval, the paper's."""
    found = contrasts(study)
    figure = Figure(figsize=(8, 0.75 * len(found) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    for y, contrast in enumerate(reversed(found)):
        if contrast.ours is not None:
            half = contrast.ours.half_width or 0.0
            name = "" if y else "ours"
            axes.errorbar(
                contrast.ours.value, y + 0.12, xerr=half, label=name, fmt="o", color=OURS, capsize=4
            )
        if contrast.published is not None:
            axes.plot(
                contrast.published,
                y - 0.12,
                "D",
                color=PAPER,
                markersize=7,
                label="" if y else "paper",
            )
    axes.axvline(0, color="#666666", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{c.a}\n− {c.b}" for c in reversed(found)])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlabel(f"difference in {study.metrics[0]}, points")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="best", frameon=False)
    return png(figure)


def curves(study: Study) -> bytes:
    """Training loss of each row's first finished run, a mean over ten notes at a time."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for colour, row in zip(_colours(study), study.rows, strict=True):
        if row.finished:
            steps = [entry["step"] for entry in row.finished[0].history]
            losses = [entry["loss"] for entry in row.finished[0].history]
            axes.plot(steps, smoothed(losses, 10), color=colour, label=row.name, linewidth=1.6)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2)
    return png(figure)


def bars(study: Study) -> bytes:
    """The metrics of every row, ours alone: the published ones are of another data set."""
    shown = study.metrics[:3]
    figure = Figure(figsize=(8, 0.42 * len(study.rows) * len(shown) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    ticks: Mapping[float, str] = {}
    for i, row in enumerate(reversed(study.rows)):
        for j, metric in enumerate(reversed(shown)):
            found = values(row.finished, metric)
            y = i * (len(shown) + 0.7) + j
            if found:
                mean = sum(found) / len(found)
                axes.barh(y, mean, color=OKABE_ITO[len(shown) - 1 - j], height=0.9)
                axes.text(mean + 0.5, y, f"{mean:.1f}", va="center", fontsize=9)
            axes.plot(found, [y] * len(found), "|", color="black", markersize=7)
        ticks = {**ticks, i * (len(shown) + 0.7) + (len(shown) - 1) / 2: row.name}
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_xlabel("points; one stroke per seed")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, max(1.0, 1.12 * axes.get_xlim()[1]))
    handles = [mpl.patches.Patch(color=c, label=m) for c, m in zip(OKABE_ITO, shown, strict=False)]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(shown), frameon=False)
    return png(figure)


def smoothed(series: list[float], window: int) -> list[float]:
    """The mean of each value and those before it, up to `window`."""
    return [
        sum(series[max(0, i + 1 - window) : i + 1]) / min(i + 1, window) for i in range(len(series))
    ]


def _colours(study: Study) -> list[str]:
    return [OKABE_ITO[i % len(OKABE_ITO)] for i in range(len(study.rows))]
