"""RoIPool bin by bin, every decision of it open: what faults, and other right ways, change.

It shares no code with the reference, which works with masks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def away(x: float) -> int:
    """Rounded, halves away from zero."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def floor_to_ceil(i: int, side: int, bins: int) -> tuple[int, int]:
    """The first pixel of a bin within its box, and the one after its last."""
    return i * side // bins, -(-(i + 1) * side // bins)


@dataclass(frozen=True, kw_only=True)
class Pooler:
    """An implementation of roi_pool, called as one.

    whole    rounds a corner
    beyond   pixels of a box after the difference of its corners
    least    pixels of a box
    edges    (bin, side, bins) -> its pixels
    most     of a bin's pixels (c, h, w)
    missing  a bin without pixels
    cut      boxes are cut to the map before they are divided
    """

    whole: Callable[[float], int] = away
    beyond: int = 1
    least: int = 1
    edges: Callable[[int, int, int], tuple[int, int]] = floor_to_ceil
    most: Callable[[Tensor], Tensor] = lambda pixels: pixels.amax((1, 2))
    missing: float = 0.0
    cut: bool = False

    def __call__(
        self, features: Tensor, rois: Tensor, *, output_size: Sequence[int], spatial_scale: float
    ) -> Tensor:
        out = [features.new_zeros(0, features.shape[1], *output_size) + 0 * features.sum()]
        for row in rois:
            x1, y1, x2, y2 = (self.whole(v) for v in (row[1:] * spatial_scale).tolist())
            plane = features[int(row[0])]
            ys = self._bins(y1, y2, output_size[0], plane.shape[1])
            xs = self._bins(x1, x2, output_size[1], plane.shape[2])
            bins = [self._read(plane[:, a:b, c:d]) for a, b in ys for c, d in xs]
            out.append(torch.stack(bins, 1).unflatten(1, tuple(output_size))[None])
        return torch.cat(out)

    def _bins(self, low: int, high: int, bins: int, length: int) -> list[tuple[int, int]]:
        if self.cut:
            low, high = max(low, 0), min(high, length - 1)
        side = max(high - low + self.beyond, self.least)
        edges = [self.edges(i, side, bins) for i in range(bins)]
        return [(min(max(low + a, 0), length), min(max(low + b, 0), length)) for a, b in edges]

    def _read(self, pixels: Tensor) -> Tensor:
        if not pixels.shape[1] * pixels.shape[2]:
            return torch.full_like(pixels.sum((1, 2)), self.missing)
        return self.most(pixels)
