"""Sections of the performance page on the detector; None where nothing was measured."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from reports import strips
from reports.blocks import (
    Cell,
    Flame,
    Part,
    Section,
    Table,
    duration,
    hues,
    ratio_axis,
    ratio_strip,
)
from reports.gate_words import Sentence
from reports.ink import Picture
from reports.roofline import percent, where

Row = Mapping[str, Any]
Rows = Sequence[Row]
WHOLE, REST = ("the whole", "whole", "total"), ("the rest", "rest")
TOLD = 4
"""Findings of one kind that the head of the page tells; its sections have all."""
SLOWEST = 9
"""PyTorch operators that a bar names; the others are one part of it."""


def contests(rows: Rows) -> Section | None:
    """The detector against torchvision's, and with our kernels against with torchvision's."""
    if not rows:
        return None
    scale = strips.spanning([r for row in rows for r in row["ratio"]], least=1.1)
    lines = []
    for row in rows:
        middle, low, high = row["ratio"]
        lines.append(
            (
                row["name"],
                f"{where(row)}, {row.get('precision') or 'fp32'}",
                ratio_strip(row["ratio"], scale, row["name"]),
                f"{middle:.3g} ({low:.3g} to {high:.3g})",
                duration(median(row["ours_ms"])),
                duration(median(row["peer_ms"])),
                str(row.get("same") or ""),
            )
        )
    head = (
        "work",
        "on",
        ratio_axis(scale),
        "times as fast",
        "ours",
        "torchvision's",
        "how far apart",
    )
    table = Table(name="The detector", head=head, rows=tuple(lines), left=3, words=(6,))
    return Section(
        anchor="detector",
        title="The detector against torchvision's",
        says=(
            "Each round times ours and torchvision's in turn on the same inputs. The ratio is the "
            "median over rounds, with the interval that holds the true median with 95 % "
            "confidence. Right of 1, ours is faster.",
        ),
        findings=tuple(_contest(row) for row in rows[:TOLD]),
        blocks=(table,),
    )


def _contest(row: Row) -> Sentence:
    middle, low, high = row["ratio"]
    what = f"{row['name']}, {where(row)}, {row.get('precision') or 'fp32'}"
    text = f"{what}: {middle:.3g} times as fast as torchvision's ({low:.3g} to {high:.3g})"
    return _judged(text, low, high)


def _judged(text: str, low: float, high: float) -> Sentence:
    if low > 1:
        return Sentence(text=text, mark="✓", kind="good")
    if high < 1:
        return Sentence(text=text, mark="✗", kind="bad")
    return Sentence(text=text, mark="≈", kind="open")


def stages(rows: Rows, profiled: Rows = ()) -> Section | None:
    """Where the detector's time goes: flame bars, those of one pass on one scale, and a table; and
    a bar of PyTorch's operators for each run that was profiled.
    """
    if not rows and not profiled:
        return None
    images = {str(row["model"]): int(row.get("images") or 1) for row in rows}
    passes: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        place = f"{where({'device': 'cpu', **row})}, {row.get('precision') or 'fp32'}"
        model = passes.setdefault((str(row["pass"]), place), {}).setdefault(str(row["model"]), {})
        model[str(row["stage"])] = float(median(row["ms"]))
    colours = hues([str(row["stage"]) for row in rows if row["stage"] not in WHOLE])
    blocks: list[Table | Picture | Flame] = []
    found = []
    for (task, place), models in passes.items():
        longest = max(map(_whole, models.values()))
        flames = [
            _flame(f"{m}: {task}, {place}", s, colours, longest, images[m])
            for m, s in models.items()
        ]
        blocks += flames
        first = flames[0]
        most = max(first.parts, key=lambda part: part.share)
        text = f"{first.name}: {first.whole}; {percent(most.share)} of it in {most.name}"
        found.append(Sentence(text=text, mark="→", kind=""))
        blocks.append(_stage_table(task, place, models))
    return Section(
        anchor="stages",
        title="Where the detector's time goes",
        says=(
            "A bar is one run from left to right, as wide as its time; bars of one task share a "
            "scale. Stages are timed one by one, the whole in one piece beside them: what the "
            "stages do not account for is “the rest”.",
        ),
        findings=tuple(found[:TOLD]),
        blocks=(*blocks, *profiles(profiled)),
    )


def _whole(stages_ms: Mapping[str, float]) -> float:
    whole = [ms for name, ms in stages_ms.items() if name in WHOLE]
    return whole[0] if whole else sum(stages_ms.values())


def _flame(
    name: str, found: Mapping[str, float], colours: Mapping[str, str], longest: float, images: int
) -> Flame:
    whole = _whole(found)
    parts = tuple(
        Part(name=stage, took=duration(ms) if ms >= 0 else f"−{duration(-ms)}",
             share=ms / whole, hue=colours[stage])
        for stage, ms in found.items()
        if stage not in WHOLE
    )  # fmt: skip
    rate = f"{duration(whole)}, {1e3 * images / whole:.3g} images/s"
    return Flame(name=name, whole=rate, parts=parts, width=whole / longest)


def _stage_table(task: str, place: str, models: Mapping[str, Mapping[str, float]]) -> Table:
    every = list(dict.fromkeys(stage for found in models.values() for stage in found))
    every.sort(key=lambda stage: (stage in WHOLE, stage in REST))
    lines = []
    for stage in every:
        cells = [stage]
        for found in models.values():
            ms = found.get(stage)
            part = "" if ms is None else percent(ms / _whole(found)) if ms >= 0 else "−"
            cells += ["" if ms is None else f"{ms:.4g}", part]
        lines.append(tuple(cells))
    head = ["stage", *(h for model in models for h in (f"{model}, ms", "share"))]
    return Table(name=f"{task}, {place}", head=tuple(head), rows=tuple(lines))


def profiles(rows: Rows) -> list[Flame]:
    """A bar for each profiled run: the slowest of PyTorch's operators, all others together."""
    runs: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        runs.setdefault((str(row["model"]), str(row["pass"]), row["threads"]), []).append(row)
    flames = []
    for (model, task, threads), some in runs.items():
        ordered = sorted(some, key=lambda row: -row["ms"])
        total, left = sum(row["ms"] for row in some), ordered[SLOWEST:]
        parts = [
            Part(name=row["operator"].removeprefix("aten::"), took=duration(row["ms"]),
                 share=row["ms"] / total, hue=f"t{i}")
            for i, row in enumerate(ordered[:SLOWEST])
        ]  # fmt: skip
        if left:
            ms = sum(row["ms"] for row in left)
            name = f"{len(left)} others"
            parts.append(Part(name=name, took=duration(ms), share=ms / total, hue="rest"))
        place = where({"device": "cpu", "threads": threads})
        name = f"{model}: {task} by PyTorch’s operators, {place}"
        flames.append(Flame(name=name, whole=duration(total), parts=tuple(parts)))
    return flames


