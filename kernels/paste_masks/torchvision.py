"""Mask pasting by torchvision's own function, one mask at a time."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image


def paste_masks(
    masks: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: Sequence[int],
    method: Literal["exact", "grown"],
    threshold: float | None,
) -> Tensor:
    """torchvision's paste_masks_in_image.

    Raises ValueError for method="exact", which torchvision does not have.
    Source: torchvision.models.detection.roi_heads.paste_masks_in_image.
    """
    if method != "grown":
        raise ValueError("paste_masks: torchvision knows method='grown' only")
    dtype = torch.promote_types(masks.dtype, boxes.dtype)
    masks, boxes = masks.to(dtype), boxes.to(dtype)
    if not len(masks):
        soft = masks.new_zeros(0, *size)
    else:
        soft = paste_masks_in_image(masks[:, None], boxes, tuple(size), padding=1)[:, 0]
    return soft if threshold is None else soft >= threshold
