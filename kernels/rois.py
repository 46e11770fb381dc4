"""What the RoI operators share: their checks, the shape of their result, and the hat function."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.op import layout_of

Size = int | tuple[int, int]
ELEMENTS_AT_ONCE = 2**25
"""Largest temporary of a reference, in elements: 128 MB in float32."""


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of an output size given as one side or as both."""
    return (size, size) if isinstance(size, int) else size


def check_rois(
    op: str, features: Tensor, rois: Tensor, output_size: Size, spatial_scale: float
) -> None:
    """Raises ValueError, in one line, for shapes and sizes no RoI operator can work with."""
    if features.dim() != 4 or not features.is_floating_point():
        raise ValueError(f"{op}: features must be floating (n, c, h, w), got {_is(features)}")
    if rois.dim() != 2 or rois.shape[1] != 5 or not rois.is_floating_point():
        raise ValueError(f"{op}: rois must be floating (k, 5), got {_is(rois)}")
    if rois.device != features.device:
        raise ValueError(f"{op}: rois are on {rois.device}, features on {features.device}")
    if min(pair(output_size)) < 1:
        raise ValueError(f"{op}: output_size must be at least 1, got {output_size}")
    if not spatial_scale > 0:
        raise ValueError(f"{op}: spatial_scale must be positive, got {spatial_scale}")


def check_values(*, features: Tensor, rois: Tensor, **_: Any) -> None:
    """Raises ValueError, in one line, for a RoI that is not finite or of an image not there.

    Looked at on the CPU only: elsewhere that would wait for the device.
    """
    if rois.device.type != "cpu" or not len(rois):
        return
    if not bool(rois.isfinite().all()):
        row = int((~rois.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"RoI {row} is not finite: {rois[row].tolist()}")
    low, high = rois[:, 0].aminmax()
    if low < 0 or high >= len(features):
        raise ValueError(
            f"image indices must be 0 to {len(features) - 1}, got {int(low)} to {int(high)}"
        )


def pooled(*, features: Tensor, rois: Tensor, output_size: list[int], **_: Any) -> Tensor:
    """An empty result of a RoI operator: (k, c, *output_size), laid out as the features are."""
    shape = (rois.shape[0], features.shape[1], *output_size)
    return torch.empty(
        shape,
        dtype=features.dtype,
        device=features.device,
        memory_format=layout_of(features),
    )


def _is(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def check_sampling(op: str, sampling_ratio: int | str, reduce: str) -> int:
    """The ratio as backends take it: 0 is adaptive.

    Raises ValueError unless the samples of a bin and their reduction are ones there are.
    """
    if sampling_ratio != "adaptive" and (isinstance(sampling_ratio, str) or sampling_ratio < 1):
        raise ValueError(f"{op}: sampling_ratio must be >= 1 or 'adaptive', got {sampling_ratio!r}")
    if reduce not in ("mean", "max"):
        raise ValueError(f"{op}: reduce must be 'mean' or 'max', got {reduce!r}")
    return 0 if isinstance(sampling_ratio, str) else sampling_ratio


def hat(
    x: Float[Tensor, "*k p"], length: int, *, clamp: bool, margin: float = 1.0
) -> Float[Tensor, "*k p {length}"]:
    """Weights with which points x read the pixels 0 .. length - 1 linearly.

    clamp   points up to `margin` outside the outermost centres - plus one on the far side, as the
            shipped kernels have it - read the border pixel, those further out nothing. Without it
            what lies outside counts as zero.
    """
    pixels = torch.arange(length, device=x.device, dtype=x.dtype)
    if not clamp:
        return (1 - (x[..., None] - pixels).abs()).clamp(min=0)
    inside = (x >= -margin) & (x <= length - 1 + margin)
    distance = (x.clamp(0, max(length - 1, 0))[..., None] - pixels).abs()
    return (1 - distance).clamp(min=0) * inside[..., None]
