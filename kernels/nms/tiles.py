"""How NMS on a GPU is cut up: boxes by falling score, in tiles of 64, some rows of tiles at once.

Row i of the mask has a bit per box: whether box i and that one overlap by more than the threshold.
It has n * n / 8 bytes, 1.25 GB for 100 000 boxes, so that no more than some rows are ever there.
"""

from collections.abc import Iterator

from jaxtyping import Float, Int
from torch import Tensor

TILE = 64
"""Boxes of a tile, and bits of a word of the mask."""
MASK_BYTES = 2**28
"""Largest mask that is there at once, where that is a row of tiles at least."""


def by_score(scores: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Indices of falling scores, equal ones by rising index. Adding 0 makes -0 the same as 0."""
    return (scores + 0.0).argsort(descending=True, stable=True)


def words(n: int) -> int:
    """Words of a row of the mask."""
    return -(-n // TILE)


def chunks(n: int) -> Iterator[tuple[int, int]]:
    """(first, end) of the rows that are there at once, by falling score."""
    rows = max(MASK_BYTES // (8 * words(n) * TILE), 1) * TILE if n else 1
    return ((first, min(first + rows, n)) for first in range(0, n, rows))


def kept(keep: Int[Tensor, " n"], count: Int[Tensor, " 1"]) -> Int[Tensor, " k"]:
    """The list without its padding. Waits for the device: how long it is decides its shape."""
    return keep[: int(count)]
