"""RoIAlign in CUDA: that of many levels, of which there is one."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from kernels.multilevel_roi_align import cuda


def roi_align(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    spatial_scale: float,
    **options: Any,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's samples, their weights merged per pixel; a block per RoI and cache line.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    return cuda.multilevel_roi_align(
        [features], rois, None, spatial_scales=[spatial_scale], **options
    )


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    spatial_scale: float,
    **options: Any,
) -> list[Tensor]:
    """The gradient of the features; kernels/multilevel_roi_align/cuda.py says what it costs."""
    return cuda.backward(
        grad, features=[features], levels=None, spatial_scales=[spatial_scale], **options
    )
