"""RoIAlign sample by sample, every decision of it open: what faults, and other right ways, change.

It shares no code with the references, which work with matrices.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def ceil(side: float, bins: int) -> int:
    """The adaptive number of samples along one axis of a bin."""
    return max(math.ceil(side / bins), 0)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """An implementation of roi_align, called as one.

    count      adaptive samples of (side, bins)
    widen      legacy RoIs to one pixel
    border     what a sample further out than `margin` is: "zero", "clamp"ed, or "left out"
    corners    the maximum is of weighted corners, not of samples
    square     columns are sampled as often as rows
    divide     (sum of a bin's samples, how many) -> its mean
    add        how samples are added up: over the last axis
    neighbour  of the last pixel: itself, or the one before it, either with weight 0 or all of it
    """

    count: Callable[[float, int], int] = ceil
    widen: bool = True
    border: Literal["zero", "clamp", "left out"] = "zero"
    margin: float = 1.0
    corners: bool = False
    square: bool = False
    divide: Callable[[Tensor, int], Tensor] = lambda total, n: total / max(n, 1)
    add: Callable[[Tensor], Tensor] = lambda samples: samples.sum(-1)
    neighbour: Literal["clamped", "inner"] = "clamped"

    def __call__(
        self,
        features: Tensor,
        rois: Tensor,
        *,
        output_size: Sequence[int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
        reduce: str,
    ) -> Tensor:
        if not features.numel():
            return features.new_zeros(len(rois), features.shape[1], *output_size)
        out = [features.new_zeros(0, features.shape[1], *output_size) + 0 * features.sum()]
        for row in rois:
            corners = row[1:] * spatial_scale - 0.5 * aligned
            grid = self._grid(corners, output_size, sampling_ratio, aligned)
            out.append(self._bins(features[int(row[0])], *grid, reduce)[None])
        return torch.cat(out)

    def _grid(
        self, corners: Tensor, size: Sequence[int], ratio: int, aligned: bool
    ) -> tuple[Tensor, Tensor]:
        """Sample positions (bins, samples) along y and x."""
        x1, y1, x2, y2 = corners.unbind()
        height, width = y2 - y1, x2 - x1
        if not aligned and self.widen:
            height, width = height.clamp(min=1), width.clamp(min=1)
        ny = ratio or self.count(float(height), size[0])
        nx = ratio or self.count(float(width), size[1])
        nx = ny if self.square else nx
        return points_along(y1, height, size[0], ny), points_along(x1, width, size[1], nx)

    def _bins(self, plane: Tensor, ys: Tensor, xs: Tensor, reduce: str) -> Tensor:
        y, wy, in_y = self._read(ys.flatten(), plane.shape[1])
        x, wx, in_x = self._read(xs.flatten(), plane.shape[2])
        inside = in_y[:, None] & in_x
        if self.border == "clamp":
            inside = torch.ones_like(inside)
        parts = [
            plane[:, y[i]][:, :, x[j]] * (wy[i][:, None] * wx[j])
            for i in range(2)
            for j in range(2)
        ]
        stacked = torch.stack(parts, -1)
        read = stacked.amax(-1) if self.corners and reduce == "max" else stacked.sum(-1)
        read = torch.where(inside, read, 0.0)
        shape = (ys.shape[0], ys.shape[1], xs.shape[0], xs.shape[1])
        samples = read.unflatten(2, shape[2:]).unflatten(1, shape[:2]).transpose(2, 3).flatten(3)
        n = samples.shape[3]
        if not n:
            return self.divide(samples.sum(-1), 0)
        if reduce == "max":
            return samples.amax(-1)
        if self.border == "left out":
            used = inside.unflatten(1, shape[2:]).unflatten(0, shape[:2]).transpose(1, 2).flatten(2)
            return samples.sum(-1) / used.sum(-1).clamp(min=1)
        return self.divide(self.add(samples), n)

    def _read(self, at: Tensor, length: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The two pixels next to each position, their weights, and whether it is on the map."""
        inside = (at >= -self.margin) & (at <= length - 1 + self.margin)
        at = at.clamp(0, length - 1)
        low = at.floor().long()
        if self.neighbour == "inner":
            low = low.clamp(max=max(length - 2, 0))
        high = (low + 1).clamp(max=length - 1)
        far = at - low
        return [low, high], [1 - far, far], inside


def points_along(start: Tensor, side: Tensor, bins: int, count: int) -> Tensor:
    """Where a RoI is sampled along one axis: (bins, count)."""
    bin_index = torch.arange(bins, dtype=start.dtype)[:, None]
    within = (torch.arange(count, dtype=start.dtype) + 0.5) / max(count, 1)
    return start + (bin_index + within) * (side / bins)
