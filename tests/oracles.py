"""Slow loops, written from the specifications alone. They share no code with the references."""

import math

import torch
from torch import Tensor


def roi_align(features: Tensor, roi: list[float], c: int, p: int, q: int, **k) -> float:
    """One bin of RoIAlign, point by point, corner by corner."""
    bins_y, bins_x = k["output_size"]
    shift = 0.5 if k["aligned"] else 0.0
    x1, y1, x2, y2 = (v * k["spatial_scale"] - shift for v in roi[1:])
    if not k["aligned"]:
        x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    side_y, side_x = (y2 - y1) / bins_y, (x2 - x1) / bins_x
    ratio = k["sampling_ratio"]
    ny = max(math.ceil(side_y), 0) if ratio == "adaptive" else ratio
    nx = max(math.ceil(side_x), 0) if ratio == "adaptive" else ratio
    samples = [
        bilinear(
            features[int(roi[0]), c],
            y1 + (p + (i + 0.5) / ny) * side_y,
            x1 + (q + (j + 0.5) / nx) * side_x,
        )
        for i in range(ny)
        for j in range(nx)
    ]
    if not samples:
        return 0.0
    return max(samples) if k["reduce"] == "max" else sum(samples) / len(samples)


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """The map at a point: 0 beyond one pixel outside, the border value nearer than that."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = (1 - fx) * float(plane[top, left]) + fx * float(plane[top, right])
    lower = (1 - fx) * float(plane[below, left]) + fx * float(plane[below, right])
    return (1 - fy) * upper + fy * lower


def every_bin(oracle, features: Tensor, rois: Tensor, **k) -> Tensor:
    """The oracle for all RoIs, channels and bins."""
    out = torch.zeros(len(rois), features.shape[1], *k["output_size"], dtype=torch.float64)
    for index in torch.cartesian_prod(*[torch.arange(n) for n in out.shape]).tolist():
        r, c, p, q = index
        out[r, c, p, q] = oracle(features, rois[r].tolist(), c, p, q, **k)
    return out
