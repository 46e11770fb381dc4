"""RoIAlign by torchvision's compiled operator."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops


def roi_align(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int | Literal["adaptive"],
    aligned: bool,
    reduce: Literal["mean", "max"],
) -> Float[Tensor, "k c oh ow"]:
    """torchvision.ops.roi_align; the maximum through a finer grid of one sample per bin.

    Maps without pixels, on which that operator crashes, are answered here.
    Raises ValueError for reduce="max" with adaptive sampling, which it cannot express.
    Source: torchvision.ops.roi_align.
    """
    if not features.numel() or not len(rois):
        return features.new_zeros(len(rois), features.shape[1], *output_size) + 0 * features.sum()
    if reduce == "mean":
        ratio = -1 if sampling_ratio == "adaptive" else sampling_ratio
        return ops.roi_align(features, rois, output_size, spatial_scale, ratio, aligned)
    if sampling_ratio == "adaptive":
        raise ValueError("roi_align: torchvision has no maximum over adaptive samples")
    fine = (output_size[0] * sampling_ratio, output_size[1] * sampling_ratio)
    samples = ops.roi_align(features, rois, fine, spatial_scale, 1, aligned)
    return F.max_pool2d(samples, sampling_ratio)
