"""Two pieces of work timed in turn, the order turned round each time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mrcnn.progress import Show, silent


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Milliseconds of each round, side by side."""

    first: tuple[float, ...]
    second: tuple[float, ...]


def in_turn(
    first: Callable[[], object],
    second: Callable[[], object],
    rounds: int,
    phase: str = "timing",
    show: Show = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Time both, once each in a round, after a round that does not count.

    clock   in seconds; on a GPU one that waits for it

    What the work returns is let go before the clock is read, as whoever calls it would.
    """
    kept: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, rounds):
        turns = list(zip(kept, (first, second), strict=True))
        for samples, work in turns if number % 2 else turns[::-1]:
            start = clock()
            work()
            took = 1e3 * (clock() - start)
            if number >= 0:
                samples.append(took)
        show(phase, number + 1, rounds)
    return Turns(first=tuple(kept[0]), second=tuple(kept[1]))
