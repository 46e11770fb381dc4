"""The shapes that Mask R-CNN gives its operators: levels, heads, numbers of boxes, sizes of image.

P2 to P5 are levels of a pyramid over 800 x 1216, each with the RoIs of its sizes (Lin et al. 2017,
eq. 1); "masks" are the mask head's RoIs, 14 x 14; C4 and C5 the maps of nets without a pyramid.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchvision import ops
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from benchmarks.workloads import (
    HEIGHT,
    WIDTH,
    WORKLOADS,
    Arguments,
    Workload,
    few_rois,
    first,
    one_map,
    proposals,
    pyramid,
    rois,
)
from kernels.roi_warp.reference import rounded_boxes

Inputs = Callable[[torch.Generator], Arguments]
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
    pool = WORKLOADS["roi_pool, training" if backward else "roi_pool"]
    align = WORKLOADS["roi_align"]
    warp = replace(align, operator="roi_warp", peer=_warp)
    crop = replace(align, operator="crop_and_resize", peer=None)
    for shape, inputs in MAPS.items():
        for workload in (align, pool, warp):
            yield shape, replace(workload, inputs=inputs, backward=backward)
        yield shape, replace(crop, inputs=normalised(inputs), backward=backward)
    for shape, inputs in PYRAMIDS.items():
        many = WORKLOADS["multilevel_roi_align"]
        yield shape, replace(many, inputs=inputs, few=few_rois, backward=backward)


def of_boxes() -> Iterator[tuple[str, Workload]]:
    """(shape, workload) for the operators on boxes and masks."""
    few = first(1000, "boxes", "scores", "labels")
    for shape, count in COUNTS.items():
        alone, by_label = WORKLOADS["nms of 1,000"], WORKLOADS["batched_nms of 4,000"]
        yield shape, replace(alone, inputs=proposals(count), few=few)
        yield shape, replace(by_label, inputs=proposals(count, CLASSES), few=few)
        yield shape, replace(WORKLOADS["box_iou"], inputs=two_sets(count))
    for shape, size in IMAGES.items():
        paste = WORKLOADS["paste_masks"]
        yield shape, replace(paste, inputs=pasted(*size, threshold=0.5))
        yield f"{shape}_soft", replace(paste, inputs=pasted(*size, threshold=None))
    few = first(6, "index", "boxes")
    yield "28x28", Workload(operator="crop_masks", inputs=objects, peer=_targets, few=few)


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


def _warp(features: Tensor, rois: Tensor, output_size: int, spatial_scale: float) -> Tensor:
    """RoIWarp as a user of torchvision has it: RoIAlign of rounded boxes."""
    boxes = rounded_boxes(rois, spatial_scale, "inclusive").to(features.dtype)
    return ops.roi_align(features, boxes, output_size, 1.0, 2, aligned=True)


def _targets(masks: Tensor, index: Tensor, boxes: Tensor, size: int, **_: Any) -> Tensor:
    return project_masks_on_boxes(masks, boxes, index, size)
