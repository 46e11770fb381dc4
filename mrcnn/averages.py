"""What the losses are divided by."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from mrcnn.ranks import Ranks

Normaliser = Literal["global", "per_rank"]
"""global     by the count over all processes: the mean of their gradients is that of one process on
           the whole batch
per_rank   each process by its own count: Detectron, detectron2, mmdetection, torchvision, each with
           2 images a GPU, so that an object in a crowded pair of images weighs less"""

_NEEDED = ContextVar["_Counts | None"]("counts to be summed over the ranks", default=None)


def average(total: Float[Tensor, ""], count: int | float) -> Float[Tensor, ""]:
    """A sum over sampled things divided by how many there were, or by 1 where there were none.

    Every process has to come here equally often and in the same order, with a total of 0 where it
    has nothing to sum: with normaliser "global" they exchange their counts here.
    """
    counts = _NEEDED.get()
    return total / (max(count, 1) if counts is None else counts(float(count)))


@contextmanager
def counted(ranks: Ranks, normaliser: Normaliser) -> Iterator[None]:
    """Within the block, `average` divides so that the mean over the ranks is normalised as said.

    Raises RuntimeError on every rank if one of them has more losses to divide than another.
    """
    counts = _Counts(ranks) if ranks.of > 1 and normaliser == "global" else None
    token = _NEEDED.set(counts)
    try:
        yield
    finally:
        _NEEDED.reset(token)
    if counts is not None:
        counts.close()


class _Counts:
    """Sums of counts over the ranks. With each count goes which one it is, so that ranks that are
    not at the same loss say so, instead of waiting for each other for ever.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.calls = ranks, 0

    def __call__(self, count: float) -> float:
        self.calls += 1
        return max(self._sum(count, self.calls), 1.0) / self.ranks.of

    def close(self) -> None:
        self._sum(0.0, 0)

    def _sum(self, count: float, call: int) -> float:
        counts, calls = zip(*self.ranks.table([count, float(call)]), strict=True)
        if len(set(calls)) > 1:
            at = [int(c) or "the end" for c in calls]
            raise RuntimeError(f"the processes are at different losses: {at}, by rank")
        return sum(counts)
