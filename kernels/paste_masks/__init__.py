"""Place the small mask of each box into an image.

Specification
  exact      the image pixel centred at (i + 0.5) reads the mask bilinearly at its place in the box,
             no coordinate rounded; outside the mask everything is 0
  grown      the mask gets a border of one zero pixel, the box grows in proportion and is cut to
             whole pixels towards 0, its far pixel included; the mask is resized to that many pixels
             (corners not aligned, edges repeated). What lies outside the image is cut off
  threshold  a pixel is set where the value is at least the threshold; None keeps the values
  empty      no masks give an empty result; a box of no size gives an empty mask (exact)
  gradient   none
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kernels.op import Backend, Op
from kernels.paste_masks import reference, torchvision


def bitmaps(masks: Tensor, size: Sequence[int], threshold: float | None, **_: Any) -> Tensor:
    """An empty result: one image per mask, of bits where there is a threshold."""
    dtype = masks.dtype if threshold is None else torch.bool
    return masks.new_empty((masks.shape[0], *size), dtype=dtype)


PASTE_MASKS = Op(
    name="paste_masks",
    schema="Tensor masks, Tensor boxes, int[] size, str method, float? threshold",
    shape=bitmaps,
    reference=reference.paste_masks,
    backends={
        "reference": Backend(forward=reference.paste_masks),
        "torchvision": Backend(forward=torchvision.paste_masks),
    },
    default={"cpu": "reference"},
    ulps=64.0,
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
