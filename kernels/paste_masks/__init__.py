"""Place the small mask of each box into an image.

Specification
  exact       the image pixel centred at (i + 0.5) reads the mask bilinearly at its place in the
              box, no coordinate rounded; outside the mask everything is 0
  grown       the mask gets a border of one zero pixel, the box grows in proportion and is cut to
              whole pixels towards 0, its far pixel included and a pixel at least; the mask is
              resized to that many pixels (corners not aligned, edges repeated). What lies outside
              the image is cut off
  threshold   a pixel is set where the value is at least the threshold, one outside the box too, so
              that 0 or less sets all; None keeps the values. A value that equals the threshold but
              for rounding may fall either way
  empty       no masks give an empty result; with "exact", a box without area gives an empty mask
  not finite  boxes that are not finite are refused on the CPU, undefined elsewhere; a value of a
              mask that is not finite leaves the whole result of that mask undefined
  layout      any strides; the result is contiguous
  dtypes      float masks and boxes, computed in the wider of both and at least float32; the result
              is bool, or has the dtype of the masks where there is no threshold
  gradient    none
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu
from kernels.paste_masks import reference


def bitmaps(masks: Tensor, size: Sequence[int], threshold: float | None, **_: Any) -> Tensor:
    """An empty result: one image per mask, of bits where there is a threshold."""
    dtype = masks.dtype if threshold is None else torch.bool
    return masks.new_empty((masks.shape[0], *size), dtype=dtype)


def check_boxes(boxes: Tensor, **_: Any) -> None:
    """Raises ValueError for a box that is not finite; looked at on the CPU only."""
    if boxes.device.type == "cpu" and not boxes.isfinite().all():
        row = int((~boxes.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"paste_masks: box {row} is not finite: {boxes[row].tolist()}")


PASTE_MASKS = Op(
    name="paste_masks",
    schema="Tensor masks, Tensor boxes, int[] size, str method, float? threshold",
    shape=bitmaps,
    check=check_boxes,
    reference=reference.paste_masks,
    backends={
        "reference": Backend(forward=reference.paste_masks),
        "torchvision": Backend(forward=lazily("kernels.paste_masks.torchvision", "paste_masks")),
        "numba": Backend(
            forward=lazily("kernels.paste_masks.numba", "paste_masks"), devices=("cpu",)
        ),
        **on_gpu("paste_masks"),
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("reference")},
    source='He et al. 2017, "Mask R-CNN", sec. 3.1, "Inference"',
)


def paste_masks(
    masks: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: tuple[int, int],
    method: Literal["exact", "grown"] = "exact",
    threshold: float | None = 0.5,
    backend: str | None = None,
) -> Bool[Tensor, "n h w"] | Float[Tensor, "n h w"]:
    """Masks of `size` (height, width) from mask probabilities in the frame of their boxes.

    boxes   image pixels; they may reach outside the image

    Raises ValueError for shapes, sizes or a method that the specification does not know.
    Source: He et al. 2017, sec. 3.1; exact: detectron2's `paste_masks_in_image`; grown:
    torchvision's `paste_masks_in_image`.
    """
    if masks.dim() != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"paste_masks: masks must be (n, m, m), got {tuple(masks.shape)}")
    if boxes.shape != (len(masks), 4):
        raise ValueError(f"paste_masks: boxes must be (n, 4), got {tuple(boxes.shape)}")
    if min(size) < 1 or method not in ("exact", "grown"):
        raise ValueError(f"paste_masks: there is no {method=} for {size=}")
    return PASTE_MASKS(
        masks=masks, boxes=boxes, size=size, method=method, threshold=threshold, backend=backend
    )
