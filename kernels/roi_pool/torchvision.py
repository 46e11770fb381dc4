"""RoIPool by torchvision's compiled operators."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision import ops


def roi_pool(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
) -> Float[Tensor, "k c oh ow"]:
    """torchvision.ops.roi_pool; maps without pixels, on which it crashes, are answered here.

    Raises nothing: arguments were checked by the operator.
    Source: torchvision.ops.roi_pool.
    """
    if not features.numel() or not len(rois):
        return features.new_zeros(len(rois), features.shape[1], *output_size)
    return ops.roi_pool(features, rois, tuple(output_size), spatial_scale)


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    spatial_scale: float,
) -> list[Tensor]:
    """The gradient of the features by torchvision's own backward operator."""
    if not features.numel() or not len(rois):
        return [torch.zeros_like(features)]
    size = tuple(output_size)
    _, best = torch.ops.torchvision.roi_pool(features, rois, spatial_scale, *size)
    back = torch.ops.torchvision._roi_pool_backward
    return [back(grad.contiguous(), rois, best, spatial_scale, *size, *features.shape)]
