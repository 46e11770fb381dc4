"""Mask targets by torchvision's RoIAlign of the bitmaps as float maps."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kernels.roi_align.torchvision import roi_align


def crop_masks(
    masks: Bool[Tensor, "g h w"],
    index: Int[Tensor, " n"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: int,
    sampling_ratio: int,
    aligned: bool,
    threshold: float | None,
) -> Float[Tensor, "n {size} {size}"]:
    """torchvision.ops.roi_align; the bitmaps become floats first, 4 or 8 bytes per pixel.

    Raises nothing: arguments were checked by the operator.
    Source: torchvision.ops.roi_align, as its `project_masks_on_boxes` uses it.
    """
    share = roi_align(
        masks[:, None].to(boxes),
        torch.cat([index[:, None].to(boxes), boxes], 1),
        output_size=(size, size),
        spatial_scale=1.0,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        reduce="mean",
    )[:, 0]
    return share if threshold is None else (share >= threshold).to(share)
