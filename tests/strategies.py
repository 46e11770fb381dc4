"""Hypothesis strategies for detection: small, shrinkable, the awkward cases among them."""

import torch
from hypothesis import strategies as st
from torch import Tensor


@st.composite
def boxes(draw: st.DrawFn, least: int = 0, most: int = 12) -> Tensor:
    """(n, 4) float32 boxes in a 100 px image, some of them equal, none empty."""
    n = draw(st.integers(least, most))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    corner, side = torch.rand(n, 2, generator=g) * 70, torch.rand(n, 2, generator=g) * 29 + 1
    found = torch.cat([corner, corner + side], 1)
    return found[torch.randint(n, (n,), generator=g)] if n and draw(st.booleans()) else found
