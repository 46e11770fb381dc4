"""What the RoI operators share: their checks, their precision, and the hat function."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.op import Op

Size = int | tuple[int, int]
HALF = (torch.float16, torch.bfloat16)
ELEMENTS_AT_ONCE = 2**25
"""Largest temporary of a reference, in elements: 128 MB in float32."""


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of an output size given as one side or as both."""
    return (size, size) if isinstance(size, int) else size


def check_rois(
    op: str, features: Tensor, rois: Tensor, output_size: Size, spatial_scale: float
) -> None:
    """Raises ValueError, in one line, for arguments no RoI operator can work with.

    Values are looked at on the CPU only: elsewhere that would wait for the device.
    """
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
    if rois.device.type != "cpu" or not len(rois):
        return
    if not bool(rois.isfinite().all()):
        row = int((~rois.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"{op}: RoI {row} is not finite: {rois[row].tolist()}")
    low, high = rois[:, 0].aminmax()
    if low < 0 or high >= len(features):
        raise ValueError(
            f"{op}: image indices must be 0 to {len(features) - 1}, got {int(low)} to {int(high)}"
        )


def _is(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def check_sampling(op: str, sampling_ratio: int | str, reduce: str) -> None:
    """Raises ValueError unless the samples of a bin and their reduction are ones there are."""
    if sampling_ratio != "adaptive" and (isinstance(sampling_ratio, str) or sampling_ratio < 1):
        raise ValueError(f"{op}: sampling_ratio must be >= 1 or 'adaptive', got {sampling_ratio!r}")
    if reduce not in ("mean", "max"):
        raise ValueError(f"{op}: reduce must be 'mean' or 'max', got {reduce!r}")


def run(op: Op, backend: str | None, features: Tensor, rois: Tensor, **options: object) -> Tensor:
    """Call a backend with coordinates and sums in float32 or wider; the result has features' dtype.

    RoIs in half precision would be off by half a pixel near column 1000, so none ever is.
    """
    chosen: Callable[..., Tensor] = op.backend(features.device, backend)
    wide = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        return chosen(features.to(wide), rois.detach().to(wide), **options).to(features.dtype)


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
