"""The explain page: one image's way through a detector, every stage drawn and said."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reports.explain_sections import compared, said, stages
from reports.page import filled, write
from reports.trace import Trace, load_trace

TEMPLATE = "explain.html.jinja"


def render_explain(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write explain.html of a trace into its folder, or into `out`; returns its path.

    Further traces are put beside the first, where their RoI layers read. The same traces give the
    same bytes. Raises ValueError for a folder that holds no trace.
    """
    traces = [load_trace(folder) for folder in folders]
    place = out or folders[0]
    place.mkdir(parents=True, exist_ok=True)
    return write(place / "explain.html", filled(TEMPLATE, page(traces)))


def page(traces: Sequence[Trace]) -> dict[str, Any]:
    """What the template is filled with."""
    first = traces[0]
    source = first.about["source"]
    found = [*compared(traces), *stages(first)]
    intro = [f"Network: {source.get('network', 'unknown')}{_changes(first)}. All pictures are in "
             "pixels of the image, not of the network's input."]  # fmt: skip
    models = [(t.name, json.dumps(t.about["model"], indent=1, sort_keys=True)) for t in traces]
    return {
        "title": f"{source.get('image', first.name)}: stage by stage",
        "intro": intro,
        "warnings": [line for trace in traces for line in warnings(trace, len(traces) > 1)],
        "sections": found,
        "choices": choices(first),
        "models": models,
    }


def _changes(trace: Trace) -> str:
    made = trace.about["source"].get("changes") or []
    return f" with {', '.join(made)}" if made else ""


def warnings(trace: Trace, several: bool) -> Iterator[str]:
    """What a reader has to know first."""
    name = f"{trace.name}: " if several else ""
    if not trace.about["source"].get("trained", True):
        yield f"{name}The weights are random: what is found means nothing, how it is found does."
    if not trace.detections:
        pairs = trace.about["pairs"]
        why = [f"{count} {reason}" for reason, _, count in trace.about["detection_drops"] if count]
        yield f"{name}Nothing was detected. Of {pairs} pairs of a RoI and a class {'; '.join(why)}."
    for line in trace.about["cut"]:
        yield f"{name}Not all is drawn: {line}."


def choices(trace: Trace) -> list[tuple[str, str]]:
    """The components that a reader asks for first."""
    model, rows = trace.about["model"], []
    for name in ("backbone", "roi_op", "roi_trunk", "box_head", "mask_head", "mask_loss",
                 "keypoint_head", "detection", "paste", "box_convention"):  # fmt: skip
        value = model[name]
        rows.append((name.replace("_", " "), said(value) if value is not None else "none"))
    return rows
