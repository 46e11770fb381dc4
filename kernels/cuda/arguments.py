"""What a kernel is given, as the memory that a launch reads it from."""

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

Argument = Tensor | ctypes.Structure | bool | int | float | None


class _Layout(NamedTuple):
    """How arguments of some types lie in memory: their addresses, and then each one."""

    form: struct.Struct
    starts: tuple[int, ...]
    values: tuple[Callable[[Any], Any], ...]


def packed(arguments: Sequence[Argument]) -> Any:
    """A buffer that begins with the arguments' addresses, as a launch takes them; they follow.

    Tensors and None are pointers, integers long long, floats double, structures themselves.
    Raises TypeError for an argument of another kind.
    """
    layout = _layout(tuple(map(type, arguments)))
    buffer = ctypes.create_string_buffer(layout.form.size)
    base = ctypes.addressof(buffer)
    content = [value(argument) for value, argument in zip(layout.values, arguments, strict=True)]
    layout.form.pack_into(buffer, 0, *[base + start for start in layout.starts], *content)
    return buffer


@functools.cache
def _layout(types: tuple[type, ...]) -> _Layout:
    form, starts, values = f"@{len(types)}Q", [], []
    for place, kind in enumerate(types):
        starts.append(struct.calcsize(form))
        code, value = _coded(place, kind)
        form += code
        values.append(value)
    return _Layout(struct.Struct(form), tuple(starts), tuple(values))


def _coded(place: int, kind: type) -> tuple[str, Callable[[Any], Any]]:
    """(format, value of an argument): each leaves the next one aligned to 8 bytes."""
    if issubclass(kind, Tensor):
        return "Q", Tensor.data_ptr
    if kind is type(None):
        return "Q", bool
    if issubclass(kind, int):
        return "q", int
    if issubclass(kind, float):
        return "d", float
    if issubclass(kind, ctypes.Structure):
        return f"{(ctypes.sizeof(kind) + 7) // 8 * 8}s", bytes
    raise TypeError(f"argument {place} is a {kind.__name__}: a kernel takes none")
