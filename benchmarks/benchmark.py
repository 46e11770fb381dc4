"""What a benchmark is: work that is ready to run, and the proof that its answer is right."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A benchmark's work with its inputs made.

    run     does the work once, on the inputs made last; what it returns is not looked at
    check   does it on a part small enough for the definition and compares; raises AssertionError,
            so that a wrong answer is not timed
    renew   makes new inputs from a seed; the same seed, the same inputs
    close   gives back what is held: a folder, memory of a GPU
    """

    run: Callable[[], object]
    check: Callable[[], None]
    renew: Callable[[int], None]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A piece of work under a name that does not change.

    prepare    (folder for files) -> the work, ready; raises what it raises where it cannot run here
    operator   whose speed it is, for grouping; "" where it is the whole detector's
    device, threads   where it runs
    effect     the smallest change worth a verdict: 0.03 is 3 % of its time
    ahead      how many times as fast as `peer` it must stay; None: nothing is declared
    peer       the same work by torchvision; None where it has no such
    bytes, operations   the least that must be moved and computed for given inputs, (ready inputs'
               seed) -> count; None where nobody counts
    """

    name: str
    prepare: Callable[[Path], Ready]
    operator: str = ""
    device: str = "cpu"
    threads: int = 1
    effect: float = 0.03
    ahead: float | None = None
    peer: Callable[[Path], Ready] | None = None
    bytes: Callable[[int], int] | None = None
    operations: Callable[[int], int] | None = None


def named(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The known names that are meant: by the whole one, by its first parts, roi_align/P2, or with *
    for anything.

    Raises ValueError for one that fits none, with the nearest that would.
    """
    every, found = list(known), dict[str, None]()
    for name in names:
        fits = [k for k in every if k == name or k.startswith(f"{name}/") or fnmatch(k, name)]
        if not fits:
            starts = {k.rsplit("/", n)[0] for k in every for n in range(k.count("/") + 1)}
            near = difflib.get_close_matches(name, starts, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{name!r} is no benchmark{hint} (names are like {', '.join(every[:2])}; "
                "their first parts will do; all: python -m benchmarks list)"
            )
        found |= dict.fromkeys(fits)
    return list(found)
