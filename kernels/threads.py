"""Numba runs on as many threads as PyTorch would."""

import numba
import torch


def follow_torch() -> int:
    """Let Numba use PyTorch's number of threads, as far as it has started that many; returns it."""
    count = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(count)
    return int(count)
