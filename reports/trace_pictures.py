"""Pictures of a trace up to the proposals, and what all pictures of a trace are drawn with.

All axes are in pixels of the image: pixel i covers [i, i + 1).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from reports.plot import OKABE_ITO, png
from reports.trace import Trace, decoded

STROKES = ("-", "--", "-.", ":", (0, (1, 1)))
TRUTH = "#000000"
ACROSS, PANEL = 3, 3.1
"""Panels in a row, and the width of one in inches."""
BEST = 10
"""Detections that are drawn and listed."""
DRAWN = 120
"""Boxes of a kind in one picture: of more, none could be told from the others."""


def colour(level: int) -> str:
    """Of a level of the pyramid."""
    return OKABE_ITO[level % (len(OKABE_ITO) - 1)]


def stroke(level: int) -> Any:
    """So that levels differ without colour too."""
    return STROKES[level % len(STROKES)]


def panels(count: int, shape: tuple[float, float], titles: Sequence[str]) -> tuple[Figure, Any]:
    """So many pictures of the shape (height, width) in rows of ACROSS."""
    across = min(count, ACROSS)
    rows = -(-count // across)
    wide = PANEL if count > 2 else 1.3 * PANEL
    tall = min(max(wide * shape[0] / shape[1], 0.6 * wide), 1.6 * wide) + 0.35
    figure = Figure(figsize=(wide * across, tall * rows), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure, grid[:count]


def ground(axes: Any, trace: Trace, *, faint: float = 0.55) -> None:
    """The image itself, faint enough for lines to be seen on it."""
    height, width = trace.size
    axes.imshow(trace.image, extent=(0, width, height, 0), alpha=faint, interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0))


def outline(axes: Any, boxes: Any, edge: str, width: float = 1.0, **style: Any) -> None:
    """Boxes as rectangles without a filling."""
    rows = np.asarray(boxes, float).reshape(-1, 4)
    corners = np.stack([rows[:, [0, 1]], rows[:, [2, 1]], rows[:, [2, 3]], rows[:, [0, 3]]], 1)
    axes.add_collection(
        PolyCollection(list(corners), facecolors="none", edgecolors=edge, linewidths=width, **style)
    )


def named(axes: Any, box: Sequence[float], text: str, ground: str = "black") -> None:
    """A name at the upper left corner of a box, kept inside the axes."""
    left, right = sorted(axes.get_xlim())
    top, bottom = sorted(axes.get_ylim())
    x, y = min(max(box[0], left), right), min(max(box[1], top), bottom)
    place = {"va": "top" if y - top < 0.06 * (bottom - top) else "bottom"}
    place |= {"ha": "right" if right - x < 0.15 * (right - left) else "left"}
    patch = {"facecolor": ground, "alpha": 0.75, "pad": 1.0, "edgecolor": "none"}
    axes.text(x, y, text, fontsize=7, color="white", bbox=patch, clip_on=True, **place)


def reach(trace: Trace, boxes: Any, margin: float = 0.08) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of the image and all boxes together, and some room."""
    height, width = trace.size
    rows = np.concatenate([np.asarray(boxes, float).reshape(-1, 4), [[0, 0, width, height]]])
    x1, y1 = rows[:, :2].min(0)
    x2, y2 = rows[:, 2:].max(0)
    room = margin * max(x2 - x1, y2 - y1)
    return x1 - room, y1 - room, x2 + room, y2 + room


