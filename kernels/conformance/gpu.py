"""Ways to call a kernel that only a GPU has, and states of the process that a call is made in."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from kernels.library import holds_tensors, tensors_of

Way = Literal["stream", "graph", "memory", "timing"]
State = Literal["deterministic", "reversed", "shuffled"]
Function = Callable[..., Tensor]
WAIT = 20_000_000
"""Cycles for which a stream is made to wait, some 10 ms: all that was launched has begun by then,
unless it stands in line behind the wait."""
REPEATS = 50
GROWN = 2**29
"""Bytes of a result that is timed: many times the L2 cache, and more work than to launch it is."""
SLOW_S = 0.2
TIMED, TRIES = 20, 25
"""Calls that are timed together, and how often at most: others may use the GPU as well, and who
cheats does so every time. A call of SLOW_S or more needs no larger result."""
PAUSE_S = 0.01
"""Before the second try, and as much longer before each after it: who else uses the GPU may end."""


def stream(function: Function, given: dict[str, Any]) -> Tensor:
    """On a stream of its own, on inputs that come late there, the result read at once.

    What is launched on another stream reads zeros, or is not done when its result is read. So it is
    with the gradient, which comes late to the backward pass.
    """
    function(**given)  # compiles, which would outlast the wait
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        left = iter(_late(tensors_of(given)))
        found = function(**_replaced(given, left)).clone()
    if found.requires_grad:
        found.register_hook(lambda grad: _late([grad])[0])
    torch.cuda.current_stream().wait_stream(side)
    return found


def _late(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies that are zeros until the current stream has waited."""
    held = [torch.zeros_like(tensor) for tensor in tensors]
    torch.cuda._sleep(WAIT)
    return [one.copy_(tensor) for one, tensor in zip(held, tensors, strict=True)]


def _replaced(given: Mapping[str, Any], left: Iterator[Tensor]) -> dict[str, Any]:
    """The arguments with other tensors in place of theirs, in order."""

    def each(value: Any) -> Any:
        if isinstance(value, Tensor):
            return next(left)
        return [next(left) for _ in value] if holds_tensors(value) else value

    return {name: each(value) for name, value in given.items()}


def graph(function: Function, given: dict[str, Any]) -> Tensor:
    """Captured on other values, forward and backward, and replayed on these."""

    def on(*tensors: Tensor) -> Tensor:
        return function(**_replaced(given, iter(tensors)))

    tensors = tuple(tensors_of(given))
    other = tuple(t.detach().flip(0).requires_grad_(t.requires_grad) for t in tensors)
    with _nothing_freed():  # a graph of before that ends now may end the capture as well
        replayed: Any = torch.cuda.make_graphed_callables(on, other, allow_unused_input=True)
    found: Tensor = replayed(*tensors)
    torch.cuda.synchronize()
    return found


@contextmanager
def _nothing_freed() -> Iterator[None]:
    """Without the collector of garbage, which has just been."""
    gc.collect()
    torch.cuda.synchronize()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def memory(function: Function, given: dict[str, Any]) -> Tensor:
    """Many times. Raises MemoryError if more of PyTorch's memory is in use than after the first."""
    found = function(**given)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(REPEATS):
        function(**given)
    torch.cuda.synchronize()
    left = torch.cuda.memory_allocated() - before
    if left > 0:
        raise MemoryError(f"{REPEATS} calls leave {left} bytes in use")
    return found


def timing(function: Function, given: dict[str, Any]) -> Tensor:
    """Once as it is, then timed on so many rows that the result is GROWN bytes or more.

    Raises TimeoutError if the events around the calls are nearer than the results can have been
    written in, at three times the speed of a copy, or if the GPU is at work long after the last.
    """
    found = function(**given)
    if not found.numel():
        return found
    with torch.no_grad():
        large, result = _grown(function, given)
        least = TIMED * result.nbytes / (3 * _copied_per_s(result))
        for attempt in range(TRIES):
            time.sleep(attempt * PAUSE_S)
            events, wall = _timed(function, large)
            if events >= least and wall <= 1.25 * events + 1e-3:
                return found
    if events < least:
        took = f"{TIMED} calls take {1e3 * events:.3f} ms"
        raise TimeoutError(f"{took}: to write their results takes {1e3 * least:.3f} ms or more")
    took = f"the stream is done after {1e3 * events:.3f} ms"
    raise TimeoutError(f"{took}, the GPU after {1e3 * wall:.3f} ms: it works on another stream")


def _grown(function: Function, given: dict[str, Any]) -> tuple[dict[str, Any], Tensor]:
    """The arguments with rows again and again, maps and bitmaps excepted, and their result.

    There are fewer for a kernel that is slow anyway, or runs out of memory. Slow is a second call:
    the first may compile.
    """
    fixed = ("features", "masks") if "index" in given else ("features",)
    result, seconds = function(**given), 0.0
    while result.nbytes < GROWN and seconds < SLOW_S:
        more = {
            n: torch.cat([v, v]) if isinstance(v, Tensor) and n not in fixed else v
            for n, v in given.items()
        }
        try:
            result, given = function(**more), more
        except torch.OutOfMemoryError:
            break
        torch.cuda.synchronize()
        begun = time.perf_counter()
        function(**given)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
    return given, result


def _timed(function: Function, given: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds that a number of calls take by the stream's events, and until the GPU is idle."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun = time.perf_counter()
    first.record()
    for _ in range(TIMED):
        function(**given)
    last.record()
    torch.cuda.synchronize()
    wall = time.perf_counter() - begun
    return first.elapsed_time(last) / 1e3, wall


def _copied_per_s(like: Tensor) -> float:
    """Bytes that a copy reads and writes in a second on this GPU."""
    events, _ = _timed(lambda tensor: tensor.clone(), {"tensor": like})
    return TIMED * 2 * like.nbytes / events


WAYS: Mapping[str, Callable[[Function, dict[str, Any]], Tensor]] = {
    "stream": stream,
    "graph": graph,
    "memory": memory,
    "timing": timing,
}
"""Mode -> (function, arguments on the GPU) -> the result of calling the function in that way."""


@contextmanager
def deterministic() -> Iterator[None]:
    """With torch.use_deterministic_algorithms(True), which some kernels wait for to be asked."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def ordered(order: Literal["reversed", "shuffled"]) -> Iterator[None]:
    """The same, with the emulated threads and blocks in another order than by rising index."""
    from kernels.cuda import emulation

    with deterministic(), emulation.ordered(order):
        yield


STATES: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "deterministic": deterministic,
    "reversed": lambda: ordered("reversed"),
    "shuffled": lambda: ordered("shuffled"),
}
"""Mode -> the state that the process is in for a call, forward and backward."""


def state(mode: str) -> AbstractContextManager[None]:
    """The state of the process for a mode: for most as it is."""
    return STATES.get(mode, nullcontext)()
