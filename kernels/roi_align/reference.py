"""RoIAlign, written to be read. Its siblings compute the same function, faster.

All sample points of all bins form one regular grid over the RoI, so bilinear reading is two small
matrices of hat weights, one per axis. The mean of a bin's samples is the mean of their rows.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kernels.rois import ELEMENTS_AT_ONCE, hat


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
    """The definition; see the specification. Chunked over RoIs: O(ELEMENTS_AT_ONCE) memory.

    Raises nothing: arguments were checked by the operator.
    Source: He et al. 2017, "Mask R-CNN", sec. 3.
    """
    at_once = max(1, ELEMENTS_AT_ONCE // max(features.shape[1:].numel(), 1))
    parts = []
    for some in rois.split(at_once):
        wy, wx, used = sample_weights(
            features, some, output_size, spatial_scale, sampling_ratio, aligned
        )
        maps = features[some[:, 0].long()]
        if reduce == "mean":
            wy, wx = mean_of_bin(wy, used[0]), mean_of_bin(wx, used[1])
            parts.append(torch.einsum("kph,kchw,kqw->kcpq", wy, maps, wx))
        else:
            samples = torch.einsum("kpih,kchw,kqjw->kcpiqj", wy, maps, wx)
            parts.append(max_of_bin(samples, *used))
    return torch.cat(parts) if parts else features.new_zeros(0, features.shape[1], *output_size)


def sample_weights(
    features: Tensor,
    rois: Float[Tensor, "k 5"],
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Per axis the weights (k, bins, samples, pixels) and which samples are used, (k, samples)."""
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale - 0.5 * aligned).unbind(1)
    if not aligned:
        x2, y2 = torch.maximum(x2, x1 + 1), torch.maximum(y2, y1 + 1)
    height, width = features.shape[2:]
    wy, used_y = _axis(y1, y2, output_size[0], sampling_ratio, height)
    wx, used_x = _axis(x1, x2, output_size[1], sampling_ratio, width)
    return wy, wx, (used_y, used_x)


def _axis(
    start: Tensor, end: Tensor, bins: int, sampling_ratio: int, length: int
) -> tuple[Float[Tensor, "k bins i pixels"], Bool[Tensor, "k i"]]:
    if not sampling_ratio:
        count = ((end - start) / bins).ceil().clamp(min=0)
        most = int(count.max()) if len(count) else 0
    else:
        count, most = torch.full_like(start, sampling_ratio), sampling_ratio
    i = torch.arange(most, device=start.device, dtype=start.dtype)
    within = (i + 0.5) / count.clamp(min=1)[:, None]  # (k, i) where in its bin, 0 .. 1
    bin_index = torch.arange(bins, device=start.device, dtype=start.dtype)[:, None]
    points = (
        start[:, None, None] + (bin_index + within[:, None]) * ((end - start) / bins)[:, None, None]
    )
    return hat(points, length, clamp=True), i < count[:, None]


def mean_of_bin(
    weights: Float[Tensor, "k p i pixels"], used: Bool[Tensor, "k i"]
) -> Float[Tensor, "k p pixels"]:
    """The weights of a bin's mean: those of its samples, averaged; zeros where it has none."""
    kept = weights * used[:, None, :, None]
    return kept.sum(2) / used.sum(1).clamp(min=1)[:, None, None]


def max_of_bin(
    samples: Float[Tensor, "k c p i q j"], used_y: Bool[Tensor, "k i"], used_x: Bool[Tensor, "k j"]
) -> Float[Tensor, "k c p q"]:
    """The largest sample of each bin; 0 where it has none."""
    used = used_y[:, None, None, :, None, None] & used_x[:, None, None, None, None, :]
    if not samples.numel():
        return samples.sum((3, 5))
    best = samples.masked_fill(~used, -torch.inf).amax((3, 5))
    return torch.where(used.any((3, 5)), best, 0.0)
