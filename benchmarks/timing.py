"""Ours and the peer timed in turn, on inputs new to each round, every answer checked."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.benchmark import Ready
from benchmarks.roofs import Cache, caches
from benchmarks.workloads import Arguments, Place, Workload

CONFIDENCE = 0.95
FLUSHED, WRITES, READS = 2**30, 6, 3
"""Bytes written and then read between two samples on a GPU, and how often: more than any
second-level cache, for some 2 ms, in which the call to be timed is prepared. The reads come last:
else the call would have to store what was written before it."""
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 1e-2, "bfloat16": 6e-2}
"""Of the reference's largest value: enough for rounding, not for a wrong pixel."""
UNLIKE = 0.05
"""The share of values in which a graph's replay may differ from its call: sums in another order."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of each round, ours and the peer's side by side; no peer, no times of it.

    graph   whether each call was captured in a CUDA graph, and its replay is what was timed
    """

    workload: str
    backend: str
    place: Place
    graph: bool = False
    ours_ms: tuple[float, ...]
    peer_ms: tuple[float, ...] = ()

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """How many times as fast as the peer: the median over rounds and its 95 % interval."""
        if not self.peer_ms:
            return None
        pairs = zip(self.peer_ms, self.ours_ms, strict=True)
        return interval_of_median([theirs / ours for theirs, ours in pairs])


def interval_of_median(values: list[float]) -> tuple[float, float, float]:
    """The median and two of the values that enclose the true one with 95 % confidence at least.

    It assumes independent rounds and nothing of how they are distributed; with fewer than six
    values there is no such interval, and it is the least to the greatest.
    Source: Hahn and Meeker 1991, "Statistical Intervals", sec. 5.2.
    """
    from scipy.stats import binom  # a worker of the gate, which loads this file, has no use for it

    ordered, count = sorted(values), len(values)
    rank = int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
    rank = max(rank - 1, 0) if count >= 6 else 0
    return median(ordered), ordered[rank], ordered[count - 1 - rank]


def samples(
    sides: Sequence[Ready], device: str, rounds: int, kept: Cache, *, graph: bool = False
) -> list[tuple[float, ...]]:
    """Milliseconds of each side in each round, in the other order every time.

    sides   have been run before, and share their inputs, which the first renews for each round
    graph   time the replay of a CUDA graph of each call, captured on the inputs of its round
    """

    def call(side: Ready) -> Callable[[], object]:
        return captured(side.run)[0].replay if graph else side.run

    calls = [calibrated(call(side), device) if kept == "hot" else 1 for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        sides[0].renew(number + 1)
        for i in range(len(sides))[:: 1 if number % 2 else -1]:
            run = call(sides[i])
            cost = cold(run, device) if kept == "cold" else hot(run, device, calls[i])
            times[i].append(cost)
    return [tuple(some) for some in times]


def captured(run: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """A call that has been made before as a CUDA graph, and the result that each replay fills.

    Raises RuntimeError with the reason where it cannot be, for it waits for the GPU on its way.
    """
    stream, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            found = run()
    except RuntimeError as error:
        torch.cuda.set_stream(stream)  # a capture that fails stays on its own
        torch.cuda.synchronize()
        why = error.__context__ or error  # the failure itself, not that of the end after it
        raise RuntimeError(f"a CUDA graph cannot hold it: {why}") from None
    return graph, found


def held(sides: Sequence[Ready], tolerance: float) -> list[Ready]:
    """The sides whose calls a CUDA graph can hold: the first has to be, others are left out.

    Raises RuntimeError with the reason if the first cannot, and AssertionError if a replay does
    not give what the call does.
    """
    found: list[Ready] = []
    for side in sides:
        expected: Any = side.run()
        try:
            graph, again = captured(side.run)
        except RuntimeError:
            if not found:
                raise
            continue
        for one in again:
            one.fill_(float("nan") if one.is_floating_point() else -1)
        graph.replay()
        if differing(again, expected, tolerance) > UNLIKE:
            raise AssertionError("the replay of its CUDA graph gives another answer")
        found.append(side)
    return found


def flush(device: str) -> None:
    """Leave nothing of what a call will read in a cache; on a GPU without waiting for it."""
    if device == "cpu":
        _old_data().add_(1)
        return
    written = torch.empty(FLUSHED, dtype=torch.uint8, device="cuda")
    for _ in range(WRITES):
        written.fill_(1)
    for _ in range(READS):
        written.view(torch.int64).sum()


@cache
def _old_data() -> Tensor:
    """Four times the bytes of the last cache, 64 MiB at least, to push other data out with."""
    return torch.zeros(max(4 * max(caches("cpu").values(), default=0), 2**26), dtype=torch.uint8)


def cold(run: Callable[[], object], device: str) -> float:
    """Milliseconds of one call whose inputs are in no cache.

    The flush keeps a GPU busy while the call is prepared, so that what is timed is the GPU's work
    rather than Python's, unless the call waits for the GPU itself.
    """
    flush(device)
    return _clocked(run, device)


def hot(run: Callable[[], object], device: str, calls: int) -> float:
    """Milliseconds of a call that has just been made: the mean of so many in a row."""

    def several() -> None:
        for _ in range(calls):
            run()

    run()
    return _clocked(several, device) / calls


def calibrated(run: Callable[[], object], device: str, least_ms: float = 1.0) -> int:
    """How many calls in a row take `least_ms` at least, so that the clock's own time is nothing."""
    calls = 1
    while hot(run, device, calls) * calls < least_ms and calls < 4096:
        calls *= 2
    return calls


def _clocked(run: Callable[[], object], device: str) -> float:
    if device == "cuda":
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        run()
        ended.record()
        torch.cuda.synchronize()
        return float(begun.elapsed_time(ended))
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def verify(workload: Workload, backend: str, place: Place, seed: int) -> None:
    """Raises AssertionError if a part of the answer is not the reference's, in float64."""
    given = workload.arguments(place, seed, few=True)
    expected = workload.run(workload.ours("reference"), widened(given))
    found = workload.run(workload.ours(backend), given)
    for one, two in zip(found, expected, strict=True):
        one, two = one.double(), two.double()
        bound = TOLERANCE[place.dtype] * float(two.abs().amax().clamp(min=1))
        if one.shape != two.shape or not torch.allclose(one, two, rtol=0, atol=bound):
            raise AssertionError(f"{workload.operator}: {backend} is wrong, so it is not timed")


def differing(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> float:
    """The share of values that differ by more than `tolerance` of the largest that is expected.

    Lists of indices are compared as sets: the share of indices that one of them lacks. Results of
    other shapes differ in all values, and NaN from everything.
    """
    return max(_apart(one, two, tolerance) for one, two in zip(found, expected, strict=True))


def _apart(one: Tensor, two: Tensor, tolerance: float) -> float:
    if one.dtype == two.dtype == torch.long:
        return 1 - int(torch.isin(one, two).sum()) / max(len(one), len(two), 1)
    if one.shape != two.shape:
        return 1.0
    if one.dtype == torch.bool:
        return float((one ^ two).sum()) / max(one.numel(), 1)
    bound = tolerance * max(float(two.abs().max()), 1.0)
    return float((~((one - two).abs() <= bound)).sum()) / max(one.numel(), 1)


def widened(given: Arguments) -> Arguments:
    """The same arguments in float64, for the reference."""
    return {name: _doubled(value) for name, value in given.items()}


def _doubled(value: object) -> object:
    if isinstance(value, list):
        return [_doubled(v) for v in value]
    floats = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if floats else value  # type: ignore[attr-defined]
