"""CUDA programs on a CPU, to be checked: slow, watched at every access, and never for use.

A program is compiled as it is and run on one thread, its tensors copied to where an access outside
them hits nothing else. What it must not do is a Fault: machine.h says how each is seen.
"""

import contextlib
import ctypes
import math
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal

from torch import Tensor, uint8

from kernels.cuda.arguments import Argument, packed
from kernels.cuda.host import Emulated, Parameter

Order = Literal["forward", "reversed", "shuffled"]
ORDERS: tuple[Order, ...] = ("forward", "reversed", "shuffled")
KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("a tensor or None", (Tensor, type(None))),
    ("an int", (int,)),
    ("a float", (float,)),
    ("a structure", (ctypes.Structure,)),
)
_order: ContextVar[tuple[Order, int]] = ContextVar("order", default=("forward", 0))
_one_at_a_time = threading.Lock()


class Fault(AssertionError):  # noqa: N818
    """What a kernel must not do; the message says which thread did it, and at which line."""


@contextlib.contextmanager
def ordered(order: Order, seed: int = 0) -> Iterator[None]:
    """Within the block, run blocks, and threads between barriers, in another order."""
    token = _order.set((order, seed))
    try:
        yield
    finally:
        _order.reset(token)


class _Region(ctypes.Structure):
    _fields_ = [
        ("host", ctypes.c_void_p),
        ("bytes", ctypes.c_int64),
        ("grain", ctypes.c_int32),
        ("writable", ctypes.c_int32),
        ("name", ctypes.c_char_p),
    ]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("call", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("region_of", ctypes.c_void_p),
        ("argument_count", ctypes.c_int32),
        ("regions", ctypes.c_void_p),
        ("region_count", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
    ]


class _Fault(ctypes.Structure):
    _fields_ = [
        ("text", ctypes.c_char * 1024),
        ("file", ctypes.c_char * 256),
        ("line", ctypes.c_int32),
        ("code", ctypes.c_int64),
    ]


def launch(
    program: Emulated,
    kernel: str,
    arguments: Sequence[Argument],
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
) -> None:
    """Run a grid of blocks; tensors are written as the kernel wrote them, up to its fault.

    Raises Fault, NoCompiler, CompileError, TypeError for arguments that the kernel does not take,
    ValueError for a grid or a block that no GPU takes.
    """
    if not 0 < math.prod(block) <= 1024 or block[2] > 64:
        raise ValueError(f"{kernel}: a block has 1 to 1024 threads, 64 along z, got {block}")
    if grid[0] >= 2**31 or max(grid[1:]) >= 2**16 or min(grid) < 0:
        raise ValueError(f"{kernel}: a grid has 2**31 - 1 by 65535 by 65535 blocks, got {grid}")
    names, parameters = program.kernels[kernel], program.parameters(kernel)
    for name, parameter, value in zip(names, parameters, arguments, strict=True):
        _check(f"{kernel}: {name}", parameter, value)
    order, seed = _order.get()
    regions, region_of = _regions(names, parameters, arguments)
    memory = packed(arguments)
    what = _Launch(
        grid=grid,
        block=block,
        call=program.entry(kernel),
        arguments=ctypes.addressof(memory),
        region_of=ctypes.addressof(region_of),
        argument_count=len(arguments),
        regions=ctypes.addressof(regions),
        region_count=len(regions),
        order=ORDERS.index(order),
        seed=seed,
    )
    fault = _Fault()
    with _one_at_a_time:
        failed = program.library.emulated_launch(ctypes.byref(what), ctypes.byref(fault))
    if failed:
        at = f"{fault.file.decode()}:{fault.line}" if fault.file else program.line(fault.code)
        raise Fault(f"{kernel}: {fault.text.decode()} ({at})")


def _check(where: str, parameter: Parameter, value: Argument) -> None:
    """A GPU would take any bits; so it is said here what the kernel was not written for."""
    takes, types = KINDS[parameter.kind]
    if parameter.kind < 3 and parameter.bytes != 8:
        raise TypeError(f"{where} is of {parameter.bytes} bytes: take a long long or a double")
    if not isinstance(value, types):
        raise TypeError(f"{where} takes {takes}, got a {type(value).__name__}")
    if isinstance(value, ctypes.Structure) and ctypes.sizeof(value) != parameter.bytes:
        raise TypeError(f"{where} has {parameter.bytes} bytes, got {ctypes.sizeof(value)}")
    if not isinstance(value, Tensor) or not parameter.number or value.dtype == uint8:
        return
    if value.itemsize != parameter.pointee:
        size = parameter.pointee
        raise TypeError(f"{where} points to numbers of {size} bytes, got {value.dtype}")


def _regions(
    names: Sequence[str], parameters: Sequence[Parameter], arguments: Sequence[Argument]
) -> tuple[Any, Any]:
    """(the spans of memory that the tensors take, which one each argument points into or -1).

    A tensor's span goes from its first to its last element; spans that overlap are one.
    """
    spans = []
    for place, value in enumerate(arguments):
        if isinstance(value, Tensor):
            start = value.data_ptr()
            spans.append((start, start + _extent(value), place))
    regions: list[tuple[int, int, list[int]]] = []
    for start, end, place in sorted(spans):
        if regions and start < regions[-1][1]:
            low, high, places = regions[-1]
            regions[-1] = (low, max(high, end), [*places, place])
        else:
            regions.append((start, end, [place]))
    found = (_Region * len(regions))()
    region_of = (ctypes.c_int32 * max(len(arguments), 1))(*[-1] * len(arguments))
    for number, (low, high, places) in enumerate(regions):
        name = " and ".join(f"`{names[p]}`" for p in places)
        grain = min(min(parameters[p].pointee, arguments[p].itemsize) for p in places)  # type: ignore[union-attr]
        writable = not all(parameters[p].constant for p in places)
        found[number] = _Region(low, high - low, grain, writable, name.encode())
        for place in places:
            region_of[place] = number
    return found, region_of


def _extent(tensor: Tensor) -> int:
    """Bytes from the first element to the end of the last."""
    if not tensor.numel():
        return 0
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.itemsize
