"""Sections of the performance page on operators and on time; None where nothing was measured."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from reports import strips, trends
from reports.blocks import (
    Flame,
    Section,
    Table,
    duration,
    ratio_axis,
    ratio_strip,
)
from reports.gate_words import MARKS as GATE_MARKS
from reports.gate_words import Sentence, headline, sentences
from reports.ink import Picture
from reports.roofline import grouped, percent, roofline, share, share_table, where

Row = Mapping[str, Any]
Rows = Sequence[Row]
TOLD = 4
"""Findings of one kind that the head of the page tells; its sections have all."""


def operators(rows: Rows) -> Section | None:
    """Each operator's ratios to torchvision: a summary, those that are slower, and all."""
    peers = [row for row in rows if row.get("ratio")]
    if not rows:
        return None
    named, slower = names(rows), [row for row in peers if row["ratio"][2] < 1]
    blocks: list[Table | Picture | Flame] = []
    found = []
    if peers:
        scale = strips.spanning([r for row in peers for r in row["ratio"]], least=1.1)
        blocks.append(_summary(peers, scale, named))
        if slower:
            slower.sort(key=lambda row: row["ratio"][0])
            table = _timings(slower, named, scale, "Slower than torchvision's")
            blocks.append(table)
        surely = sum(row["ratio"][1] > 1 for row in peers)
        text = f"{surely} of {len(peers)} timings of operators are faster than torchvision's"
        if slower:
            text += f", {len(slower)} slower; the slowest is {named[id(slower[0])]}"
        mark, kind = ("✗", "bad") if slower else ("✓", "good")
        found.append(Sentence(text=text, mark=mark, kind=kind))
    else:
        scale = strips.spanning([])
    blocks.append(_timings(rows, named, scale, f"All {len(rows)} timings"))
    return Section(
        anchor="operators",
        title="Operators against torchvision's",
        says=(
            "One strip for each operator: its middle ratio, from the least to the greatest of its "
            "cases. Answers are compared before and after, and a wrong one is not timed.",
        ),
        findings=tuple(found),
        blocks=tuple(blocks),
    )


def _summary(peers: Rows, scale: strips.Scale, named: Mapping[int, str]) -> Table:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in peers:
        groups.setdefault((str(row.get("operator") or row["workload"]), where(row)), []).append(row)
    lines = []
    for (operator, place), some in sorted(groups.items()):
        middles = sorted(row["ratio"][0] for row in some)
        ends = (float(median(middles)), middles[0], middles[-1])
        least = min(some, key=lambda row: row["ratio"][0])
        lines.append(
            (
                operator,
                place,
                ratio_strip(ends, scale, f"{operator}, {place}"),
                f"{ends[0]:.3g}",
                f"{ends[1]:.3g}",
                f"{ends[2]:.3g}",
                str(len(some)),
                named[id(least)],
            )
        )
    head = ("operator", "on", ratio_axis(scale), "middle", "least", "most", "cases", "least of")
    name = "Times as fast as torchvision's"
    return Table(name=name, head=head, rows=tuple(lines), left=3, words=(7,))


def _timings(rows: Rows, named: Mapping[int, str], scale: strips.Scale, name: str) -> Table:
    lines = []
    for row in rows:
        ratio, near = row.get("ratio"), share(row)
        lines.append(
            (
                named[id(row)],
                f"{row.get('backend', '')}{', graph' if row.get('graph') else ''}, {where(row)}",
                ratio_strip(ratio, scale, named[id(row)]) if ratio else "no peer",
                "{:.3g} ({:.3g} to {:.3g})".format(*ratio) if ratio else "",
                duration(median(row["ours_ms"])),
                duration(median(row["peer_ms"])) if row.get("peer_ms") else "",
                percent(near),
                str(len(row["ours_ms"])),
            )
        )
    head = ("case", "by", ratio_axis(scale), "times as fast", "ours", "torchvision's", "of limit")
    return Table(name=name, head=(*head, "rounds"), rows=tuple(lines), left=3)


def names(rows: Rows, *, cache: bool = True) -> dict[int, str]:
    """What a reader calls each timing: id of the row -> its name, with what tells it apart.

    cache   whether what lay in the cache is said too
    """
    found = {}
    for row in rows:
        plain = [row["workload"], row.get("dtype"), row.get("layout"), row.get("direction")]
        name = row.get("name") or ", ".join(str(part).replace("_", " ") for part in plain if part)
        found[id(row)] = f"{name}, {row['cache']}" if cache and row.get("cache") else name
    return found


def limits(rows: Rows) -> Section | None:
    """How far the operators are from the hardware's limit."""
    groups = grouped(rows)
    if not groups:
        return None
    named = names(rows, cache=False)
    cold = {key: some for key, some in groups.items() if key[2] == "cold"}
    told = cold or groups  # what lies in a cache is judged by a ceiling of its own
    middles = {key: median(share(r) or 0.0 for r in some) for key, some in told.items()}
    near, far = max(middles, key=lambda k: middles[k]), min(middles, key=lambda k: middles[k])
    text = (
        f"Nearest to the hardware's limit: {near[0]} ({percent(middles[near])}, {near[1]}); "
        f"furthest: {far[0]} ({percent(middles[far])}, {far[1]})"
    )
    drawn = roofline(rows)
    return Section(
        anchor="limit",
        title="How far from the hardware's limit",
        says=(
            "The least that a call must move and compute is counted from its actual inputs: each "
            "pixel under the RoIs once, each pair of boxes once. At the rates of a plain copy and "
            "of a product of matrices, measured on this machine, that takes a least time; the "
            "share is that least time over the time taken.",
        ),
        findings=(Sentence(text=text, mark="→", kind=""),),
        blocks=(*([drawn] if drawn else []), share_table(rows, named)),
    )


def over_time(gates: Rows, histories: Rows) -> Section | None:
    """What got slower: the gate's verdicts, and changes of level in the history."""
    if not gates and not histories:
        return None
    found, blocks = list[Sentence](), list[Table | Picture | Flame]()
    says = []
    for gate in gates:
        first = headline(gate)
        found += [Sentence(text=f"Gate: {first.text}", mark=first.mark, kind=first.kind)]
        rows = tuple((f"{s.mark} {s.text}",) for s in sentences(gate))
        if rows:
            blocks.append(Table(name=first.text, head=("verdict",), rows=rows))
    series = [one for history in histories for one in history["series"]]
    changes = trends.change_rows(series)
    if histories:
        runs = sum(history.get("runs", 0) for history in histories)
        says.append(f"{len(series)} series of {runs} runs; {len(changes)} changes of level.")
    if changes:
        head = ("benchmark", "measure", "change", "from commit", "on", "last at the old level")
        blocks.append(Table(name="Changes of level", head=head, rows=tuple(changes), left=2,
                            words=(3, 4, 5)))  # fmt: skip
        found += [_changed(row) for row in changes[:TOLD]]
    if drawn := trends.trend_picture(series):
        blocks.insert(0, drawn)
    return Section(
        anchor="history",
        title="What got slower, and what got faster",
        says=tuple(says),
        findings=tuple(found),
        blocks=tuple(blocks),
    )


def _changed(row: Sequence[str]) -> Sentence:
    faster = row[2].startswith("−")
    text = f"{row[0]}: {row[2]} time since {row[3]}, {row[4]}"
    mark = GATE_MARKS["FASTER" if faster else "SLOWER"]
    return Sentence(text=text, mark=mark, kind="good" if faster else "bad")
