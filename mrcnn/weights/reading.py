"""Files of weights, told apart by their first bytes, as names and tensors."""

import importlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from mrcnn.weights.pickles import load_arrays, load_torch

WRAPPERS = ("state_dict", "model", "blobs", "model_state_dict")
"""Keys under which frameworks put the weights when they save other things beside them."""


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    tensors   by the names of whoever wrote the file
    beside    keys that stood beside the weights and were not read, e.g. the optimiser's
    classes   names of the classes, where the file says them (mmdetection does)
    """

    tensors: dict[str, Tensor]
    beside: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def read_weights(path: Path) -> Weights:
    """The weights in a file of any format of `FORMATS`; nothing in it is ever executed.

    Raises ValueError in one line for a file that is missing, broken, of no known format, or holds
    anything but numbers under names.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    for recognised, load in FORMATS:
        if recognised(start):
            try:
                return unwrapped(load(path))
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise ValueError(f"{path}: not readable as tensors alone ({reason})") from None
    raise ValueError(
        f"{path}: no safetensors, torch, pickle or HDF5 file (starts with {start[:8]!r})"
    )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of `read_weights`. Raises ValueError as it does."""
    return read_weights(path).tensors


def unwrapped(content: Any) -> Weights:
    """The names and tensors in what a file holds, taken out of the wrappers frameworks use.

    Raises ValueError naming what is not a number under a name.
    """
    beside: list[str] = []
    classes: tuple[str, ...] = ()
    while isinstance(content, Mapping) and (keys := [w for w in WRAPPERS if _wraps(content, w)]):
        beside += [str(key) for key in content if key != keys[0]]
        classes = classes or _classes(content.get("meta"))
        content = content[keys[0]]
    if not isinstance(content, Mapping) or not content:
        raise ValueError("not a state dict: it must map names to tensors")
    tensors = {}
    for name, value in content.items():
        if not isinstance(name, str):
            raise ValueError(f"not a state dict: {name!r} is no name")
        if _is_array(value):
            tensors[name] = _tensor(value)
        elif isinstance(value, (str, int, float)) or value is None:
            beside.append(name)
        else:
            raise ValueError(f"not a state dict: {name} is a {type(value).__name__}, no tensor")
    if not tensors:
        raise ValueError("not a state dict: there is no tensor in it")
    return Weights(tensors, tuple(beside), classes)


def _wraps(content: Mapping[Any, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _classes(meta: Any) -> tuple[str, ...]:
    """Class names as mmdetection 3 and 2 keep them."""
    if not isinstance(meta, Mapping):
        return ()
    inner = meta.get("dataset_meta")
    where = inner if isinstance(inner, Mapping) else meta
    names = next((where[k] for k in ("classes", "CLASSES") if k in where), ())
    plain = isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
    return tuple(names) if plain else ()


def _is_array(value: Any) -> bool:
    numeric = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub"
    return isinstance(value, Tensor) or numeric


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))


def _pickled(path: Path) -> Any:
    """A torch file of before 1.6 if the first pickle is its magic number, else a zoo's arrays."""
    with path.open("rb") as file:
        first = load_arrays(file)
        if first == LEGACY_TORCH:
            return load_torch(path)
        if file.read(1):
            raise pickle.UnpicklingError("more follows after the pickle's end")
        return first


LEGACY_TORCH = 0x1950A86A20F9469CFC6C


def _hdf5(path: Path) -> dict[str, Any]:
    """Keras weights: "layer.kind" for each data set, e.g. "conv1.kernel"; Keras's own nesting of
    layers in groups and the ":0" of TensorFlow's names are left out.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise ValueError("HDF5 needs h5py: pip install 'mrcnn-lab[h5]'") from None
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        parts = name.split("/")
        if isinstance(item, h5py.Dataset) and parts[0] != "optimizer_weights":
            found[f"{parts[-2]}.{parts[-1].split(':')[0]}" if parts[1:] else name] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[Path], Any]], ...] = (
    (lambda start: start[8:9] == b"{", load_file),
    (lambda start: start.startswith(b"PK\x03\x04"), load_torch),
    (lambda start: start.startswith(b"\x89HDF\r\n\x1a\n"), _hdf5),
    (lambda start: start[:1] in b"\x80(}]c" and start != b"", _pickled),
)
"""How each format begins, and what reads it: safetensors, torch, HDF5, pickles of protocol 0 on."""
