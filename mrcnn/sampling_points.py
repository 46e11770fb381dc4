"""Where a RoI layer reads one box, in image pixels: what a picture of misalignment is drawn from.

A feature is taken to lie at the centre of its cell, [u, u + 1) * stride; what a layer reads beside
the box's own content is then seen beside the box.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.roi_pool.reference import pixels_of_bins
from kernels.roi_warp.reference import rounded_boxes
from mrcnn.boxes import area
from mrcnn.model import MaskRCNN
from mrcnn.roi_ops import AnyRoIOp, CropAndResize, JitteredRoIAlign, RoIAlign, RoIPool, RoIWarp
from mrcnn.roi_ops import roi_levels as levels_of
from mrcnn.structures import Pyramid, Targets
from mrcnn.views import View

Bins = tuple[tuple[float, float], ...]
Points = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The bins and points of one box, in feature cells: cell u covers [u, u + 1), its feature lies
    at u + 1/2.

    columns, rows  where each bin begins and ends, across and down
    x, y           the points of each column and row of bins; a bin has every pair of them
    drawn          bin by bin, row after row, its points (x, y), where they are no such pairs
    """

    columns: Bins
    rows: Bins
    x: Points = ()
    y: Points = ()
    drawn: tuple[tuple[tuple[float, float], ...], ...] = ()

    def points(self, row: int, column: int) -> list[tuple[float, float]]:
        """The points of one bin."""
        if self.drawn:
            return list(self.drawn[row * len(self.columns) + column])
        return [(x, y) for y in self.y[row] for x in self.x[column]]


def reading(
    roi_op: AnyRoIOp,
    box: Tensor,
    *,
    output_size: int,
    spatial_scale: float,
    size: tuple[int, int],
) -> Reading:
    """Where `roi_op` reads `box` (x1, y1, x2, y2 in image pixels) on a map of `size` (h, w).

    Points drawn by chance are those of an image's first box in prediction.
    """
    roi = torch.cat([box.new_zeros(1), box])[None].double()
    if isinstance(roi_op, RoIPool):
        return _pooled(roi, output_size, spatial_scale, size)
    if isinstance(roi_op, CropAndResize):
        return _cropped(box.double(), output_size, spatial_scale, size)
    if isinstance(roi_op, RoIWarp):
        kind = "plain" if roi_op.sampling == "mnc" else roi_op.box
        x1, y1, x2, y2 = rounded_boxes(roi, spatial_scale, kind)[0, 1:].tolist()
        if roi_op.sampling == "mnc":
            return _of_axes(_corners(x1, x2, output_size), _corners(y1, y2, output_size))
        return _regular((x1, y1, x2, y2), output_size, roi_op.sampling_ratio)
    x1, y1, x2, y2 = _scaled(roi_op, box, spatial_scale)
    if isinstance(roi_op, JitteredRoIAlign):
        return _jittered(roi_op, (x1, y1, x2, y2), output_size)
    return _regular((x1, y1, x2, y2), output_size, roi_op.sampling_ratio)


def _regular(box: tuple[float, float, float, float], bins: int, ratio: int | str) -> Reading:
    x1, y1, x2, y2 = box
    return _of_axes(_axis(x1, x2, bins, ratio), _axis(y1, y2, bins, ratio))


def _scaled(
    roi_op: RoIAlign | JitteredRoIAlign, box: Tensor, scale: float
) -> tuple[float, float, float, float]:
    """The box in cells. The legacy takes cells for points: what it reads lies half a cell on."""
    x1, y1, x2, y2 = (box.double() * scale).tolist()
    if roi_op.aligned:
        return x1, y1, x2, y2
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    return x1 + 0.5, y1 + 0.5, x2 + 0.5, y2 + 0.5


def _of_axes(across: tuple[Bins, Points], down: tuple[Bins, Points]) -> Reading:
    return Reading(columns=across[0], x=across[1], rows=down[0], y=down[1])


def _bins(start: float, end: float, bins: int) -> Bins:
    side = (end - start) / bins
    return tuple((start + i * side, start + (i + 1) * side) for i in range(bins))


def _axis(start: float, end: float, bins: int, ratio: int | str) -> tuple[Bins, Points]:
    """Regular points inside each bin: their number given, or one per cell begun."""
    edges = _bins(start, end, bins)
    side = (end - start) / bins
    count = max(0, math.ceil(side)) if isinstance(ratio, str) else ratio
    points = tuple(tuple(a + (i + 0.5) / count * side for i in range(count)) for a, _ in edges)
    return edges, points


def _corners(start: float, end: float, bins: int) -> tuple[Bins, Points]:
    """MNC's: the near edge of each bin, taken for the number of a cell."""
    edges = _bins(start, end, bins)
    return edges, tuple((a + 0.5,) for a, _ in edges)


