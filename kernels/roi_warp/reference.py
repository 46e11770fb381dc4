"""RoIWarp, as RoIAlign on a rounded box, and the layer of MNC."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.op import Backend
from kernels.roi_align import ROI_ALIGN
from kernels.roi_pool.reference import rounded
from kernels.rois import ELEMENTS_AT_ONCE, hat


def roi_warp(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    reduce: Literal["mean", "max"],
    box: Literal["inclusive", "plain"],
    sampling: Literal["regular", "mnc"],
) -> Float[Tensor, "k c oh ow"]:
    """The definition; see the specification.

    Raises nothing: arguments were checked by the operator.
    Source: Dai et al. 2016, sec. 4.
    """
    if sampling == "mnc":
        return _mnc(features, rois, output_size, spatial_scale)
    options = _aligned(rois, output_size, spatial_scale, sampling_ratio, reduce, box)
    return ROI_ALIGN.reference(features, **options)


def through(align: str) -> Backend:
    """RoIWarp as the RoIAlign of that name on rounded boxes. MNC's sampling it cannot do."""
    chosen = ROI_ALIGN.backends[align]

    def forward(features: Tensor, *, sampling: str, **options: Any) -> Tensor:
        if sampling == "mnc":
            raise ValueError(f"roi_warp: {align} cannot sample as MNC does; use the reference")
        return chosen.forward(features=features, **_aligned(**options))

    def backward(grad: Tensor, *, features: Tensor, sampling: str, **options: Any) -> Any:
        assert chosen.backward is not None
        return chosen.backward(grad, features=features, **_aligned(**options))

    reverse = backward if chosen.backward is not None else None
    return replace(chosen, forward=forward, backward=reverse)


def _aligned(
    rois: Tensor,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    reduce: str,
    box: Literal["inclusive", "plain"],
) -> dict[str, Any]:
    """What RoIAlign is called with to do as RoIWarp does."""
    return {
        "rois": rounded_boxes(rois, spatial_scale, box),
        "output_size": output_size,
        "spatial_scale": 1.0,
        "sampling_ratio": sampling_ratio,
        "aligned": True,
        "reduce": reduce,
    }


def rounded_boxes(
    rois: Float[Tensor, "k 5"], spatial_scale: float, box: Literal["inclusive", "plain"]
) -> Float[Tensor, "k 5"]:
    """The same RoIs, their corners whole feature pixels."""
    x1, y1, x2, y2 = rounded(rois[:, 1:] * spatial_scale).unbind(1)
    extra = 1 if box == "inclusive" else 0
    x2, y2 = torch.maximum(x2 + extra, x1 + extra), torch.maximum(y2 + extra, y1 + extra)
    return torch.stack([rois[:, 0], x1, y1, x2, y2], 1)


def _mnc(
    features: Tensor, rois: Tensor, output_size: Sequence[int], spatial_scale: float
) -> Tensor:
    height, width = features.shape[2:]
    at_once = max(1, ELEMENTS_AT_ONCE // max(features.shape[1:].numel(), 1))
    parts = [features.new_zeros(0, features.shape[1], *output_size)]
    for some in rois.split(at_once):
        image, x1, y1, x2, y2 = rounded_boxes(some, spatial_scale, "plain").unbind(1)
        wy = _corner(y1, y2, output_size[0], height)
        wx = _corner(x1, x2, output_size[1], width)
        parts.append(torch.einsum("kph,kchw,kqw->kcpq", wy, features[image.long()], wx))
    return torch.cat(parts)


def _corner(start: Tensor, end: Tensor, bins: int, length: int) -> Float[Tensor, "k bins length"]:
    index = torch.arange(bins, device=start.device, dtype=start.dtype)
    points = start[:, None] + index * ((end - start) / bins)[:, None]
    return hat(points, length, clamp=True, margin=0.5)
