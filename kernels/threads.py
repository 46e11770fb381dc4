"""Numba runs on as many threads as PyTorch would, and leaves PyTorch's own as they are."""

import numba
import torch


def follow_torch() -> int:
    """Let Numba use PyTorch's number of threads, as far as it has started that many; returns it."""
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return use(min(torch.get_num_threads(), most))


def use(count: int) -> int:
    """Let Numba use so many threads; returns that number.

    Numba starts its threads when it is first told a number, and OpenMP then takes theirs for
    PyTorch's too: a trial on one thread would go on with two, and with other sums.
    """
    before = torch.get_num_threads()
    numba.set_num_threads(count)
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)
    return count
