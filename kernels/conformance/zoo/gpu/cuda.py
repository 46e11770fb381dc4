"""CUDA C++ with one bug each, declared as anyone declares a kernel; the code is in bugs.cu.

What is called `sound` has none. `python -m kernels check` takes this file like any other.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.conformance import kernel
from kernels.cuda import Program, scalars

PROGRAM = Program(Path(__file__).with_name("bugs.cu"))
THREADS = 64
MOST = 4096
"""Boxes."""
ROI: dict[str, Any] = {
    "lanes": ["emulated", "gpu"],
    "dtypes": ["float32", "float16"],
    "grads": ["features"],
    "deterministic": False,
}
BOXES: dict[str, Any] = {"lanes": ["emulated", "gpu"]}


class Task(ctypes.Structure):
    """What a launch is told: bugs.cu has the same."""

    _fields_ = (
        *((name, ctypes.c_longlong) for name in ("channels", "height", "width", "high", "wide")),
        ("scale", ctypes.c_double),
    )


def _divided(items: int, threads: int) -> int:
    return -(-items // threads)


class _Pool(torch.autograd.Function):
    """RoIAlign of two samples per bin and axis, with its gradient."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, rois: Tensor, size: Any, scale: float, bug: str, blocks: Any
    ) -> Tensor:
        features, rois = features.contiguous(), rois.contiguous()
        _, channels, height, width = features.shape
        ctx.task = Task(channels, height, width, *size, scale)
        types = scalars(features.dtype, rois.dtype)
        ctx.program = PROGRAM.with_defines(**types, **({bug: ""} if bug else {}))
        ctx.save_for_backward(rois)
        ctx.like = features.shape, torch.promote_types(features.dtype, torch.float32)
        pooled = features.new_empty(len(rois), channels, *size)
        grid = (len(rois), blocks(channels * size[0] * size[1], THREADS))
        ctx.program.launch("pool", features, rois, pooled, ctx.task, grid=grid, block=THREADS)
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        if grad.requires_grad:
            raise NotImplementedError("this gradient has no gradient")
        (rois,) = ctx.saved_tensors
        shape, dtype = ctx.like
        sums = torch.zeros(shape, dtype=dtype, device=grad.device)
        given = (grad.contiguous(), rois, sums, ctx.task)
        ctx.program.launch("spread", *given, grid=len(rois), block=THREADS)
        return (sums.to(grad.dtype), *[None] * 5)


def _pooled(
    features: Tensor, rois: Tensor, size: Any, scale: float, bug: str = "", blocks: Any = _divided
) -> Tensor:
    pooled: Tensor = _Pool.apply(features, rois, size, scale, bug, blocks)  # type: ignore[no-untyped-call]
    return pooled


def _kept(boxes: Tensor, scores: Tensor, iou_threshold: float, bug: str = "") -> Tensor:
    """NMS. Raises ValueError for more boxes than MOST."""
    n, words = len(boxes), _divided(len(boxes), 64)
    if n > MOST:
        raise ValueError(f"nms: at most {MOST} boxes, got {n}")
    order = scores.argsort(descending=True, stable=True)
    marks = torch.empty(n, words, dtype=torch.int64, device=boxes.device)
    kept = torch.empty(n, dtype=torch.bool, device=boxes.device)
    program = PROGRAM.with_defines(
        **scalars(torch.float32, torch.float32), **({bug: ""} if bug else {})
    )
    program.launch("mark", boxes[order], marks, n, words, iou_threshold, grid=n, block=32)
    program.launch("sweep", marks, kept, n, words, grid=1, block=32)
    return order[kept]


@kernel("roi_align", name="sound", **ROI)
def sound_pool(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """No bug."""
    return _pooled(features, rois, output_size, spatial_scale)


@kernel("roi_align", **ROI)
def race(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """The gradient is added up by += where others add as well."""
    return _pooled(features, rois, output_size, spatial_scale, "RACE")


@kernel("roi_align", **ROI)
def missing_barrier(
    features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float
) -> Tensor:
    """What the block finds in common is read before all of it is there."""
    return _pooled(features, rois, output_size, spatial_scale, "MISSING_BARRIER")


@kernel("roi_align", **ROI)
def wrong_grid(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """The grid is rounded down: what is left over after whole blocks is not computed."""
    return _pooled(features, rois, output_size, spatial_scale, "", int.__floordiv__)


@kernel("roi_align", **ROI)
def unmasked_lane(
    features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float
) -> Tensor:
    """The last block's threads that have nothing to do write all the same."""
    return _pooled(features, rois, output_size, spatial_scale, "UNMASKED_LANE")


@kernel("roi_align", **ROI)
def int_wrap(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """Offsets in 32 bits."""
    return _pooled(features, rois, output_size, spatial_scale, "INT_WRAP")


@kernel("roi_align", **ROI)
def wrong_stream(
    features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float
) -> Tensor:
    """Launches on the default stream, whatever the caller's is."""
    default = torch.cuda.default_stream() if features.is_cuda else None
    with torch.cuda.stream(default):  # None changes nothing
        return _pooled(features, rois, output_size, spatial_scale)


@kernel("roi_align", **ROI)
def uninitialised_shared(
    features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float
) -> Tensor:
    """A sample outside the map leaves its place in shared memory as it was."""
    return _pooled(features, rois, output_size, spatial_scale, "UNINITIALISED_SHARED")


@kernel("roi_align", **ROI)
def half_sum(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """Samples are summed in the dtype of the features."""
    return _pooled(features, rois, output_size, spatial_scale, "HALF_SUM")


@kernel("roi_align", **{**ROI, "deterministic": True})
def unordered(features: Tensor, rois: Tensor, *, output_size: Any, spatial_scale: float) -> Tensor:
    """Its gradient is a sum of floats in any order, and it says that it is deterministic."""
    return _pooled(features, rois, output_size, spatial_scale)


@kernel("nms", name="sound", **BOXES)
def sound_nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float) -> Tensor:
    """No bug."""
    return _kept(boxes, scores, iou_threshold)


@kernel("nms", **BOXES)
def warp_of_64(boxes: Tensor, scores: Tensor, *, iou_threshold: float) -> Tensor:
    """Takes the votes of 32 lanes for those of 64."""
    return _kept(boxes, scores, iou_threshold, "WARP_OF_64")


@kernel("nms", **BOXES)
def lockstep(boxes: Tensor, scores: Tensor, *, iou_threshold: float) -> Tensor:
    """Shares memory among the lanes of a warp as if these kept in step."""
    return _kept(boxes, scores, iou_threshold, "LOCKSTEP")
