"""Slowdowns planted on purpose: a copy of the code in which every operator takes a share longer."""

from pathlib import Path

from benchmarks.gate.sides import copy

SLOWED = '''

def _slowed(function: Any) -> Any:
    """Planted by benchmarks/gate/planted.py: each call goes on for {share} of the time it took."""
    from time import perf_counter_ns as clock

    def slowed(*given: Any, **named: Any) -> Any:
        start = clock()
        found = function(*given, **named)
        end = clock()
        until = end + {share} * (end - start)
        while clock() < until:
            pass
        return found

    return slowed


Op.__call__ = _slowed(Op.__call__)  # type: ignore[method-assign]
_gradients = _slowed(_gradients)
'''


def plant(root: Path, folder: Path, share: float) -> Path:
    """A copy of a checkout of this project in which the operators are slower by a share of their
    time, forward and backward: 0.1 is 10 %; 0 is a copy and nothing else.

    Raises ValueError for a folder that is there, and for a root that has no operators.
    """
    if folder.exists():
        raise ValueError(f"{folder}: already there; a slowdown is planted in a new copy")
    if not (root / "kernels" / "op.py").is_file():
        raise ValueError(f"{root}: has no kernels/op.py to plant a slowdown in")
    if share < 0:
        raise ValueError(f"a slowdown must be a share of 0 or more, got {share}")
    copy(root, folder)
    if share:
        with (folder / "kernels" / "op.py").open("a") as file:
            file.write(SLOWED.format(share=share))
    return folder
