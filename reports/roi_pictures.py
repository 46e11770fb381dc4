"""Pictures of one RoI of a trace: where it is read, its scores, its box, its mask, its points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.plot import OKABE_ITO, png
from reports.trace import Trace, decoded
from reports.trace_pictures import (
    PANEL,
    TRUTH,
    around,
    dots,
    ground,
    named,
    outline,
    panels,
    shade,
    zoom,
)

BRANCHES = ("box", "mask", "keypoint")
BIN, DOT, FRAME = OKABE_ITO[5], "#F0E442", OKABE_ITO[1]
FATES = ("overlaps a better one", "detection", "beyond the limit")
FATE_COLOURS = ("#666666", OKABE_ITO[0], OKABE_ITO[4])
CANDIDATES, CLASSES = 300, 10
"""How many candidates and classes are drawn."""


def branches(trace: Trace) -> list[str]:
    """The branches of which the followed RoI's reading is in the trace."""
    return [name for name in BRANCHES if trace.focus and f"{name}_layer" in trace.focus]


def layer_frame(trace: Trace, branch: str) -> tuple[float, float, float, float]:
    """A square around all that a branch reads."""
    assert trace.focus is not None
    frame = [trace.focus[f"{branch}_layer"]["frame"]]
    return around(np.concatenate([frame, trace.arrays[f"{branch}_bins"]]), 0.18)


def layer(trace: Trace) -> bytes:
    """Bins and points of each branch, over the image and over the features."""
    shown = branches(trace)
    assert trace.focus is not None
    titles = []
    for name in shown:
        about = trace.focus[f"{name}_layer"]
        titles += [f"{name} branch, {about['bins']} × {about['bins']} bins"]
        titles += [f"features of stride {about['stride']}"]
    figure, grid = panels(len(titles), (1, 1), titles) if len(titles) != 4 else _four(titles)
    for i, name in enumerate(shown):
        on_image(grid[2 * i], trace, name)
        on_features(grid[2 * i + 1], trace, name)
    _key(figure)
    return png(figure)


def _four(titles: Sequence[str]) -> tuple[Figure, Any]:
    figure = Figure(figsize=(2.6 * PANEL, 2.75 * PANEL), layout="constrained")
    grid = figure.subplots(2, 2).ravel()
    for axes, title in zip(grid, titles, strict=True):
        axes.set(title=title, xticks=[], yticks=[])
        axes.title.set_fontsize(10)
    return figure, grid


