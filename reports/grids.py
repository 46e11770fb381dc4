"""Where each variant reads one object, drawn over it: bins, points and the cells of the map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grid = Mapping[str, Any]
Entry = Mapping[str, Any]
Side = Sequence[float]
CELL, BIN, DOT, BOX = "#FFFFFF", "#56B4E9", "#F0E442", "#D55E00"


def of_image(galleries: Mapping[str, Mapping[str, Any]], i: int) -> dict[str, Grid] | None:
    """Each variant's grid on image i; None unless all have one, of the same object."""
    grids = {name: g["images"][i].get("roi_grid") for name, g in galleries.items()}
    if not all(grids.values()) or len({grid["object"] for grid in grids.values()}) != 1:
        return None
    return grids


def telling(galleries: Mapping[str, Mapping[str, Any]], images: Sequence[int]) -> int | None:
    """Of some images the one whose object the variants read most differently; None if alike."""
    apart = {}
    for i in images:
        grids = of_image(galleries, i)
        if grids is not None:
            apart[i] = spread([places(grid) for grid in grids.values()])
    best = max(apart, key=lambda i: (apart[i], -i), default=None)
    return best if best is not None and apart[best] > 0 else None


def spread(each: Sequence[list[tuple[float, float]]]) -> float:
    """How far apart the mean and the ends of the points lie, in pixels; 0 where all are alike."""
    if all(one == each[0] for one in each):
        return 0.0
    ends = [(*np.min(one, 0), *np.mean(one, 0), *np.max(one, 0)) for one in each if one]
    return float(np.ptp(ends, 0).max()) + 1e-6 if ends else 0.0


def places(grid: Grid) -> list[tuple[float, float]]:
    """The points (x, y) that are read, each once."""
    if "points" in grid:
        found = {(x, y) for x, y in grid["points"]}
    else:
        across = {x for one in grid["x"] for x in one}
        found = {(x, y) for y in {y for one in grid["y"] for y in one} for x in across}
    return sorted(found)


def box_read(grid: Grid) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of all bins together."""
    (x1, x2), (y1, y2) = (_ends(grid[side]) for side in ("columns", "rows"))
    return x1, y1, x2, y2


def _ends(bins: Sequence[Side]) -> tuple[float, float]:
    return min(low for low, _ in bins), max(high for _, high in bins)


def off_by(grid: Grid, box: Side) -> float:
    """How far the farthest edge of what is read lies from the object's own, in pixels."""
    return max(abs(a - b) for a, b in zip(box_read(grid), box, strict=True))


def window(grids: Sequence[Grid], box: Side) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of a square that holds the box and all that is read, and some ground."""
    every = np.array([box, *(box_read(grid) for grid in grids)])
    x1, y1 = every[:, :2].min(0)
    x2, y2 = every[:, 2:].max(0)
    half = 0.56 * max(x2 - x1, y2 - y1)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half, y - half, x + half, y + half


def draw_object(
    axes: Any, image: NDArray[np.uint8], mask: NDArray[np.bool_], box: Side, frame: Side
) -> None:
    """The object enlarged, its outline and its exact box."""
    height, width = image.shape[:2]
    extent = (0, width, height, 0)  # in the coordinates of boxes: pixel i covers [i, i + 1)
    axes.imshow(image, interpolation="nearest", extent=extent, alpha=0.85)
    if mask.any() and not mask.all():
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        axes.contour(x, y, mask, [0.5], colors=[DOT], linewidths=1.0)
    _rectangle(axes, box, color=BOX, linewidth=1.8, linestyle="--")
    axes.set(xlim=(frame[0], frame[2]), ylim=(frame[3], frame[1]), xticks=[], yticks=[])


def draw_cells(axes: Any, grid: Grid, frame: Side) -> None:
    """The borders of the feature map's cells, faintly."""
    for k, line in ((0, axes.axvline), (1, axes.axhline)):
        step, start = grid["stride"][k], grid["origin"][k]
        first = int(np.ceil((frame[k] - start) / step))
        for n in range(first, int((frame[k + 2] - start) / step) + 1):
            line(start + n * step, color=CELL, linewidth=0.6, alpha=0.6)


def draw_reading(axes: Any, grid: Grid) -> None:
    """The bins' borders and the points."""
    x1, y1, x2, y2 = box_read(grid)
    for x in sorted({x for one in grid["columns"] for x in one}):
        axes.plot((x, x), (y1, y2), color=BIN, linewidth=0.6)
    for y in sorted({y for one in grid["rows"] for y in one}):
        axes.plot((x1, x2), (y, y), color=BIN, linewidth=0.6)
    _rectangle(axes, (x1, y1, x2, y2), color=BIN, linewidth=1.4)
    found = places(grid)
    if found:
        size = 9 if len(found) < 250 else 3
        axes.scatter(*zip(*found, strict=True), s=size, c=DOT, edgecolors="black", linewidths=0.3)


def _rectangle(axes: Any, box: Side, **style: Any) -> None:
    x1, y1, x2, y2 = box
    axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], **style)
