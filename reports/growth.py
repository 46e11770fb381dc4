"""How time and memory grow with sizes: curves with their fitted laws, exponents, largest sizes.

Reads the rows "scaling" and "largest" that `python -m benchmarks scale` writes.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.blocks import Section, Table, duration
from reports.gate_words import Sentence
from reports.ink import FAINT, PANEL, SERIES, Picture, picture
from reports.plot import MARKERS

Row = Mapping[str, Any]
Rows = Sequence[Row]
LINES = 5
"""Curves in one panel: more cannot be told apart."""


def growth(scaling: Rows, largest: Rows) -> Section | None:
    """Time and memory against every size, and the largest size that fits."""
    if not scaling and not largest:
        return None
    steep = [row for row in scaling if row.get("exponent") is not None]
    steep = [row for row in steep if row["variable"] != "threads"]
    found = []
    if steep:
        top = max(steep, key=lambda row: row["exponent"])
        text = f"Steepest growth: {top['what']} with {top['variable']}, {law(top)}"
        found.append(Sentence(text=text, mark="→", kind=""))
    drawn = [curves(scaling, "ms"), curves(scaling, "peak_mb")]
    tables = [laws(scaling)] if scaling else []
    tables += [sizes(largest)] if largest else []
    return Section(
        anchor="growth",
        title="How cost grows",
        says=(
            "Each point is the median of fresh processes. An exponent of 1 is time in proportion "
            "to the size, 2 to its square, 0 no dependence, and over threads −1 would be an ideal "
            "speed-up. The dashed line is the fitted law, where it was fitted.",
        ),
        findings=tuple(found),
        blocks=(*(one for one in drawn if one), *tables),
    )


def law(row: Row) -> str:
    """The exponent with its interval, as words."""
    if row.get("exponent") is None:
        return "no law"
    text = f"size to the power {row['exponent']:.2f}"
    if row.get("low") is not None and row.get("high") is not None:
        text += f" ({row['low']:.2f} to {row['high']:.2f})"
    return text


def laws(rows: Rows) -> Table:
    """One row for each curve."""
    lines = []
    for row in rows:
        points = curve(row, "ms")
        first, last = points[0] if points else None, points[-1] if points else None
        memory = curve(row, "peak_mb")
        interval = "" if row.get("low") is None else f"{row['low']:.2f} to {row['high']:.2f}"
        lines.append(
            (
                str(row["what"]),
                str(row["variable"]),
                f"{first[0]:g} to {last[0]:g}" if first and last else "nothing measured",
                f"{duration(first[1])} to {duration(last[1])}" if first and last else "",
                "" if row.get("exponent") is None else f"{row['exponent']:.2f}",
                interval,
                "" if row.get("from") is None else f"{row['from']:g}",
                f"{memory[-1][1]:.4g} MB" if memory else "",
                str(row.get("error") or row.get("note") or ""),
            )
        )
    head = ("what", "with", "sizes", "time", "exponent", "95 %", "from", "memory at most", "note")
    return Table(name="Laws", head=head, rows=tuple(lines), left=2, words=(8,))


def sizes(rows: Rows) -> Table:
    """The largest size of each that fits into the memory that was allowed."""
    lines = tuple(
        (
            str(row["what"]),
            str(row["variable"]),
            f"{row['value']:,}",
            f"{row['limit_gib']:.3g} GiB",
            str(row.get("note") or ""),
        )
        for row in rows
    )
    head = ("what", "largest", "that fits", "into", "note")
    return Table(name="The largest that fits", head=head, rows=lines, left=2, words=(4,))


def curve(row: Row, measure: str) -> list[tuple[float, float]]:
    """(size, median) of each size that has a number above 0, by size."""
    points = []
    for value, found in zip(row["values"], row.get(measure) or (), strict=False):
        numbers = [n for n in (found if isinstance(found, list) else [found]) if n]
        if numbers and median(numbers) > 0 and value > 0:
            points.append((float(value), float(median(numbers))))
    return sorted(points)


def curves(rows: Rows, measure: str) -> Picture | None:
    """A panel for each variable with a curve for each thing that grows with it, on logarithmic
    axes; None where nothing was measured. `measure`: "ms" or "peak_mb".
    """
    panels = list[tuple[str, list[Row]]]()
    for variable in dict.fromkeys(row["variable"] for row in rows):
        some = [row for row in rows if row["variable"] == variable and curve(row, measure)]
        for start in range(0, len(some), LINES):
            panels.append((str(variable), some[start : start + LINES]))
    if not panels:
        return None
    drawn = [_panel(some, variable, measure) for variable, some in panels]
    names = {"ms": ("Time", "growth"), "peak_mb": ("Memory", "memory")}
    name, file = names[measure]
    caption = f"{name} over sizes, both logarithmic; dashed, the fitted law."
    if measure == "peak_mb":
        caption = "The most memory that a call added to its process, over sizes."
    return picture(drawn, name=name, caption=caption, file=f"{file}.png")


def _panel(rows: Rows, variable: str, measure: str) -> Figure:
    figure = Figure(figsize=PANEL, layout="constrained")
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        points = curve(row, measure)
        x, y = [p[0] for p in points], [p[1] for p in points]
        colour = SERIES[number % len(SERIES)]
        label = str(row["what"])
        if measure == "ms" and row.get("exponent") is not None:
            label += f": {row['exponent']:.2f}"
            _fitted(axes, row, points, colour)
        axes.plot(x, y, MARKERS[number], color=colour, markersize=4, linestyle="-", linewidth=1.1,
                  label=label)  # fmt: skip
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (0.09 * len(rows)))
    axes.set_xlabel(variable, fontsize=8)
    axes.set_ylabel("time, ms" if measure == "ms" else "peak memory, MB", fontsize=8)
    values = sorted({x for row in rows for x, _ in curve(row, measure)})
    _ticks(axes, values if len(values) <= 8 else None)
    axes.grid(which="major", color=FAINT, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    return figure


def _ticks(axes: Any, values: Sequence[float] | None) -> None:
    """Labels that are numbers a person would write, at the sizes themselves where these are few."""
    low, high = axes.get_ylim()
    subs = (1, 1.5, 2, 3, 5, 7) if high / low < 10 else (1, 2, 5) if high / low < 300 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axis.set_minor_formatter(NullFormatter())
    if values:
        axes.set_xticks(values)
        axes.minorticks_off()
    axes.tick_params(labelsize=7)


def short(value: float) -> str:
    """15000 as 15k, 2000000 as 2M, and what has four digits or fewer as it is."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e4):
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def _fitted(axes: Any, row: Row, points: Sequence[tuple[float, float]], colour: str) -> None:
    """The law through the middle of the points that it was fitted to."""
    start = row.get("from") or points[0][0]
    fitted = [p for p in points if p[0] >= start]
    if len(fitted) < 2:
        return
    anchor = median(y / x ** row["exponent"] for x, y in fitted)
    ends = [fitted[0][0], fitted[-1][0]]
    axes.plot(
        ends,
        [anchor * x ** row["exponent"] for x in ends],
        color=colour,
        linewidth=2.6,
        alpha=0.45,
        linestyle="--",
    )
