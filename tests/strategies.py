"""Hypothesis strategies for detection: small, shrinkable, the awkward cases among them."""

import torch
from hypothesis import strategies as st
from torch import Tensor

coefficients = st.floats(-4, 4, width=32)
scales = st.sampled_from([1.0, 1 / 4, 1 / 16, 0.3])
sizes = st.tuples(st.integers(1, 4), st.integers(1, 5))


@st.composite
def rois_within(draw: st.DrawFn, height: int, width: int, scale: float, images: int = 1) -> Tensor:
    """(k, 5) float64 RoIs whose every sample point lies between pixel centres."""

    def side(limit: int) -> tuple[float, float]:
        a, b = sorted(draw(st.floats(0.5, limit - 0.5)) / scale for _ in range(2))
        return a, b

    def roi() -> list[float]:
        (x1, x2), (y1, y2) = side(width), side(height)
        return [draw(st.integers(0, images - 1)), x1, y1, x2, y2]

    return torch.tensor([roi() for _ in range(draw(st.integers(0, 3)))]).double().reshape(-1, 5)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, float]:
    """Features of three images, RoIs that may reach outside, and a scale; float64, seeded."""
    seed, scale = draw(st.integers(0, 2**16)), draw(scales)
    height, width, count = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 6))
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 2, height, width, generator=g, dtype=torch.float64)
    extent = torch.tensor([width, height], dtype=torch.float64) / scale
    corner = (torch.rand(count, 2, generator=g, dtype=torch.float64) * 1.4 - 0.2) * extent
    side = torch.rand(count, 2, generator=g, dtype=torch.float64) * extent * 0.9
    image = torch.randint(3, (count, 1), generator=g).double()
    return features, torch.cat([image, corner, corner + side], 1), scale


@st.composite
def boxes(draw: st.DrawFn, least: int = 0, most: int = 12) -> Tensor:
    """(n, 4) float32 boxes in a 100 px image, some of them equal, none empty."""
    n = draw(st.integers(least, most))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    corner, side = torch.rand(n, 2, generator=g) * 70, torch.rand(n, 2, generator=g) * 29 + 1
    found = torch.cat([corner, corner + side], 1)
    return found[torch.randint(n, (n,), generator=g)] if n and draw(st.booleans()) else found
