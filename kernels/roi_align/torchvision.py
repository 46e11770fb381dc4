"""RoIAlign by torchvision's compiled operators."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops


def roi_align(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    reduce: Literal["mean", "max"],
) -> Float[Tensor, "k c oh ow"]:
    """torchvision.ops.roi_align; the maximum through a finer grid of one sample per bin.

    Maps without pixels, on which that operator crashes, are answered here.
    Raises ValueError for reduce="max" with adaptive sampling, which it cannot express.
    Source: torchvision.ops.roi_align.
    """
    if not features.numel() or not len(rois):
        return features.new_zeros(len(rois), features.shape[1], *output_size)
    if reduce == "mean":
        size = tuple(output_size)
        return ops.roi_align(features, rois, size, spatial_scale, sampling_ratio, aligned)
    return F.max_pool2d(
        _samples(features, rois, output_size, spatial_scale, sampling_ratio, aligned),
        sampling_ratio,
    )


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    reduce: Literal["mean", "max"],
) -> list[Tensor]:
    """The gradient of the features by torchvision's own backward operator."""
    if not features.numel() or not len(rois):
        return [torch.zeros_like(features)]
    size, ratio = tuple(output_size), sampling_ratio
    if reduce == "max":
        fine = _samples(features, rois, output_size, spatial_scale, sampling_ratio, aligned)
        _, best = F.max_pool2d(fine, sampling_ratio, return_indices=True)
        grad = F.max_unpool2d(grad, best, [sampling_ratio] * 2, output_size=list(fine.shape[2:]))
        size, ratio = (fine.shape[2], fine.shape[3]), 1
    back = torch.ops.torchvision._roi_align_backward
    shape = features.shape
    return [back(grad.contiguous(), rois, spatial_scale, *size, *shape, ratio, aligned)]


def _samples(
    features: Tensor,
    rois: Tensor,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    if not sampling_ratio:
        raise ValueError("roi_align: torchvision has no maximum over adaptive samples")
    fine = (output_size[0] * sampling_ratio, output_size[1] * sampling_ratio)
    return ops.roi_align(features, rois, fine, spatial_scale, 1, aligned)
