"""Dense tensors larger than memory, made from sparse ones: a page that nobody touches is not there.

On a CPU they stand in a file with holes, which a temporary folder on a disk can hold; on another
device they are zeros, and must fit.
"""

import mmap
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

ROOM = 2**31
"""Bytes that a kernel may ask for besides such a tensor."""


@contextmanager
def dense(tensor: Tensor, layout: str, device: str) -> Iterator[Tensor]:
    """A sparse (n, c, h, w) tensor as a dense one, contiguous or channels_last, for the block."""
    n, c, h, w = tensor.shape
    with tempfile.TemporaryFile() as file:
        if device == "cpu":
            size = tensor.numel() * tensor.dtype.itemsize
            file.truncate(size)
            pages = mmap.mmap(file.fileno(), size)
            pages.madvise(mmap.MADV_RANDOM)  # or each page that is read brings its neighbours
            flat = torch.frombuffer(pages, dtype=tensor.dtype)
        else:
            flat = torch.zeros(tensor.numel(), dtype=tensor.dtype, device=device)
        last = layout == "channels_last"
        view = flat.view(n, h, w, c).permute(0, 3, 1, 2) if last else flat.view(n, c, h, w)
        sparse = tensor.coalesce().to(device)
        view[tuple(sparse.indices())] = sparse.values()
        yield view


@contextmanager
def no_room_for_copies(device: str) -> Iterator[None]:
    """Within the block, memory beyond ROOM is refused, by Linux, rather than taken from others."""
    if device != "cpu" or sys.platform != "linux":
        yield
        return
    import resource

    lines = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def refused(error: str) -> bool:
    """Whether an error says that memory was refused."""
    return any(word in error for word in ("MemoryError", "allocate memory", "out of memory"))