def processes(rows: Rows) -> Section | None:
    """Memory and time to the first result of fresh processes."""
    if not rows:
        return None
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (row["task"], row["who"], row["threads"], bool(row.get("compiled", True)))
        groups.setdefault(key, []).append(row)
    most = max(float(row["peak_mb"]) for row in rows)
    lines = []
    for (task, who, threads, compiled), some in groups.items():
        peak = float(median(row["peak_mb"] for row in some))
        seconds = [float(row["first_result_s"]) for row in some]
        lines.append(
            (
                f"{task}, {who}",
                where({"device": "cpu", "threads": threads}),
                Cell(f"{peak:.0f} MiB", strips.meter(peak / most) + f"{peak:.0f} MiB"),
                f"{median(seconds):.3g} s",
                f"{min(seconds):.3g} to {max(seconds):.3g} s" if len(seconds) > 1 else "",
                "" if compiled else "kernels are compiled first",
            )
        )
    head = ("run", "on", "memory at the peak", "first result", "least to most", "note")
    table = Table(name="Fresh processes", head=head, rows=tuple(lines), left=3, words=(5,))
    return Section(
        anchor="memory",
        title="Memory, and time to the first result",
        says=(
            "Each in a fresh process: the most memory it had, and the seconds from the start of "
            "Python to the first result, imports and reading of weights included. Medians.",
        ),
        blocks=(table,),
    )


def throughput(rows: Rows) -> Section | None:
    """Images a second of what feeds and what scores the detector."""
    if not rows:
        return None
    rates = [float(median(_list(row["images_per_s"]))) for row in rows]
    lines = []
    for row, rate in zip(rows, rates, strict=True):
        text = f"{rate:.3g} images/s"
        workers = row.get("workers")
        note = "" if workers is None else f"{workers} workers"
        lines.append((str(row["what"]), note, Cell(text, strips.meter(rate / max(rates)) + text)))
    table = Table(name="Rates", head=("what", "with", "images a second"), rows=tuple(lines), left=3)
    return Section(
        anchor="throughput",
        title="Loading and scoring",
        says=("What must keep up with the detector: reading images, and evaluating detections.",),
        blocks=(table,),
    )


def precision(rows: Rows) -> Section | None:
    """What a lower precision costs in answers."""
    tables = []
    for row in rows:
        name = f"{row.get('model', '')}, {row.get('precision', '')}".strip(", ")
        cells = [(k, _told(v)) for k, v in row.items() if k not in ("model", "precision")]
        lines = tuple((key.replace("_", " "), text) for key, text in cells)
        tables.append(Table(name=name, head=("measure", "value"), rows=lines, left=2))
    if not tables:
        return None
    return Section(
        anchor="precision",
        title="What a lower precision costs",
        says=(
            "Detections matched one to one with those in fp32. Of three numbers the first is the "
            "median, the second 95 % (of overlaps: 5 %), the third the worst.",
        ),
        blocks=tuple(tables),
    )


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_told(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_told, value))
    return str(value)


def _list(value: float | Iterable[float]) -> list[float]:
    return [value] if isinstance(value, (int, float)) else list(value)
