"""Two backends timed in turn, on the same fresh inputs, each answer checked."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

import kernels
from benchmarks.cases import CASES


@dataclass(frozen=True, kw_only=True)
class Timing:
    """All samples of one case: per backend, milliseconds of each round."""

    case: str
    samples_ms: dict[str, list[float]]

    def median_ms(self, backend: str) -> float:
        return median(self.samples_ms[backend])

    def ratio(self, backend: str, peer: str) -> tuple[float, float, float]:
        """How many times faster than the peer: median over rounds, and the middle 80 % of them."""
        pairs = zip(self.samples_ms[peer], self.samples_ms[backend], strict=True)
        ratios = sorted(theirs / ours for theirs, ours in pairs)
        tenth = len(ratios) // 10
        return median(ratios), ratios[tenth], ratios[len(ratios) - 1 - tenth]


def measure(case: str, backends: Sequence[str], rounds: int) -> Timing:
    """Time the backends in turn, in another order each round, on inputs new to each round.

    Raises AssertionError rather than time a wrong answer: the first and the last round's answers
    are compared with the reference.
    """
    samples: dict[str, list[float]] = {backend: [] for backend in backends}
    _verify(case, backends, 0)
    for number in range(rounds):
        run = CASES[case].run(number + 1)
        order = list(backends) if number % 2 else list(reversed(backends))
        for backend in order:
            start = time.perf_counter()
            run(backend)
            samples[backend].append(1e3 * (time.perf_counter() - start))
    _verify(case, backends, rounds)
    return Timing(case=case, samples_ms=samples)


def _verify(case: str, backends: Sequence[str], seed: int) -> None:
    run = CASES[case].run(seed)
    expected = run("reference")
    for backend in backends:
        if not torch.allclose(run(backend), expected, rtol=1e-4, atol=2e-4):
            raise AssertionError(f"{case}: {backend} is wrong, so it is not timed")


def backends_of(case: str) -> list[str]:
    """Every backend of a case's operator but the reference, which is no claim to speed."""
    op = kernels.operators()[CASES[case].operator]
    native = op.native("cpu")
    others = [name for name in native if name != "reference"]
    return others if len(others) > 1 else native
