"""What the losses are divided by."""

from jaxtyping import Float
from torch import Tensor


def average(total: Float[Tensor, ""], count: int | float) -> Float[Tensor, ""]:
    """A sum over sampled things divided by how many there were, or by 1 where there were none."""
    return total / max(count, 1)