def _pooled(roi: Tensor, bins: int, scale: float, size: tuple[int, int]) -> Reading:
    """Whole cells: those of a bin that the map has are its points, and bins may share some."""
    x1, y1, x2, y2 = rounded_boxes(roi, scale, "plain")[:, 1:].unbind(1)

    def axis(first: Tensor, last: Tensor, length: int) -> tuple[Bins, Points]:
        inside = pixels_of_bins(first, last, bins, length)[0]
        low = int(first)
        side = max(int(last) - low + 1, 1)
        edges = tuple(
            (float(low + i * side // bins), float(low - (-(i + 1) * side // bins)))
            for i in range(bins)
        )
        return edges, tuple(tuple(u + 0.5 for u in row.nonzero()[:, 0].tolist()) for row in inside)

    return _of_axes(axis(x1, x2, size[1]), axis(y1, y2, size[0]))


def _cropped(box: Tensor, bins: int, scale: float, size: tuple[int, int]) -> Reading:
    """One point per bin, the first and the last on the box's own corners as `CropAndResize` says;
    a bin is drawn around its point.
    """

    def axis(low: float, high: float, length: int) -> tuple[Bins, Points]:
        step = (length - 1) / (length / scale - 1)
        start, end = low * step, (high - 1) * step
        side = (end - start) / max(bins - 1, 1)
        at = [(start + end) / 2] if bins == 1 else [start + i * side for i in range(bins)]
        half = max(side, 0.0) / 2
        edges = tuple((u + 0.5 - half, u + 0.5 + half) for u in at)
        return edges, tuple((u + 0.5,) for u in at)

    x1, y1, x2, y2 = box.tolist()
    return _of_axes(axis(x1, x2, size[1]), axis(y1, y2, size[0]))


def _jittered(
    roi_op: JitteredRoIAlign, box: tuple[float, float, float, float], bins: int
) -> Reading:
    x1, y1, x2, y2 = box
    columns, rows = _bins(x1, x2, bins), _bins(y1, y2, bins)
    places = roi_op.drawn([1], bins, None).places[0].double()  # (points, y and x, row, column)
    drawn = tuple(
        tuple((left + float(x) * (right - left), top + float(y) * (bottom - top)) for y, x in one)
        for (top, bottom), line in zip(rows, places.permute(2, 3, 0, 1), strict=True)
        for (left, right), one in zip(columns, line, strict=True)
    )
    return Reading(columns=columns, rows=rows, drawn=drawn)


def roi_grid(model: MaskRCNN, targets: Targets, seen: View) -> dict[str, Any] | None:
    """Where the mask branch (else the box branch) reads one object of an image, to be drawn.

    The object is that of median area, whatever the network found. JSON, in pixels of the image:
    "object" its place among the targets; "stride" in x and y and "origin" of the feature grid;
    "columns", "rows", and "x" and "y" or "points" as in `Reading`.
    None without objects.
    """
    if not len(targets):
        return None
    chosen = int(area(targets.boxes).argsort(stable=True)[len(targets) // 2])
    config = model.config
    box = model.frames([seen.entered(targets.boxes[chosen][None])])[0]
    pixels = model.images([seen.image]).pixels.shape[-2:]
    stride = _stride(model, box, (pixels[0], pixels[1]))
    size = (-(-pixels[0] // stride), -(-pixels[1] // stride))
    bins = config.mask_roi_size or config.box_roi_size
    found = reading(
        config.roi_op, box[0].cpu(), output_size=bins, spatial_scale=1 / stride, size=size
    )
    return {"object": chosen} | _in_image(found, seen, stride)


def _stride(model: MaskRCNN, box: Tensor, pixels: tuple[int, int]) -> int:
    """Of the level that the box is read from."""
    strides = tuple(model.backbone.strides)
    levels: int = getattr(model.backbone, "roi_levels", 1)
    empty = Pyramid((), strides, levels, pixels)
    rois = torch.cat([box.new_zeros(1, 1), box], 1)
    config = model.config
    return strides[int(levels_of(empty, rois, config.canonical_side, config.levels)[0])]


def _in_image(found: Reading, seen: View, stride: int) -> dict[str, Any]:
    """A reading in pixels of the image, rounded to hundredths."""
    x1, y1, x2, y2 = seen.frame
    height, width = seen.size
    per_x, per_y = width / (x2 - x1), height / (y2 - y1)

    def moved(values: Sequence[float], start: float, scale: float) -> list[float]:
        return [round((v * stride - start) * scale, 2) for v in values]

    grid: dict[str, Any] = {
        "stride": [round(stride * per_x, 4), round(stride * per_y, 4)],
        "origin": [round(-x1 * per_x, 2), round(-y1 * per_y, 2)],
        "columns": [moved(edges, x1, per_x) for edges in found.columns],
        "rows": [moved(edges, y1, per_y) for edges in found.rows],
    }
    if not found.drawn:
        grid["x"] = [moved(points, x1, per_x) for points in found.x]
        grid["y"] = [moved(points, y1, per_y) for points in found.y]
        return grid
    points = [point for one in found.drawn for point in one]
    across = moved([x for x, _ in points], x1, per_x)
    down = moved([y for _, y in points], y1, per_y)
    grid["points"] = [list(pair) for pair in zip(across, down, strict=True)]
    return grid
