"""Mask pasting as two matrices of hat weights per mask: one for its rows, one for its columns."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kernels.rois import ELEMENTS_AT_ONCE, hat


def paste_masks(
    masks: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    *,
    size: Sequence[int],
    method: Literal["exact", "grown"],
    threshold: float | None,
) -> Tensor:
    """The definition; see the specification. Chunked over masks.

    Raises nothing: arguments were checked by the operator.
    Source: He et al. 2017, sec. 3.1, "Inference".
    """
    dtype = torch.promote_types(masks.dtype, boxes.dtype)
    masks, boxes = masks.to(dtype), boxes.to(dtype)
    weigh = _exact if method == "exact" else _grown
    masks = F.pad(masks, (1, 1, 1, 1)) if method == "grown" else masks
    at_once = max(1, ELEMENTS_AT_ONCE // (size[0] * size[1]))
    kept = torch.bool if threshold is not None else masks.dtype
    pasted = torch.empty(len(masks), *size, dtype=kept, device=masks.device)
    for i in range(0, len(masks), at_once):
        some, (x1, y1, x2, y2) = masks[i : i + at_once], boxes[i : i + at_once].unbind(1)
        rows = weigh(y1, y2, size[0], masks.shape[1])
        columns = weigh(x1, x2, size[1], masks.shape[1])
        soft = rows @ some @ columns.mT
        pasted[i : i + at_once] = soft if threshold is None else soft >= threshold
    return pasted


def _exact(start: Tensor, end: Tensor, length: int, m: int) -> Float[Tensor, "n length m"]:
    centres = torch.arange(length, device=start.device, dtype=start.dtype) + 0.5
    side = (end - start)[:, None]
    place = (centres - start[:, None]) / side.clamp(min=torch.finfo(side.dtype).tiny)
    return hat(place.clamp(-1, 2) * m - 0.5, m, clamp=False) * (side > 0)[..., None]


def _grown(start: Tensor, end: Tensor, length: int, padded: int) -> Float[Tensor, "n length p"]:
    half = (end - start) / 2 * (padded / (padded - 2))
    middle = (start + end) / 2
    first, last = (middle - half).trunc(), (middle + half).trunc()
    side = (last - first + 1).clamp(min=1)[:, None]
    pixel = torch.arange(length, device=start.device, dtype=start.dtype) - first[:, None]
    place = ((pixel + 0.5) * (padded / side) - 0.5).clamp(0, padded - 1)
    inside = (pixel >= 0) & (pixel < side)
    return hat(place, padded, clamp=True) * inside[..., None]
