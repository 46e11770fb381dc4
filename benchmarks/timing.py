"""Ours and the peer timed in turn, on inputs new to each round, every answer checked."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

import torch
from torch import Tensor

from benchmarks.roofs import caches
from benchmarks.workloads import WORKLOADS, Arguments, Place, Workload

CONFIDENCE = 0.95
FLUSHED, WRITES, READS = 2**30, 6, 3
"""Bytes written and then read between two samples on a GPU, and how often: more than any
second-level cache, for some 2 ms, in which the call to be timed is prepared. The reads come last:
else the call would have to store what was written before it."""
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 1e-2, "bfloat16": 6e-2}
"""Of the reference's largest value: enough for rounding, not for a wrong pixel."""


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


def measure(name: str, backend: str, place: Place, rounds: int, *, graph: bool = False) -> Timing:
    """Time ours and the peer in turn, in the other order each round.

    graph   time the replay of a CUDA graph; a peer that cannot be captured has no times then

    Raises AssertionError rather than time a wrong answer: before the first and after the last
    round, answers are compared with the reference.
    """
    workload = WORKLOADS[name]
    ours, peer = workload.ours(backend), workload.peer_at(place)
    if place.device == "cpu":
        torch.set_num_threads(place.threads)
    verify(workload, backend, place, 0)
    times: tuple[list[float], list[float]] = ([], [])
    contest = [(times[0], ours)] + ([(times[1], peer)] if peer else [])
    if graph:
        contest = [(t, f) for t, f in contest if f is ours or capturable(workload, f, place)]
    clock = on_replay if graph else on_gpu if place.device == "cuda" else on_cpu
    warm = workload.arguments(place, 0)
    for _, function in contest:
        workload.run(function, warm)
    for number in range(rounds):
        arguments = workload.arguments(place, number + 1)
        for samples, function in contest if number % 2 else contest[::-1]:
            samples.append(clock(workload, function, arguments))
    verify(workload, backend, place, rounds)
    return Timing(
        workload=name,
        backend=backend,
        place=place,
        graph=graph,
        ours_ms=tuple(times[0]),
        peer_ms=tuple(times[1]),
    )


def on_cpu(workload: Workload, function: Callable[..., Tensor], arguments: Arguments) -> float:
    """Milliseconds of one call."""
    return _clocked(lambda: workload.run(function, arguments), "cpu")


def on_gpu(workload: Workload, function: Callable[..., Tensor], arguments: Arguments) -> float:
    """Milliseconds of one call between two events, with nothing of its inputs in the cache.

    The flush also keeps the GPU busy while the call is prepared, so that what is timed is the GPU's
    work rather than Python's, unless the call waits for the GPU itself.
    """
    return cold(lambda: workload.run(function, arguments), "cuda")


def on_replay(workload: Workload, function: Callable[..., Tensor], arguments: Arguments) -> float:
    """Milliseconds of the replay of one call, captured in a CUDA graph: the kernels alone."""
    graph = captured(workload, function, arguments)
    return cold(graph.replay, "cuda")


def captured(
    workload: Workload, function: Callable[..., Tensor], arguments: Arguments
) -> torch.cuda.CUDAGraph:
    """One call as a CUDA graph. Raises RuntimeError where it waits for the GPU on its way."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        workload.run(function, arguments)
    return graph


def capturable(workload: Workload, function: Callable[..., Tensor], place: Place) -> bool:
    """Whether a function's call can be captured in a CUDA graph."""
    arguments = workload.arguments(place, 0, few=True)
    workload.run(function, arguments)
    try:
        captured(workload, function, arguments)
    except RuntimeError:
        torch.cuda.synchronize()
        return False
    return True


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
    """Milliseconds of one call whose inputs are in no cache."""
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


def copied(device: str, threads: int, megabytes: int) -> float:
    """Bytes per second of a copy, read and written: the best of ten, the roof for moving data."""
    if device == "cpu":
        torch.set_num_threads(threads)
    source = torch.ones(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(10):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * source.nbytes / (time.perf_counter() - start))
    return best


def touched(workload: Workload, arguments: Arguments) -> int | None:
    """The fewest bytes a forward pass over maps must move: the pixels that these RoIs read, once,
    and the result. None for other workloads. A pixel read with weight 0 is not counted.
    """
    if workload.backward or not workload.maps:
        return None
    maps = arguments["features"]
    of_one = [m[:, :1].float() for m in (maps if isinstance(maps, list) else [maps])]
    leaves = [torch.ones_like(m).requires_grad_() for m in of_one]
    given = leaves if isinstance(maps, list) else leaves[0]
    out = workload.ours("torchvision")(**{**arguments, "features": given})
    read = sum(int(g.count_nonzero()) for g in torch.autograd.grad(out.sum(), leaves))
    first = maps[0] if isinstance(maps, list) else maps
    return (read + out.numel()) * first.shape[1] * first.itemsize
