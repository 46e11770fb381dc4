"""Memory for kernels that keep the channels of a pixel side by side: pixels first, channels last.

A bin is then a sum of whole vectors of channels, which is what a processor adds fastest.
"""

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, no_type_check

import numba
import torch
from numba import prange
from numpy.typing import NDArray
from torch import Tensor

from kernels.op import layout_of
from kernels.threads import follow_torch, use

Array = NDArray[Any]
HUGE = 2**23
"""Bytes from which memory is asked for in huge pages: small ones cost more than filling them."""
VIRTIO = Path("/sys/bus/virtio/devices")
BALLOON, REPORTING = "0x0005", 5
"""A virtio balloon, and the place of "free page reporting" in the bits of its features."""
SMALL = 2**15
"""Values below which one thread is done before a second has woken."""
BLOCK = 16
"""Channels of a block that is turned at once: a cache line of float32."""


def channels_last(tensor: Tensor) -> bool:
    """Whether the operators' results for this tensor are laid out with channels last."""
    return layout_of(tensor) == torch.channels_last


def workers_for(*tensors: Tensor) -> int:
    """Threads among which to share the work on these tensors: as many as PyTorch's, or one."""
    if sum(tensor.numel() for tensor in tensors) >= SMALL:
        return follow_torch()
    return use(1)


def empty(shape: Sequence[int], like: Tensor, *, last: bool) -> Tensor:
    """(n, c, h, w) of undefined content in the dtype of `like`, channels last or contiguous."""
    layout = torch.channels_last if last else torch.contiguous_format
    return in_pages(torch.empty(shape, dtype=like.dtype, memory_format=layout))


def in_pages(tensor: Tensor) -> Tensor:
    """A tensor into which nothing has been written yet, its memory in the pages that are best for
    its size on this machine. NumPy's arrays are in huge pages on any.
    """
    size = tensor.numel() * tensor.itemsize
    if size >= HUGE:
        _hint(tensor.data_ptr(), size)
    return tensor


def bins_of(pooled: Tensor, last: bool) -> Array:
    """A result as its memory is: (k, bins, c) where channels come last, else (k, c, bins)."""
    k, c, h, w = pooled.shape
    view: Array = pooled.permute(0, 2, 3, 1).numpy() if last else pooled.numpy()
    return view.reshape((k, h * w, c) if last else (k, c, h * w))


def pixels_first(tensor: Tensor, workers: int) -> Array:
    """(n, h, w, c), C-contiguous: a view of a channels_last tensor, else a copy."""
    tensor = tensor.detach()
    if not tensor.is_contiguous(memory_format=torch.channels_last):
        n, c, h, w = tensor.shape
        turned = empty((n, c, h, w), tensor, last=True)
        source = tensor.contiguous().view(n, c, h * w).numpy()
        _turn(source, turned.permute(0, 2, 3, 1).numpy().reshape(n, h * w, c), workers)
        tensor = turned
    return tensor.permute(0, 2, 3, 1).numpy()


@numba.njit(cache=True, parallel=True, error_model="numpy")
@no_type_check
def _turn(source: Array, target: Array, workers: int) -> None:
    """(n, c, p) as (n, p, c)."""
    n, channels, pixels = source.shape
    strips = (pixels + 255) // 256
    for worker in prange(workers):
        for strip in range(worker, n * strips, workers):
            image, start = strip // strips, strip % strips * 256
            end = min(start + 256, pixels)
            turn(source[image, :, start:end], target[image, start:end])


@numba.njit(cache=True, error_model="numpy")
@no_type_check
def turn(source: Array, target: Array) -> None:
    """(a, b) as (b, a), in blocks that stay in the nearest cache."""
    channels, pixels = source.shape
    for first in range(0, channels, BLOCK):
        last = min(first + BLOCK, channels)
        if last - first == BLOCK:
            for pixel in range(pixels):
                for i in range(BLOCK):
                    target[pixel, first + i] = source[first + i, pixel]
        else:
            for pixel in range(pixels):
                for channel in range(first, last):
                    target[pixel, channel] = source[channel, pixel]


@cache
def _advise() -> Any:
    if sys.platform != "linux" or gives_memory_back():
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


def gives_memory_back(devices: Path = VIRTIO) -> bool:
    """Whether this is a virtual machine that hands free memory to its host after a moment, in
    blocks as large as a huge page. To have one again then takes some twenty times as long (measured
    on one such: 1,050 ms for 400 MiB in place of 48, in small pages 160 at any time), so that huge
    ones are not asked for.

    Source: VIRTIO 1.2, section 5.5.6.7, "Free Page Reporting".
    """
    try:
        balloons = [d for d in devices.iterdir() if (d / "device").read_text().strip() == BALLOON]
        return any((d / "features").read_text()[REPORTING] == "1" for d in balloons)
    except (OSError, IndexError):
        return False


def _hint(address: int, size: int) -> None:
    """Ask for huge pages; nothing is lost where the system has none."""
    page, huge_pages = 4096, 14
    start, end = -(-address // page) * page, (address + size) // page * page
    advise = _advise()
    if advise is not None and end > start:
        advise(start, end - start, huge_pages)
