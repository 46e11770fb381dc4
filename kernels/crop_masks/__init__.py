"""Mask targets: the bitmap of an object, seen through a box on a small grid.

Specification
  bins        the box is cut into size x size bins, sampled and averaged as `roi_align` does it at
              spatial_scale 1: sampling_ratio, aligned and the border by its rules
  threshold   a bin is 1 where at least this share of it is object, else 0; None keeps the share
  outside     is not object, but for the pixel around the bitmap that `roi_align` reads as border
  empty       no boxes give an empty result; bitmaps without pixels hold no object; a box of no
              size sees none when sampling is adaptive
  reversed    a box with x2 < x1 sees nothing (adaptive) or is mirrored (a number of samples)
  not finite  boxes that are not finite, and indices of no mask, are refused on the CPU and
              undefined elsewhere
  layout      any; the result is contiguous
  dtypes      bool masks, int64 indices, float boxes; the result has the dtype of the boxes, or
              float32 where that is half precision
  ties        a share that equals the threshold but for rounding may fall either way
  gradient    none
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kernels.crop_masks import reference
from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu
from kernels.rois import check_sampling


def crops(boxes: Tensor, size: int, **_: Any) -> Tensor:
    """An empty result: one grid per box, in the dtype of the boxes or float32."""
    dtype = boxes.dtype if boxes.dtype.itemsize > 2 else torch.float32
    return boxes.new_empty((boxes.shape[0], size, size), dtype=dtype)


def check_values(masks: Tensor, index: Tensor, boxes: Tensor, **_: Any) -> None:
    """Raises ValueError for a mask that is not there or a box that is not finite; CPU only."""
    if boxes.device.type != "cpu" or not len(boxes):
        return
    low, high = index.aminmax()
    if low < 0 or high >= len(masks):
        there = f"0 to {len(masks) - 1}" if len(masks) else "none, for there are no masks"
        raise ValueError(f"crop_masks: indices must be {there}, got {int(low)} to {int(high)}")
    if not boxes.isfinite().all():
        row = int((~boxes.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"crop_masks: box {row} is not finite: {boxes[row].tolist()}")


CROP_MASKS = Op(
    name="crop_masks",
    schema="Tensor masks, Tensor index, Tensor boxes, int size, int sampling_ratio, bool aligned,"
    " float? threshold",
    shape=crops,
    check=check_values,
    reference=reference.crop_masks,
    backends={
        "reference": Backend(forward=reference.crop_masks),
        "torchvision": Backend(forward=lazily("kernels.crop_masks.torchvision", "crop_masks")),
        "numba": Backend(
            forward=lazily("kernels.crop_masks.numba", "crop_masks"), devices=("cpu",)
        ),
        **on_gpu("crop_masks"),
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("torchvision")},
    source='He et al. 2017, "Mask R-CNN", sec. 3.1, "Training"',
)


def crop_masks(
    masks: Bool[Tensor, "g h w"],
    index: Int[Tensor, " n"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: int,
    sampling_ratio: int | Literal["adaptive"] = "adaptive",
    aligned: bool = True,
    threshold: float | None = 0.5,
    backend: str | None = None,
) -> Float[Tensor, "n {size} {size}"]:
    """What a mask head should draw: box i shows the object `index[i]`.

    boxes       image pixels, the frame of the bitmaps
    threshold   share of a bin; the result is 0 and 1, or the share itself with None

    Raises ValueError for shapes, a size below 1, a sampling ratio, an index or a box that the
    specification does not allow.
    Source: He et al. 2017, sec. 3.1, "Training": "the intersection between an RoI and its
    associated ground-truth mask"; detectron2 for 1/2 and adaptive sampling.
    """
    if masks.dim() != 3 or masks.dtype != torch.bool:
        raise ValueError(f"crop_masks: masks must be bool (g, h, w), got {tuple(masks.shape)}")
    if boxes.shape != (*index.shape, 4) or boxes.dim() != 2 or not boxes.is_floating_point():
        shapes = f"{tuple(index.shape)} and {tuple(boxes.shape)}"
        raise ValueError(f"crop_masks: index must be (n,) and boxes floating (n, 4), got {shapes}")
    if size < 1:
        raise ValueError(f"crop_masks: size must be at least 1, got {size}")
    return CROP_MASKS(
        masks=masks,
        index=index.long(),
        boxes=boxes,
        size=size,
        sampling_ratio=check_sampling("crop_masks", sampling_ratio, "mean"),
        aligned=aligned,
        threshold=threshold,
        backend=backend,
    )