def _key(figure: Figure) -> None:
    lines = [
        Line2D([], [], color=FRAME, linewidth=2, linestyle="--", label="box that is read"),
        Line2D([], [], color=BIN, label="bin"),
        Line2D([], [], marker="o", color=DOT, markeredgecolor="black", linestyle="", label="point"),
        Line2D([], [], color="#888888", linewidth=0.6, label="cell of the map"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def on_image(axes: Any, trace: Trace, branch: str) -> None:
    """What a branch reads, over the image."""
    ground(axes, trace, faint=0.75)
    _reading(axes, trace, branch)


def on_features(axes: Any, trace: Trace, branch: str) -> None:
    """What a branch reads, over the root mean square of the features there."""
    assert trace.focus is not None
    x1, y1, x2, y2 = trace.focus[f"{branch}_layer"]["extent"]
    strength = trace.arrays[f"{branch}_features"].astype(float)
    axes.imshow(strength, extent=(x1, x2, y2, y1), cmap="Greys_r", interpolation="nearest")
    _reading(axes, trace, branch)


def _reading(axes: Any, trace: Trace, branch: str) -> None:
    assert trace.focus is not None
    about, frame = trace.focus[f"{branch}_layer"], layer_frame(trace, branch)
    x1, y1, x2, y2 = about["extent"]
    rows, columns = trace.arrays[f"{branch}_features"].shape
    if max(rows, columns) <= 64:
        style = {"colors": "#888888", "linewidth": 0.5, "alpha": 0.7}
        axes.vlines(np.linspace(x1, x2, columns + 1), y1, y2, **style)
        axes.hlines(np.linspace(y1, y2, rows + 1), x1, x2, **style)
    bins, points = trace.arrays[f"{branch}_bins"], trace.arrays[f"{branch}_points"]
    outline(axes, bins, BIN, 0.9)
    size = 12 if len(points) < 250 else 5
    axes.scatter(*points.T, s=size, c=DOT, edgecolors="black", linewidths=0.4, zorder=3)
    outline(axes, about["frame"], FRAME, 2.0, linestyles=["--"])
    zoom(axes, frame)


def scores(trace: Trace) -> bytes:
    """The class probabilities of the RoI, the largest first, background among them."""
    assert trace.focus is not None
    found = trace.arrays["focus_scores"]
    order = np.argsort(-found, kind="stable")[:CLASSES]
    figure = Figure(figsize=(6.4, 0.32 * len(order) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    for y, k in enumerate(order[::-1]):
        mine = k == trace.focus["label"]
        axes.barh(y, found[k], color=OKABE_ITO[0] if mine else "#999999")
        axes.text(found[k] + 0.01, y, f"{found[k]:.3f}", va="center", fontsize=9)
    names = ["background" if k == 0 else trace.label(int(k)) for k in order[::-1]]
    axes.set_yticks(range(len(order)), names)
    floor = trace.about["model"]["detection"]["min_score"]
    axes.axvline(floor, color=OKABE_ITO[1], linestyle="--", linewidth=1.2)
    axes.set(xlim=(0, 1.08), xlabel=f"probability; dashed: min_score {floor:g}")
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def refinement(trace: Trace) -> bytes:
    """From the anchor over the proposal to the decoded box."""
    focus = trace.focus
    assert focus is not None
    steps: list[tuple[str, Any, str, Any]] = [("proposal", focus["proposal"], OKABE_ITO[4], "--")]
    steps += [("decoded box", focus["decoded"], OKABE_ITO[0], "-")]
    if focus["anchor"]:
        name = f"anchor, stride {focus['anchor']['stride']}"
        steps.insert(0, (name, focus["anchor"]["box"], OKABE_ITO[3], ":"))
    figure, grid = panels(1, (1, 1), [""])
    ground(grid[0], trace, faint=0.8)
    frame = around([box for _, box, _, _ in steps])
    for _, box, edge, line in steps:
        outline(grid[0], box, edge, 2.0, linestyles=[line])
    outline(grid[0], [t["box"] for t in trace.truth], TRUTH, 1.2)
    zoom(grid[0], frame)
    lines = [Line2D([], [], color=c, linestyle=s, linewidth=2, label=n) for n, _, c, s in steps]
    lines += [Line2D([], [], color=TRUTH, label="annotated object")] * bool(trace.truth)
    figure.legend(handles=lines, loc="outside right center", frameon=False, fontsize=9)
    figure.set_size_inches(6.4, 1.3 * PANEL)
    return png(figure)


def candidates(trace: Trace) -> bytes:
    """The candidates by what became of them, and the detections that are left."""
    boxes, fate = trace.arrays["candidate_boxes"], trace.arrays["candidate_fate"]
    boxes, fate = boxes[:CANDIDATES], fate[:CANDIDATES]
    titles = [f"candidates: {len(boxes)} drawn", f"detections: {len(trace.detections)}"]
    figure, grid = panels(2, trace.size, titles)
    for axes in grid:
        ground(axes, trace)
    for kind in (0, 2, 1):
        width, line = (0.7, "-") if kind == 0 else (1.3, "--" if kind == 2 else "-")
        outline(grid[0], boxes[fate == kind], FATE_COLOURS[kind], width, linestyles=[line])
    outline(grid[1], [d["box"] for d in trace.detections], FATE_COLOURS[1], 1.3)
    for detection in trace.detections[:12][::-1]:
        text = f"{trace.label(detection['label'])} {detection['score']:.2f}"
        named(grid[1], detection["box"], text)
    lines = [
        Line2D([], [], color=c, linestyle="--" if i == 2 else "-", label=name)
        for i, (name, c) in enumerate(zip(FATES, FATE_COLOURS, strict=True))
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return png(figure)


def mask(trace: Trace) -> bytes:
    """Logits, probabilities, and the pasted mask of the detection that is followed."""
    focus = trace.focus
    assert focus is not None
    logits, likely = trace.arrays["mask_logits"], trace.arrays["mask_probabilities"]
    side = len(logits)
    titles = [f"logits, {side} × {side}", "probabilities", "pasted into the image"]
    figure, grid = panels(3, (1, 1), titles)
    most = max(float(np.abs(logits).max()), 1e-6)
    first = grid[0].imshow(logits, cmap="PuOr_r", norm=TwoSlopeNorm(0, -most, most))
    second = grid[1].imshow(likely, cmap="cividis", vmin=0, vmax=1)
    threshold = focus["mask"]["threshold"]
    if likely.min() < threshold <= likely.max():
        grid[1].contour(likely, [threshold], colors=["white"], linewidths=1.4)
    for axes, drawn in zip(grid, (first, second), strict=False):
        figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.9, pad=0.04)
    detection = trace.detections[focus["detection"]]
    ground(grid[2], trace, faint=0.9)
    shade(grid[2], trace, detection["rle"], OKABE_ITO[0])
    outline(grid[2], detection["box"], FRAME, 1.6, linestyles=["--"])
    zoom(grid[2], around([detection["box"]], 0.2))
    return png(figure)


def area(trace: Trace) -> int:
    """Pixels of the followed detection's mask."""
    assert trace.focus is not None
    return int(decoded(trace.detections[trace.focus["detection"]]["rle"]).sum())


def keypoints(trace: Trace) -> bytes:
    """The heat map of each keypoint, and where it was put."""
    focus, maps = trace.focus, trace.arrays["keypoint_maps"]
    assert focus is not None
    titles = ["on the image", *(f"keypoint {i}" for i in range(1, len(maps) + 1))]
    figure, grid = panels(len(titles), (1, 1), titles)
    detection = trace.detections[focus["detection"]]
    ground(grid[0], trace, faint=0.9)
    outline(grid[0], detection["box"], FRAME, 1.6, linestyles=["--"])
    dots(grid[0], detection["keypoints"], DOT)
    for i, (x, y, _) in enumerate(detection["keypoints"], start=1):
        grid[0].annotate(str(i), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
    zoom(grid[0], around([detection["box"]], 0.2))
    for axes, map_ in zip(grid[1:], maps, strict=True):
        axes.imshow(map_, cmap="cividis")
        y, x = np.unravel_index(int(map_.argmax()), map_.shape)
        axes.plot(x, y, "+", color="white", markersize=9)
    return png(figure)


def beside(traces: Sequence[Trace]) -> bytes:
    """What the same branch of several traces reads, next to each other, at one scale."""
    branch = "mask" if all("mask" in branches(t) for t in traces) else "box"
    frames = np.array([layer_frame(trace, branch) for trace in traces])
    frame = (*frames[:, :2].min(0), *frames[:, 2:].max(0))
    count = len(traces)
    figure = Figure(figsize=(PANEL * 1.3 * count, 2.75 * PANEL), layout="constrained")
    grid = figure.subplots(2, count, squeeze=False)
    for trace, (above, below) in zip(traces, grid.T, strict=True):
        above.set_title(f"{trace.name}: {trace.about['model']['roi_op']['is']}", fontsize=10)
        on_image(above, trace, branch)
        on_features(below, trace, branch)
        for axes in (above, below):
            zoom(axes, frame)
            axes.set(xticks=[], yticks=[])
    _key(figure)
    return png(figure)
