"""How far each operator is from what the machine can do: a roofline, and shares of it.

The ceilings are measured on the same machine: the rate of a plain copy and the rate of a product of
matrices. No call can move its bytes faster than the one, or compute its operations faster than the
other, so that the slower of the two is the least time, and its share of the time taken is how near
the kernel is to the speed of light. Source: Williams, Waterman and Patterson 2009, "Roofline: An
insightful visual performance model".
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from reports.blocks import Cell, Table
from reports.ink import FAINT, SERIES, Picture, picture
from reports.plot import MARKERS
from reports.strips import meter

Row = Mapping[str, Any]


def limit(row: Row) -> float | None:
    """The least milliseconds that a call could take; None where nothing was counted."""
    times = []
    if row.get("bytes") and row.get("roof"):
        times.append(row["bytes"] / row["roof"])
    if row.get("operations") and row.get("flops_roof"):
        times.append(row["operations"] / row["flops_roof"])
    return 1e3 * max(times) if times else None


def share(row: Row) -> float | None:
    """The least time as a share of the time taken, above 1 where a cache is faster than a copy."""
    least = limit(row)
    if least is None or row.get("of_light") is not None:
        return row.get("of_light", row.get("of_roof"))
    return least / float(median(row["ours_ms"]))


def bound(row: Row) -> str:
    """Which ceiling is the lower one for a call: "memory" or "arithmetic"."""
    if row.get("operations") and row.get("flops_roof") and row.get("bytes") and row.get("roof"):
        computing = row["operations"] / row["flops_roof"] > row["bytes"] / row["roof"]
        return "arithmetic" if computing else "memory"
    return "memory"


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows with a share by operator, by where they ran, and by what lay in the cache."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if share(row) is not None:
            key = (str(row.get("operator") or row["workload"]), where(row), cache(row))
            found.setdefault(key, []).append(row)
    return found


def where(row: Row) -> str:
    """The device, or the number of threads of a CPU."""
    count = row["threads"]
    return f"{count} thread{'s' * (count > 1)}" if row["device"] == "cpu" else str(row["device"])


def cache(row: Row) -> str:
    """What lay in the cache when the call began, as far as it is known."""
    return str(row.get("cache") or "inputs not used before")


def share_table(rows: Sequence[Row], named: Mapping[int, str]) -> Table:
    """One row for each operator and place, the furthest from the limit first.

    named   id of a row -> what a reader calls it, its cache aside
    """
    groups = grouped(rows)
    lines = []
    for (operator, place, state), some in sorted(groups.items(), key=lambda g: _middle(g[1])):
        ordered = sorted(some, key=lambda row: share(row) or 0.0)
        worst, best, middle = ordered[0], ordered[-1], _middle(some)
        lines.append(
            (
                operator,
                place,
                state,
                Cell(percent(middle), meter(middle) + percent(middle)),
                percent(share(worst)),
                named[id(worst)],
                percent(share(best)),
                bound(worst),
                str(len(some)),
            )
        )
    head = ("operator", "on", "cache", "middle", "least", "of", "most", "bound by", "cases")
    return Table(
        name="Share of the hardware's limit", head=head, rows=tuple(lines), left=3, words=(5, 7)
    )


def percent(value: float | None) -> str:
    """A share in percent; two digits are as many as it deserves."""
    return "" if value is None else f"{100 * value:.2g} %" if value < 1 else f"{100 * value:.0f} %"


def _middle(rows: Sequence[Row]) -> float:
    return float(median(share(row) or 0.0 for row in rows))


def roofline(rows: Sequence[Row]) -> Picture | None:
    """Rates over intensities with both ceilings, a panel for each place; None where no row has
    bytes, operations and both ceilings.
    """
    needed = ("bytes", "operations", "roof", "flops_roof")
    whole = [row for row in rows if all(row.get(name) for name in needed)]
    if not whole:
        return None
    places = list(dict.fromkeys(where(row) for row in whole))
    operators = list(dict.fromkeys(str(row.get("operator")) for row in whole))
    panels = [
        _panel([row for row in whole if where(row) == place], operators, place) for place in places
    ]
    caption = (
        "Each mark is one operator on one input: how many operations it does a second, over how "
        "many it has to do for each byte it must move. Lines are what this machine can do: moving "
        "bytes (rising) and computing (level). The further below the line, the more could be won. "
    )
    states = {cache(row) for row in whole}
    if len(states) > 1:
        caption += "Filled marks: inputs in the cache; hollow: not, so they cannot pass the line."
    return picture(panels, name="Roofline", caption=caption, file="roofline.png")


def _panel(rows: Sequence[Row], operators: Sequence[str], place: str) -> Figure:
    figure = Figure(figsize=(4.2, 3.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(place, fontsize=9, loc="left")
    _ceilings(axes, rows)
    for row in sorted(rows, key=lambda row: row.get("cache") == "cold"):
        operator = str(row.get("operator"))
        number = operators.index(operator)
        colour = SERIES[number % len(SERIES)]
        axes.plot(
            row["operations"] / row["bytes"],
            row["operations"] / median(row["ours_ms"]) / 1e6,
            MARKERS[number % len(MARKERS)],
            color=colour,
            markerfacecolor="none" if row.get("cache") == "cold" else colour,
            markersize=4.5,
            linestyle="none",
            label=operator,
        )
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("operations for each byte", fontsize=8)
    axes.set_ylabel("10⁹ operations a second", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(which="major", color=FAINT, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    marks, labels = axes.get_legend_handles_labels()
    handles = dict(zip(labels[::-1], marks[::-1], strict=True))  # the first of each stays
    handles = dict(sorted(handles.items(), key=lambda one: operators.index(one[0])))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3,
                  frameon=False, fontsize=7)  # fmt: skip
    return figure


def _ceilings(axes: Any, rows: Sequence[Row]) -> None:
    """What the machine can do: a line for each pair of ceilings, with its rates."""
    intensities = [row["operations"] / row["bytes"] for row in rows]
    ends = np.geomspace(min(*intensities, 0.3) / 2, max(*intensities, 30) * 2, 100)
    roofs = dict.fromkeys((_two(r["roof"]), _two(r["flops_roof"]), r["dtype"]) for r in rows)
    for number, (moved, computed, dtype) in enumerate(roofs):
        rates = np.minimum(ends * moved, computed) / 1e9
        axes.plot(ends, rates, color="black", linewidth=1.1, linestyle=("-", "--", ":")[number % 3])
        if number == 0 or len({c for _, c, _ in roofs}) > 1:
            text = f"{computed / 1e9:.3g} Gop/s, {dtype}"
            axes.annotate(text, (ends[-1], rates[-1]), (0, 3), textcoords="offset points",
                          fontsize=7, ha="right")  # fmt: skip
    moved = next(iter(roofs))[0]
    text = f"{moved / 1e9:.3g} GB/s"
    axes.annotate(text, (ends[0], ends[0] * moved / 1e9), (9, 0), textcoords="offset points",
                  fontsize=7)  # fmt: skip


def _two(value: float) -> float:
    """Two digits: ceilings measured twice are one line."""
    return float(f"{value:.2g}")
