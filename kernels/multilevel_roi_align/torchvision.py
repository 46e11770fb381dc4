"""RoIAlign of several levels by torchvision's compiled operators, one call per level."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from kernels.roi_align import torchvision


def multilevel_roi_align(
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"],
    *,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    **options: Any,
) -> Float[Tensor, "k c oh ow"]:
    """torchvision.ops.roi_align level by level.

    Raises ValueError for reduce="max" with adaptive sampling, which it cannot express.
    Source: torchvision.ops.roi_align.
    """
    shape = (len(rois), features[0].shape[1], *output_size)
    pooled = features[0].new_empty(shape)
    for level, (maps, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        chosen = levels == level
        options |= {"output_size": output_size, "spatial_scale": scale}
        pooled[chosen] = torchvision.roi_align(maps, rois[chosen], **options)
    return pooled


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"],
    spatial_scales: Sequence[float],
    **options: Any,
) -> list[Tensor]:
    """The gradients of the levels by torchvision's own backward operator."""
    found = []
    for level, (maps, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        chosen = levels == level
        options |= {"features": maps, "rois": rois[chosen], "spatial_scale": scale}
        found += torchvision.backward(grad[chosen], **options)
    return found
