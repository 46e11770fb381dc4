"""RoIAlign of several levels, written to be read: level by level, put back in order."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.roi_align.reference import roi_align


def multilevel_roi_align(
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"],
    *,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    reduce: Literal["mean", "max"],
) -> Float[Tensor, "k c oh ow"]:
    """The definition; see the specification.

    Raises nothing: arguments were checked by the operator.
    Source: Lin et al. 2017, "Feature Pyramid Networks", sec. 4.2.
    """
    of_level = [(levels == level).nonzero().flatten() for level in range(len(features))]
    parts = [
        roi_align(
            maps,
            rois[chosen],
            output_size=output_size,
            spatial_scale=scale,
            sampling_ratio=sampling_ratio,
            aligned=aligned,
            reduce=reduce,
        )
        for maps, scale, chosen in zip(features, spatial_scales, of_level, strict=True)
    ]
    return torch.cat(parts)[torch.cat(of_level).argsort()]
