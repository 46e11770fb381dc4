"""What every part of a trace is made of, and how large it may become."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

MOST_BOXES, MOST_CELLS, MOST_PIXELS = 1000, 128, 1024
"""Boxes of a kind, cells a side of a map, pixels a side of the picture."""
EVERY = 2**31 - 1
"""A limit that cuts nothing."""


@dataclass(frozen=True)
class Part:
    """Some of a trace: values for JSON, arrays by name, and in words what was cut to bound it."""

    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)


def joined(parts: Sequence[Part]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The values of all parts, with what was cut under "cut", and their arrays."""
    about: dict[str, Any] = {"cut": [line for part in parts for line in part.cut]}
    arrays: dict[str, NDArray[Any]] = {}
    for part in parts:
        about |= part.about
        arrays |= part.arrays
    return about, arrays


def shrunk(pixels: UInt8[Tensor, "3 h w"], most: int) -> NDArray[np.uint8]:
    """A picture (h, w, 3) of at most so many pixels a side."""
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((most, most))
    return np.asarray(picture)


def pooled(map_: Float[Tensor, "h w"]) -> tuple[NDArray[np.float16], int]:
    """A map of at most MOST_CELLS a side, the largest of several cells, and how many a side."""
    factor = -(-max(map_.shape) // MOST_CELLS)
    if factor > 1:
        map_ = F.max_pool2d(map_[None, None], factor, ceil_mode=True)[0, 0]
    return map_.to(torch.float16).numpy(), factor
