"""Mask targets, written to be read: RoIAlign of the bitmaps, then the threshold."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kernels.roi_align.reference import roi_align


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
    """The definition; see the specification. In the dtype of the boxes.

    Raises nothing: arguments were checked by the operator.
    Source: He et al. 2017, sec. 3.1, "Training".
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
