"""Where randomness comes from: names and numbers, never a generator's hidden state.

Weights depend on (seed, part of the network), a batch on (seed, step), its sampling on (seed, step)
again. So a resumed run draws what the uninterrupted one would have drawn, and two variants of a
network share every draw that their shapes allow.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import torch

Part = TypeVar("Part")


def generator(*names: int | str) -> torch.Generator:
    """A CPU generator that depends on `names` alone."""
    return torch.Generator().manual_seed(_number(names))


def seeded(seed: int, part: str, build: Callable[[], Part]) -> Part:
    """Build a part with random weights that depend on the seed and the part's name alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_number((seed, part)))
        return build()


def _number(names: tuple[int | str, ...]) -> int:
    digest = hashlib.blake2b(repr(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
