"""torchvision's own operators, as they are: see `python -m kernels check`."""

import torchvision

from kernels.conformance import kernel

DTYPES = ["float32", "float64", "float16"]
LAYOUTS = ["contiguous", "channels_last"]
MAPS = {"dtypes": DTYPES, "layouts": LAYOUTS, "grads": ["features"]}


@kernel(
    "roi_align",
    name="torchvision-raw",
    dtypes=DTYPES,
    grads=["features"],
    layouts=["contiguous", "channels_last"],
)
def align(features, rois, *, output_size, spatial_scale, sampling_ratio, aligned):
    return torchvision.ops.roi_align(
        features,
        rois.to(features.dtype),
        tuple(output_size),
        spatial_scale,
        sampling_ratio,
        aligned,
    )


@kernel(
    "roi_pool",
    name="torchvision-raw",
    dtypes=DTYPES,
    grads=["features"],
    layouts=["contiguous", "channels_last"],
)
def pool(features, rois, *, output_size, spatial_scale):
    return torchvision.ops.roi_pool(
        features, rois.to(features.dtype), tuple(output_size), spatial_scale
    )


@kernel("nms", name="torchvision-raw", dtypes=["float32", "float64"])
def nms(boxes, scores, iou_threshold):
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


@kernel("batched_nms", name="torchvision-raw", dtypes=DTYPES[:2])
def batched(boxes, scores, labels, iou_threshold):
    return torchvision.ops.batched_nms(boxes, scores.to(boxes.dtype), labels, iou_threshold)


@kernel("box_iou", name="torchvision-raw", dtypes=["float32", "float64"], grads=["a", "b"])
def iou(a, b):
    return torchvision.ops.box_iou(a, b)
