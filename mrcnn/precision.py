"""In which arithmetic a network computes: by default float32 that is float32, on a GPU too."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""fp32   IEEE float32 throughout, what a CPU computes
tf32   products of convolutions and matrices cut to 10 bits of mantissa, on GPUs that can; what
       PyTorch does to convolutions unless told otherwise
bf16   autocast, sums in float32
fp16   autocast with a scaled loss"""

LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def float32_products(kind: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Within the block, how a GPU multiplies float32 numbers; a CPU always does so exactly."""
    places = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = kind
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def autocast(precision: Precision, device: str) -> torch.autocast:
    """Autocast as `precision` asks for it on a device type such as "cuda"; none in float32."""
    low = LOW.get(precision)
    return torch.autocast(device, dtype=low or torch.bfloat16, enabled=low is not None)