def around(boxes: Any, margin: float = 0.35) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of a square around boxes."""
    rows = np.asarray(boxes, float).reshape(-1, 4)
    (x1, y1), (x2, y2) = rows[:, :2].min(0), rows[:, 2:].max(0)
    half = (0.5 + margin) * max(x2 - x1, y2 - y1, 2.0)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half, y - half, x + half, y + half


def zoom(axes: Any, frame: Sequence[float]) -> None:
    """Show only what lies in a frame."""
    axes.set(xlim=(frame[0], frame[2]), ylim=(frame[3], frame[1]))


def results(trace: Trace) -> bytes:
    """The final detections, and the annotated objects beside them."""
    titles = ["detections"] + ["annotated objects"] * bool(trace.truth)
    figure, grid = panels(len(titles), trace.size, titles)
    found = [
        (d, f"{i}: {trace.label(d['label'])} {d['score']:.2f}")
        for i, d in enumerate(trace.detections)
    ]
    known = [(t, trace.truth_label(t["label"])) for t in trace.truth]
    for axes, objects in zip(grid, (found[:BEST], known), strict=False):
        ground(axes, trace, faint=0.9)
        for i, (one, text) in reversed(list(enumerate(objects))):
            shade(axes, trace, one["rle"], colour(i))
            outline(axes, one["box"], colour(i), 1.4, linestyles=[stroke(i // 6)])
            dots(axes, one.get("keypoints"), colour(i))
            named(axes, one["box"], text)
    return png(figure)


def shade(axes: Any, trace: Trace, rle: Any, tint: str, alpha: float = 0.45) -> None:
    """A mask of the image, if there is one."""
    if not rle:
        return
    mask = decoded(rle)
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = (*(int(tint[i : i + 2], 16) / 255 for i in (1, 3, 5)), alpha)
    height, width = trace.size
    axes.imshow(layer, extent=(0, width, height, 0), interpolation="nearest")
    if mask.any() and not mask.all():
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        axes.contour(x, y, mask, [0.5], colors=[tint], linewidths=1.0)


def dots(axes: Any, keypoints: Any, tint: str) -> None:
    """Keypoints x, y, score, if there are any."""
    if keypoints:
        x, y, _ = np.asarray(keypoints).T
        axes.scatter(x, y, s=22, c=tint, edgecolors="black", linewidths=0.6, zorder=3)


def network_input(trace: Trace) -> bytes:
    """The image as given, and as the network reads it, with the edge of the image in it."""
    network = trace.about["network"]
    titles = [f"image, {trace.size[1]} × {trace.size[0]}"]
    titles += [f"network's input, {network['padded'][1]} × {network['padded'][0]}"]
    figure, grid = panels(2, trace.size, titles)
    ground(grid[0], trace, faint=1.0)
    height, width = network["padded"]
    pixels = trace.arrays["network"]
    grid[1].imshow(pixels, extent=(0, width, height, 0), interpolation="nearest")
    outline(grid[1], network["frame"], OKABE_ITO[1], 2.0, linestyles=["--"])
    grid[1].set(xlim=(-0.01 * width, 1.01 * width), ylim=(1.01 * height, -0.01 * height))
    return png(figure)


def anchor_cells(trace: Trace) -> bytes:
    """The anchors of one cell in the middle of each level's map."""
    levels = trace.about["anchors"]
    every = [trace.arrays[f"anchors_cell_{i}"] for i in range(len(levels))]
    frame = reach(trace, np.concatenate(every))
    titles = [f"stride {one['stride']}: {len(b)} anchors a cell"
              for one, b in zip(levels, every, strict=True)]  # fmt: skip
    figure, grid = panels(len(levels), (frame[3] - frame[1], frame[2] - frame[0]), titles)
    for i, (axes, boxes) in enumerate(zip(grid, every, strict=True)):
        ground(axes, trace)
        outline(axes, boxes, colour(i), 1.5)
        centre = (boxes[0, :2] + boxes[0, 2:]) / 2
        axes.plot(*centre, "+", color="black", markersize=9)
        zoom(axes, frame)
    return png(figure)


