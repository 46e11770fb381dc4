"""What is made larger, and how: the laws that `python -m benchmarks scale` measures."""

import os
from functools import partial

import torch

from benchmarks.growth.process import Law
from benchmarks.growth.work import Inputs, detector_at, operator_at
from benchmarks.workloads import HEIGHT, WIDTH, Arguments, levels_of, proposals, rois


def on_one_map(
    count: int, g: torch.Generator, *, channels: int = 64, stride: int = 4, normalised: bool = False
) -> Arguments:
    """RoIs over one map of an image of 800 x 1216, 7 x 7 from each; channels lie last."""
    shape = (1, channels, HEIGHT // stride, WIDTH // stride)
    maps = torch.randn(shape, generator=g).contiguous(memory_format=torch.channels_last)
    boxes = rois(count, 4.0 * stride, 40.0 * stride, g)
    if normalised:
        boxes = boxes / torch.tensor([1.0, WIDTH, HEIGHT, WIDTH, HEIGHT])
        return {"features": maps, "rois": boxes, "output_size": 7}
    return {"features": maps, "rois": boxes, "output_size": 7, "spatial_scale": 1 / stride}


def of_channels(count: int, g: torch.Generator) -> Arguments:
    """1,000 RoIs over a map of stride 16 with so many channels."""
    return on_one_map(1000, g, channels=count, stride=16)


def constant(_: int, g: torch.Generator, *, inputs: Inputs, size: int) -> Arguments:
    """Inputs of one size, whatever the value: for laws of threads."""
    return inputs(size, g)


def on_pyramid(count: int, g: torch.Generator) -> Arguments:
    """RoIs over P2 to P5 of an image of 800 x 1216, 64 channels each, 7 x 7 from each RoI."""
    boxes = rois(count, 16.0, 640.0, g)
    shapes = [(1, 64, HEIGHT // s, WIDTH // s) for s in (4, 8, 16, 32)]
    maps = [torch.randn(s, generator=g) for s in shapes]
    return {
        "features": [m.contiguous(memory_format=torch.channels_last) for m in maps],
        "rois": boxes,
        "levels": levels_of(boxes),
        "output_size": 7,
        "spatial_scales": [1 / 4, 1 / 8, 1 / 16, 1 / 32],
    }


def boxes_of(count: int, g: torch.Generator, *, classes: int = 0) -> Arguments:
    """Boxes as an RPN has them, 60 % of them around 40 objects."""
    return proposals(count, classes)(g)


def classes_of(count: int, g: torch.Generator) -> Arguments:
    """10,000 boxes in so many classes."""
    return proposals(10_000, count)(g)


def against_few(count: int, g: torch.Generator) -> Arguments:
    """So many boxes and the 50 of an image's ground truth."""
    return {"a": proposals(count)(g)["boxes"], "b": proposals(50)(g)["boxes"]}


def against_all(count: int, g: torch.Generator) -> Arguments:
    """So many boxes, and as many others."""
    return {"a": proposals(count)(g)["boxes"], "b": proposals(count)(g)["boxes"]}


def pasted(count: int, g: torch.Generator, *, side: int | None = None) -> Arguments:
    """So many masks for an image of 800 x 1216; or with `side`, so many masks for a square one."""
    height, width = (side, side) if side else (HEIGHT, WIDTH)
    stretch = torch.tensor([width / WIDTH, height / HEIGHT] * 2)
    return {
        "masks": torch.rand(count, 28, 28, generator=g),
        "boxes": rois(count, 16.0, 320.0, g)[:, 1:] * stretch,
        "size": (height, width),
        "method": "grown",
        "threshold": 0.5,
    }


def pasted_into(side: int, g: torch.Generator) -> Arguments:
    """20 masks for a square image; boxes grow with it."""
    return pasted(20, g, side=side)


def cropped(count: int, g: torch.Generator) -> Arguments:
    """Mask targets of so many RoIs, 28 x 28, from the bitmaps of 10 objects in 800 x 1216."""
    return {
        "masks": torch.rand(10, HEIGHT, WIDTH, generator=g) > 0.5,
        "index": torch.randint(10, (count,), generator=g),
        "boxes": rois(count, 16.0, 320.0, g)[:, 1:],
        "size": 28,
        "threshold": None,
    }


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = tuple(sorted({1, *(2**i for i in range(1, CORES.bit_length()) if 2**i < CORES), CORES}))
COUNTS = (1, 10, 100, 1000, 10_000, 100_000)
BOXES = (1000, 3000, 10_000, 30_000, 100_000, 300_000)
CHANNELS = (1, 4, 16, 64, 256, 1024, 2048)
SIDES = (256, 512, 1024, 2048, 4096)
CLASSES = (2, 20, 80, 365, 1203)
ROI, BOTH, MASKS = ("rois",), ("rois", "levels"), ("masks", "boxes")
NORMALISED = partial(on_one_map, normalised=True)
MANY = partial(boxes_of, classes=80)
P2 = "64 channels of P2 (200 x 304), 7 x 7 from each RoI, channels last"
PYRAMID = "64 channels of P2 to P5, 7 x 7 from each RoI, channels last"
C4 = "1,000 RoIs on a map of stride 16 (50 x 76), channels last"
CROWD = "threshold 0.7, 60 % of boxes around 40 objects"
GROWS = "20 masks into a square image; boxes grow with it"

Row = tuple[str, str, tuple[int, ...], Inputs, tuple[str, ...], str]
SIZES: tuple[Row, ...] = (
    ("roi_align", "RoIs", COUNTS, on_one_map, ROI, P2),
    ("roi_align, training", "RoIs", COUNTS, on_one_map, ROI, f"{P2}; with the map's gradient"),
    ("roi_align", "channels", CHANNELS, of_channels, ROI, C4),
    ("multilevel_roi_align", "RoIs", COUNTS, on_pyramid, BOTH, PYRAMID),
    ("roi_pool", "RoIs", COUNTS, on_one_map, ROI, P2),
    ("roi_warp", "RoIs", COUNTS, on_one_map, ROI, P2),
    ("crop_and_resize", "RoIs", COUNTS, NORMALISED, ROI, P2),
    ("nms", "boxes", BOXES, boxes_of, (), CROWD),
    ("batched_nms", "boxes", BOXES, MANY, (), f"80 classes, {CROWD}"),
    ("batched_nms", "classes", CLASSES, classes_of, (), f"10,000 boxes, {CROWD}"),
    ("box_iou", "boxes", BOXES, against_few, ("a",), "against 50"),
    ("box_iou, all pairs", "boxes", BOXES[:3] + (16_000,), against_all, ("a",), "with as many"),
    ("paste_masks", "masks", COUNTS[:4], pasted, MASKS, "into 800 x 1216"),
    ("paste_masks", "image px", SIDES, pasted_into, MASKS, GROWS),
    ("crop_masks", "RoIs", COUNTS[:5], cropped, ("index", "boxes"), "28 x 28 from 800 x 1216"),
)
"""What, variable, sizes, inputs, arguments whose rows give the result's, and a note."""
WITH_THREADS: tuple[tuple[str, Inputs, int, tuple[str, ...]], ...] = (
    ("roi_align of 1,000 RoIs", on_one_map, 1000, ROI),
    ("roi_align of 1,000 RoIs, training", on_one_map, 1000, ROI),
    ("box_iou of 8,000 x 8,000", against_all, 8000, ("a",)),
    ("paste_masks of 100", pasted, 100, MASKS),
)


def operator_of(what: str) -> str:
    """The operator that a law is of; of the detector's, "inference"."""
    return what.split(",")[0].split(" of ")[0]


def _of_operator(
    what: str,
    variable: str,
    values: tuple[int, ...],
    inputs: Inputs,
    rows: tuple[str, ...],
    note: str = "",
) -> Law:
    prepare = partial(
        operator_at,
        operator=operator_of(what),
        inputs=inputs,
        rows=rows,
        backward=what.endswith("training"),
    )
    return Law(what=what, variable=variable, values=values, prepare=prepare, note=note)


def _of_detector(variable: str, values: tuple[int, ...], where: str) -> Law:
    return Law(
        what="inference, R50-FPN",
        variable=variable,
        values=values,
        prepare=partial(detector_at, variable=variable),
        threads=CORES,
        note=f"{where}; each class of 1,000 proposals is a candidate; 100 masks pasted",
    )


LAWS: tuple[Law, ...] = (
    *(_of_operator(*row) for row in SIZES),
    *(
        _of_operator(what, "threads", THREADS, partial(constant, inputs=inputs, size=size), rows)
        for what, inputs, size, rows in WITH_THREADS
    ),
    _of_detector("image px", SIDES, "side of a square image"),
    _of_detector("classes", CLASSES, "image of 512 x 512"),
    _of_detector("threads", THREADS, "image of 512 x 512"),
)
