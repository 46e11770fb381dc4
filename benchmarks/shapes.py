"""The shapes that Mask R-CNN gives its operators: levels, heads, numbers of boxes, sizes of image.

P2 to P5 are levels of a pyramid over 800 x 1216, each with the RoIs of its sizes (Lin et al. 2017,
eq. 1); "masks" are the mask head's RoIs, 14 x 14; C4 and C5 the maps of nets without a pyramid.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.workloads import (
    HEIGHT,
    PEERS,
    WIDTH,
    Arguments,
    Workload,
    few_rois,
    few_untied,
    first,
    one_map,
    proposals,
    pyramid,
    rois,
)

Inputs = Callable[[torch.Generator], Arguments]
Few = Callable[[Arguments], Arguments]
MAPS: dict[str, Inputs] = {
    "P2": one_map(1000, 256, 4, 7, (16, 112)),
    "P3": one_map(1000, 256, 8, 7, (112, 224)),
    "P4": one_map(1000, 256, 16, 7, (224, 448)),
    "P5": one_map(1000, 256, 32, 7, (448, 800)),
    "masks": one_map(100, 256, 4, 14, (16, 112)),
    "C4": one_map(300, 1024, 16, 14, (16, 640)),
    "C5": one_map(300, 2048, 32, 7, (16, 640)),
}
PYRAMIDS: dict[str, Inputs] = {"pyramid": pyramid(1000, 7), "masks": pyramid(100, 14)}
COUNTS = {"1k": 1000, "10k": 10_000, "100k": 100_000}
IMAGES = {"800px": (HEIGHT, WIDTH, 100), "1080p": (1080, 1920, 20), "4k": (2160, 3840, 20)}
"""Shape -> height, width, and how many masks are pasted into so large an image."""
CLASSES, TRUE, POSITIVES = 80, 50, 128
"""Labels of detections; boxes of ground truth; RoIs that get a mask target, a quarter of 512."""


def of_maps(*, backward: bool) -> Iterator[tuple[str, Workload]]:
    """(shape, workload) for the operators that read maps, alone or with their backward pass."""

    def workload(operator: str, inputs: Inputs) -> Workload:
        return Workload(
            operator=operator,
            inputs=inputs,
            peer=PEERS.get(operator),
            few=few_untied if backward and operator == "roi_pool" else few_rois,
            backward=backward,
            maps=("features",),
        )

    for shape, inputs in MAPS.items():
        for operator in ("roi_align", "roi_pool", "roi_warp"):
            yield shape, workload(operator, inputs)
        yield shape, workload("crop_and_resize", normalised(inputs))
    for shape, inputs in PYRAMIDS.items():
        yield shape, workload("multilevel_roi_align", inputs)


def of_boxes() -> Iterator[tuple[str, Workload]]:
    """(shape, workload) for the operators on boxes and masks."""

    def workload(operator: str, inputs: Inputs, few: Few) -> Workload:
        return Workload(operator=operator, inputs=inputs, peer=PEERS[operator], few=few)

    few = first(1000, "boxes", "scores", "labels")
    for shape, count in COUNTS.items():
        yield shape, workload("nms", proposals(count), few)
        yield shape, workload("batched_nms", proposals(count, CLASSES), few)
        yield shape, workload("box_iou", two_sets(count), first(50, "a"))
    few = first(4, "masks", "boxes")
    for shape, size in IMAGES.items():
        yield shape, workload("paste_masks", pasted(*size, threshold=0.5), few)
        yield f"{shape}_soft", workload("paste_masks", pasted(*size, threshold=None), few)
    yield "28x28", workload("crop_masks", objects, first(6, "index", "boxes"))


def normalised(inputs: Inputs) -> Inputs:
    """The same RoIs as parts of the image, as crop-and-resize takes them."""

    def parts(g: torch.Generator) -> Arguments:
        found = inputs(g)
        extent = torch.tensor([1, WIDTH, HEIGHT, WIDTH, HEIGHT], device=g.device)
        del found["spatial_scale"]
        return found | {"rois": (found["rois"] / extent).clamp(max=1)}  # the first is an index, 0

    return parts


def two_sets(count: int) -> Inputs:
    """So many boxes, and an image's ground truth to compare them with."""
    return lambda g: {"a": proposals(count)(g)["boxes"], "b": proposals(TRUE)(g)["boxes"]}


def pasted(height: int, width: int, count: int, threshold: float | None) -> Inputs:
    """Masks for an image of any size, their boxes as large a part of it."""

    def inputs(g: torch.Generator) -> Arguments:
        scale = torch.tensor([width / WIDTH, height / HEIGHT], device=g.device).repeat(2)
        return {
            "masks": torch.rand(count, 28, 28, generator=g, device=g.device),
            "boxes": rois(count, 16.0, 320.0, g)[:, 1:] * scale,
            "size": (height, width),
            "method": "grown",
            "threshold": threshold,
        }

    return inputs


def objects(g: torch.Generator) -> Arguments:
    """Bitmaps of ellipses, and RoIs near them."""
    at: Any = {"generator": g, "device": g.device}
    boxes = rois(20, 32.0, 400.0, g)[:, 1:]
    x, y = (torch.arange(n, device=g.device) + 0.5 for n in (WIDTH, HEIGHT))
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    across = ((x - middle[:, :1]) / half[:, :1]) ** 2
    down = ((y - middle[:, 1:]) / half[:, 1:]) ** 2
    index = torch.randint(len(boxes), (POSITIVES,), **at)
    near = 0.1 * torch.randn(POSITIVES, 4, **at) * half[index].repeat(1, 2)
    return {
        "masks": across[:, None] + down[:, :, None] < 1,
        "index": index,
        "boxes": boxes[index] + near,
        "size": 28,
        "sampling_ratio": "adaptive",
        "aligned": False,
        "threshold": None,
    }
