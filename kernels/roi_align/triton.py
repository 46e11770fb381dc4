"""RoIAlign in Triton: that of many levels, of which there is one."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.multilevel_roi_align import triton


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
    """The reference's samples, summed in float32 at least; channels last.

    Raises ValueError where Triton cannot run on these tensors, see `ready`.
    Source: the definition in reference.py.
    """
    return triton.multilevel_roi_align(
        [features],
        rois,
        _ground(rois),
        output_size=output_size,
        spatial_scales=[spatial_scale],
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        reduce=reduce,
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
    """The gradient of the features, see `Sampled.gradients`."""
    return triton.backward(
        grad,
        features=[features],
        rois=rois,
        levels=_ground(rois),
        output_size=output_size,
        spatial_scales=[spatial_scale],
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        reduce=reduce,
    )


def _ground(rois: Tensor) -> Tensor:
    return torch.zeros(len(rois), dtype=torch.int64, device=rois.device)
