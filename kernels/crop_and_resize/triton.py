"""CropAndResize in Triton: its own sample points, read by the kernels of RoIAlign."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.multilevel_roi_align.triton import Sampled


def crop_and_resize(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    extrapolation_value: float,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's samples, summed in float32 at least; channels last.

    Raises ValueError where Triton cannot run on these tensors, see `ready`.
    Source: the definition in reference.py.
    """
    return _sampled(features, rois, output_size, extrapolation_value).pooled()


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    extrapolation_value: float,
) -> list[Tensor]:
    """The gradient of the features, see `Sampled.gradients`."""
    return _sampled(features, rois, output_size, extrapolation_value).gradients(grad)


def _sampled(features: Tensor, rois: Tensor, output_size: Sequence[int], fill: float) -> Sampled:
    return Sampled(
        features=[features],
        rois=rois,
        levels=torch.zeros(len(rois), dtype=torch.int64, device=rois.device),
        output_size=output_size,
        scales=[1.0],
        kind="crop",
        fill=fill,
    )
