"""Launching on a GPU, through the CUDA driver: nothing is synchronised, and graphs can capture it.

Machine code is compiled and loaded once for each architecture, and a kernel looked up once for each
device, when it is first launched: launch once before capturing a graph.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kernels.cuda import nvrtc
from kernels.cuda.arguments import Argument, packed

Extent = tuple[int, int, int]


class Loaded:
    """A program on the GPUs of this process.

    cubin   architecture -> machine code
    """

    def __init__(self, cubin: Callable[[str], bytes]) -> None:
        self._cubin = cubin
        self._libraries: dict[str, Any] = {}
        self._functions: dict[tuple[str, int], Any] = {}

    def function(self, kernel: str, device: int) -> Any:
        """The handle of a kernel on the current device."""
        found = self._functions.get((kernel, device))
        if found is None:
            found = self._functions[kernel, device] = self._loaded(kernel, device)
        return found

    def _loaded(self, kernel: str, device: int) -> Any:
        cuda = _cuda()
        _enter(device)
        major, minor = torch.cuda.get_device_capability(device)
        arch = f"sm_{major}{minor}"
        if arch not in self._libraries:
            done = cuda.cuLibraryLoadData(self._cubin(arch), [], [], 0, [], [], 0)
            self._libraries[arch] = _checked(kernel, done)
        found = cuda.cuLibraryGetKernel(self._libraries[arch], kernel.encode())
        return _checked(kernel, cuda.cuKernelGetFunction(_checked(kernel, found)))


def launch(
    program: Loaded,
    kernel: str,
    arguments: Sequence[Argument],
    grid: Extent,
    block: Extent,
    on: int,
) -> None:
    """Put a launch on PyTorch's current stream of the device number `on`.

    Raises ImportError without the driver's bindings, CompileError, and RuntimeError with what the
    driver says of the launch.
    """
    if on != torch.cuda.current_device():
        with torch.cuda.device(on):
            launch(program, kernel, arguments, grid, block, on)
        return
    memory = packed(arguments)
    stream = torch.cuda.current_stream(on).cuda_stream
    call = (program.function(kernel, on), *grid, *block, 0, stream, ctypes.addressof(memory), 0)
    done = _cuda().cuLaunchKernel(*call)
    if done[0] == _cuda().CUresult.CUDA_ERROR_INVALID_CONTEXT:  # first use in this thread
        _enter(on)
        done = _cuda().cuLaunchKernel(*call)
    if done[0]:
        _checked(f"{kernel}, grid {grid}, block {block}", done)


def available() -> bool:
    """Whether there is a GPU here, and what compiles and launches for it."""
    try:
        nvrtc.version()
        _cuda()
    except ImportError:
        return False
    return torch.cuda.is_available()


@functools.cache
def _cuda() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise ImportError(f"{nvrtc.NEEDED} ({error})") from None
    return driver


def _enter(device: int) -> None:
    """Make PyTorch's context of a device the current one: in a new thread there is none."""
    cuda = _cuda()
    handle = _checked("device", cuda.cuDeviceGet(device))
    _checked(
        "context", cuda.cuCtxSetCurrent(_checked("context", cuda.cuDevicePrimaryCtxRetain(handle)))
    )


def _checked(what: str, done: tuple[Any, ...]) -> Any:
    """What a call of the driver gave. Raises RuntimeError for what it did not do."""
    error, *found = done
    if error:
        _, text = _cuda().cuGetErrorString(error)
        raise RuntimeError(f"{what}: {error.name}: {text.decode()}")
    return found[0] if found else None
