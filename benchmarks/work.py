"""What a call must do at least: the bytes it moves and the operations it computes, for its inputs.

Counted from the arguments, not from their sizes: a RoIAlign reads the pixels under its RoIs and no
others, suppression compares as many pairs as these boxes need. What is read twice counts once,
what a cache or a register could hold is free, and geometry costs nothing beside the values. So
nothing can be faster than these counts at the machine's ceilings, and their share of the time
taken is how near a kernel comes to the speed of light.

Operations are those on floating-point numbers: each multiplication, addition or comparison is one.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

import kernels
from benchmarks.workloads import Arguments, Workload
from kernels.crop_and_resize.reference import sample_points
from kernels.roi_align.reference import mean_of_bin, sample_weights
from kernels.roi_pool.reference import pixels_of_bins, rounded
from kernels.roi_warp.reference import rounded_boxes
from kernels.rois import hat, pair

AREA, PAIR = 5, 13
"""Operations of a box's area, and of telling whether two boxes overlap too much: 4 to find the
corners of what they share, 2 + 2 for its sides, cut at 0, 1 for its area, 2 for the union, and 2
to divide or multiply and to compare."""
BLEND = 3
"""Operations of a value between two others: two multiplications and an addition."""
AT_ONCE = 64
"""RoIs whose weights are looked at together."""


@dataclass(frozen=True)
class Work:
    """The least that a call must move and compute."""

    bytes: int
    operations: int


@dataclass(frozen=True)
class Reads:
    """The pixels that each bin of some RoIs reads of a map: those in its rows and its columns."""

    image: Tensor
    rows: Bool[Tensor, "k bins h"]
    columns: Bool[Tensor, "k bins w"]

    def pixels(self) -> int:
        """How many pixels are read at all, each counted once."""
        found = 0
        for image in self.image.unique():
            here = self.image == image
            rows, columns = (axis[here].any(1).float() for axis in (self.rows, self.columns))
            found += int((rows.mT @ columns > 0).sum())
        return found

    def taps(self) -> int:
        """How many pixels the bins read, each counted in every bin."""
        rows, columns = (axis.flatten(1).sum(1) for axis in (self.rows, self.columns))
        return int((rows * columns).sum())


def work(workload: Workload, arguments: Arguments) -> Work:
    """The work of one call of a workload on these arguments.

    With its backward pass, the whole gradient of the maps must be written besides, the gradient of
    the result read, and every product made again the other way.
    """
    operator, given = workload.operator, arguments
    if operator in READS:
        return _of_maps(operator, [given["features"]], given["rois"], given, workload.backward)
    if operator == "multilevel_roi_align":
        return _of_maps(operator, given["features"], given["rois"], given, workload.backward)
    return COUNTED[operator](**given)


def _of_maps(
    operator: str, maps: list[Tensor], rois: Tensor, options: Mapping[str, Any], backward: bool
) -> Work:
    pixels = taps = 0
    for level, features in enumerate(maps):
        here, of_level = rois, dict(options)
        if operator == "multilevel_roi_align":
            here = rois[options["levels"] == level]
            of_level["spatial_scale"] = options["spatial_scales"][level]
        found = list(_reads(operator, features, here, of_level))
        pixels += _together(found).pixels() if found else 0
        taps += sum(one.taps() for one in found)
    channels, size = maps[0].shape[1], maps[0].itemsize
    values = len(rois) * channels * math.prod(pair(options["output_size"]))
    moved = (pixels * channels + values) * size + rois.nbytes
    computed = taps * channels * (1 if operator == "roi_pool" else 2)
    if backward:
        moved += (values + sum(m.numel() for m in maps)) * size
        computed += values if operator == "roi_pool" else computed
    return Work(moved, computed)


def _reads(
    operator: str, features: Tensor, rois: Tensor, options: Mapping[str, Any]
) -> Iterator[Reads]:
    """Of some RoIs after the other, for weights of all would take much memory."""
    read: Callable[..., tuple[Tensor, Tensor]] = READS.get(operator, _align)
    for some in rois.double().split(AT_ONCE):
        if len(some):
            yield Reads(some[:, 0].long(), *read(features, some, **options))


def _together(found: list[Reads]) -> Reads:
    return Reads(
        torch.cat([one.image for one in found]),
        torch.cat([one.rows for one in found]),
        torch.cat([one.columns for one in found]),
    )


def _align(
    maps: Tensor,
    some: Tensor,
    *,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int | str = 2,
    aligned: bool = True,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    ratio = 0 if isinstance(sampling_ratio, str) else sampling_ratio
    size = pair(output_size)
    wy, wx, used = sample_weights(maps, some, size, spatial_scale, ratio, aligned)
    return mean_of_bin(wy, used[0]) > 0, mean_of_bin(wx, used[1]) > 0


def _pool(
    maps: Tensor,
    some: Tensor,
    *,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = rounded(some[:, 1:] * spatial_scale).unbind(1)
    height, width = maps.shape[2:]
    rows, columns = pair(output_size)
    return pixels_of_bins(y1, y2, rows, height), pixels_of_bins(x1, x2, columns, width)


def _warp(
    maps: Tensor, some: Tensor, *, spatial_scale: float, **options: Any
) -> tuple[Tensor, Tensor]:
    boxes = rounded_boxes(some, spatial_scale, "inclusive")
    return _align(maps, boxes, **{**options, "spatial_scale": 1.0})


def _crop(
    maps: Tensor, some: Tensor, *, output_size: int | tuple[int, int], **_: Any
) -> tuple[Tensor, Tensor]:
    def axis(low: Tensor, high: Tensor, bins: int, length: int) -> Tensor:
        points = sample_points(low, high, bins, length)
        return hat(points, length, clamp=True, margin=0.0) > 0

    x1, y1, x2, y2 = some[:, 1:].unbind(1)
    height, width = maps.shape[2:]
    rows, columns = pair(output_size)
    return axis(y1, y2, rows, height), axis(x1, x2, columns, width)


READS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "roi_align": _align,
    "roi_pool": _pool,
    "roi_warp": _warp,
    "crop_and_resize": _crop,
}
"""Operator of one map -> (map, RoIs in float64, its options) -> the rows and columns of each bin.
RoIWarp is counted in its default box and sampling."""


def _box_iou(a: Tensor, b: Tensor) -> Work:
    """Each pair once, each area once."""
    pairs = len(a) * len(b)
    return Work(a.nbytes + b.nbytes + pairs * a.itemsize, pairs * PAIR + (len(a) + len(b)) * AREA)


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Work:
    """The pairs that visiting boxes by falling score cannot do without: a box that is kept was
    compared with every better one kept, within its label, and one that is dropped with one. Sorting
    n scores takes n log2(n) comparisons.
    """
    count = len(boxes)
    one = labels if labels is not None else torch.zeros(count, dtype=torch.long)
    kept = kernels.batched_nms(boxes, scores, one.to(boxes.device), iou_threshold=iou_threshold)
    _, each = one.to(boxes.device)[kept].unique(return_counts=True)
    pairs = int((each * (each - 1) // 2).sum()) + count - len(kept)
    moved = boxes.nbytes + scores.nbytes + kept.nbytes + (0 if labels is None else labels.nbytes)
    sort = round(count * math.log2(max(count, 1)))
    return Work(moved, pairs * PAIR + count * AREA + sort)


def _paste(
    masks: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    method: str = "exact",
    threshold: float | None = 0.5,
) -> Work:
    """The pixels of each box's part of the image, blended along columns and then along rows. On a
    CPU the zeros beside them are memory that the system has cleared before and hands over: free.
    """
    m = masks.shape[1]
    across = _covered(boxes[:, 0], boxes[:, 2], size[1], m, method)
    down = _covered(boxes[:, 1], boxes[:, 3], size[0], m, method)
    pixels = int((across * down).sum())
    written = pixels if masks.device.type == "cpu" else len(masks) * math.prod(size)
    moved = written * (1 if threshold is not None else masks.itemsize) + masks.nbytes + boxes.nbytes
    columns = int(across.sum()) * m * BLEND
    return Work(moved, columns + pixels * (BLEND + (threshold is not None)))


def _covered(start: Tensor, end: Tensor, length: int, m: int, method: str) -> Tensor:
    """How many of the pixels 0 .. length - 1 each mask of m reaches, along one axis."""
    start, end = start.double(), end.double()
    if method == "grown":
        half, middle = (end - start) / 2 * ((m + 2) / m), (start + end) / 2
        first = (middle - half).trunc()
        after = first + ((middle + half).trunc() - first + 1).clamp(min=1)
    else:  # pixels whose centre lies less than half a mask pixel outside the box
        margin = (end - start) / (2 * m)
        first, after = (start - margin - 0.5).floor() + 1, (end + margin - 0.5).ceil()
    return (after.clamp(0, length) - first.clamp(0, length)).clamp(min=0).long()


def _crop_masks(
    masks: Tensor, index: Tensor, boxes: Tensor, size: int, threshold: float | None = 0.5, **o: Any
) -> Work:
    """RoIAlign of one channel of bits; each bin is compared with the threshold besides."""
    rois = torch.cat([index[:, None].to(boxes), boxes], 1)
    options = {"sampling_ratio": "adaptive", **o, "output_size": size, "spatial_scale": 1.0}
    found = list(_reads("roi_align", masks[:, None], rois, options))
    values = len(boxes) * size * size
    moved = _together(found).pixels() + values * 4 + boxes.nbytes + index.nbytes
    taps = sum(one.taps() for one in found)
    return Work(moved, 2 * taps + values * (threshold is not None))


COUNTED: dict[str, Callable[..., Work]] = {
    "box_iou": _box_iou,
    "nms": _nms,
    "batched_nms": _nms,
    "paste_masks": _paste,
    "crop_masks": _crop_masks,
}
"""Operator without a map of features -> its work, from its own arguments."""