def anchor_matches(trace: Trace) -> bytes | None:
    """The positive anchors by level, and the ignored ones, over the objects."""
    if not trace.truth:
        return None
    positive, level = trace.arrays["positive_anchors"], trace.arrays["positive_level"]
    ignored = trace.arrays["ignored_anchors"]
    titles = [f"{len(positive)} positive, by level", f"{len(ignored)} ignored"]
    frame = reach(trace, positive)
    figure, grid = panels(2, (frame[3] - frame[1], frame[2] - frame[0]), titles)
    for axes in grid:
        ground(axes, trace)
        outline(axes, [t["box"] for t in trace.truth], TRUTH, 2.2)
        zoom(axes, frame)
    strides = [one["stride"] for one in trace.about["anchors"]]
    for i in np.unique(level):
        outline(grid[0], positive[level == i], colour(i), 1.3, linestyles=[stroke(i)])
    outline(grid[1], ignored, "#666666", 0.5, alpha=0.4)
    lines = [Line2D([], [], color=TRUTH, linewidth=2.2, label="object")]
    lines += [
        Line2D([], [], color=colour(i), linestyle=stroke(i), label=f"anchor, stride {strides[i]}")
        for i in np.unique(level)
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return png(figure)


def objectness(trace: Trace) -> bytes:
    """The largest objectness of the anchors of each cell, level by level."""
    levels = trace.about["anchors"]
    titles = [f"stride {one['stride']}: {one['map'][1]} × {one['map'][0]} cells" for one in levels]
    figure, grid = panels(len(levels), trace.size, titles)
    drawn: Any = None
    for i, (axes, one) in enumerate(zip(grid, levels, strict=True)):
        x1, y1, x2, y2 = one["extent"]
        map_ = trace.arrays[f"objectness_{i}"].astype(float)
        style = {"cmap": "cividis", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
        drawn = axes.imshow(map_, extent=(x1, x2, y2, y1), **style)
        height, width = trace.size
        axes.set(xlim=(0, width), ylim=(height, 0))
        outline(axes, [t["box"] for t in trace.truth], "white", 1.2, linestyles=["--"])
    figure.colorbar(drawn, ax=list(grid), label="objectness", shrink=0.8)
    return png(figure)


def suppression(trace: Trace) -> bytes:
    """Decoded anchors before NMS, by what became of them, and the proposals."""
    best = of_each(trace.arrays["before_level"])
    boxes, fate = trace.arrays["before_boxes"][best], trace.arrays["before_fate"][best]
    final = trace.arrays["proposals"][:DRAWN]
    titles = [f"before NMS: {len(boxes)} of them", f"proposals: {len(final)} of them"]
    figure, grid = panels(2, trace.size, titles)
    for axes in grid:
        ground(axes, trace)
    outline(grid[0], boxes[fate == 0], "#666666", 0.5, alpha=0.45)
    outline(grid[0], boxes[fate == 2], OKABE_ITO[4], 0.6, alpha=0.6, linestyles=["--"])
    outline(grid[0], boxes[fate == 1], OKABE_ITO[0], 0.9)
    outline(grid[1], final, OKABE_ITO[0], 0.9)
    for axes in grid:
        outline(axes, [t["box"] for t in trace.truth], TRUTH, 2.0)
    kinds: list[tuple[str, str, Any]] = [
        ("overlaps a better one", "#666666", "-"),
        ("beyond the limit", OKABE_ITO[4], "--"),
        ("proposal", OKABE_ITO[0], "-"),
    ]
    kinds += [("object", TRUTH, "-")] * bool(trace.truth)
    lines = [Line2D([], [], color=c, linestyle=s, label=name) for name, c, s in kinds]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return png(figure)


def of_each(level: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of at most DRAWN boxes, the first ones of each level."""
    groups = np.unique(level)
    share = DRAWN // max(len(groups), 1)
    rows = [np.flatnonzero(level == i)[:share] for i in groups]
    return np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)


def levels(trace: Trace) -> bytes:
    """The size of each proposal against the level it is read from, and the proposals by level."""
    network = trace.about["network"]
    strides = network["strides"][: network["roi_levels"]]
    side, level = trace.arrays["roi_side"], trace.arrays["roi_level"]
    figure = Figure(figsize=(2.6 * PANEL, 1.25 * PANEL), layout="constrained")
    plot, picture = figure.subplots(1, 2)
    for i in range(len(strides)):
        here = side[level == i]
        spread = i + 0.5 * ((np.arange(len(here)) * 0.618) % 1 - 0.5)
        plot.scatter(here, spread, s=12, color=colour(i), marker="osD^v"[i % 5], alpha=0.8)
        boxes = trace.arrays["proposals"][level == i][: DRAWN // len(strides)]
        outline(picture, boxes, colour(i), 0.9, linestyles=[stroke(i)])
    for i in range(1, len(strides)):
        at = network["canonical_side"] * strides[i] / 16
        plot.axvline(at, color="#666666", linestyle=":", linewidth=1.2)
        plot.text(at, len(strides) - 0.45, f"{at:g}", ha="center", fontsize=8)
    plot.set_xscale("log", base=2)
    plot.set_yticks(range(len(strides)), [f"stride {stride}" for stride in strides])
    plot.set_ylim(-0.6, len(strides) - 0.25)
    plot.set_xlabel("√(width × height) in the network's pixels")
    plot.xaxis.set_major_formatter("{x:g}")
    plot.spines[["top", "right"]].set_visible(False)
    ground(picture, trace)
    picture.set_xticks([])
    picture.set_yticks([])
    lines = [
        Line2D([], [], color=colour(i), linestyle=stroke(i),
               label=f"stride {s}: {int((level == i).sum())} RoIs")
        for i, s in enumerate(strides)
    ]  # fmt: skip
    figure.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return png(figure)
