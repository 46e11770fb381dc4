"""CropAndResize, written to be read: one small matrix of hat weights per axis."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kernels.rois import ELEMENTS_AT_ONCE, hat


def crop_and_resize(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: Sequence[int],
    extrapolation_value: float,
) -> Float[Tensor, "k c oh ow"]:
    """The definition; see the specification. Chunked over RoIs: O(ELEMENTS_AT_ONCE) memory.

    Raises nothing: arguments were checked by the operator.
    Source: TensorFlow, tf.image.crop_and_resize.
    """
    height, width = features.shape[2:]
    at_once = max(1, ELEMENTS_AT_ONCE // max(features.shape[1:].numel(), 1))
    parts = [features.new_zeros(0, features.shape[1], *output_size)]
    for some in rois.split(at_once):
        image, x1, y1, x2, y2 = some.unbind(1)
        wy, inside_y = _axis(y1, y2, output_size[0], height)
        wx, inside_x = _axis(x1, x2, output_size[1], width)
        read = torch.einsum("kph,kchw,kqw->kcpq", wy, features[image.long()], wx)
        inside = (inside_y[:, :, None] & inside_x[:, None])[:, None]
        parts.append(torch.where(inside, read, extrapolation_value))
    return torch.cat(parts)


def _axis(
    low: Float[Tensor, " k"], high: Float[Tensor, " k"], bins: int, length: int
) -> tuple[Float[Tensor, "k {bins} {length}"], Bool[Tensor, "k {bins}"]]:
    """Weights of the pixels in each bin, and which bins lie on the map."""
    points = sample_points(low, high, bins, length)
    inside = (points >= 0) & (points <= length - 1)
    return hat(points, length, clamp=True, margin=0.0), inside


def sample_points(
    low: Float[Tensor, " k"], high: Float[Tensor, " k"], bins: int, length: int
) -> Float[Tensor, "k {bins}"]:
    """Where the bins between two normalised ends are read, in pixels, 0 the first one's centre."""
    if bins == 1:
        return ((low + high) * 0.5 * (length - 1))[:, None]
    start, end = (low * (length - 1))[:, None], (high * (length - 1))[:, None]
    step = (end - start) / (bins - 1)
    index = torch.arange(bins, device=low.device, dtype=low.dtype)
    from_start, from_end = start + index * step, end - (bins - 1 - index) * step
    return torch.where(2 * index < bins, from_start, from_end)
