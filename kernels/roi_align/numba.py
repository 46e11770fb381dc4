"""RoIAlign in Numba: that of many levels, of which there is one."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.multilevel_roi_align import numba


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
    """The reference's samples, their weights merged per pixel; RoIs in parallel.

    Raises nothing: arguments were checked by the operator.
    Source: the definition in reference.py.
    """
    return numba.multilevel_roi_align(
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
    """The gradient of the features, the same in every bit on any number of threads."""
    return numba.backward(
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
    return torch.zeros(len(rois), dtype=torch.int64)
