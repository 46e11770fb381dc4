"""Pickles of strangers: a few names may be looked up, and nothing they name is ever run."""

import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch.serialization import safe_globals

NEUTRALISED = re.compile(r"(mmengine|mmcv|mmdet|numpy)\..+|(__builtin__|builtins)\.getattr")
"""What training frameworks leave in their checkpoints beside the weights, by full name: training
histories, their numbers, and methods looked up by `getattr`. Each becomes a `Nothing`.

Source: mmengine 0.10's runner, which saves its MessageHub of HistoryBuffers.
"""

KNOWN_TO_TORCH = re.compile(r"torch\..+|collections\.(OrderedDict|Counter)|_codecs\.encode")
"""What PyTorch's own restricted unpickler may decide on; it refuses what is not a tensor's part."""


class Nothing:
    """Stands for an object that is not needed: takes any arguments and state, and keeps none."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def load_torch(path: Path) -> Any:
    """What `torch.save` wrote, by PyTorch's restricted unpickler; see `NEUTRALISED`.

    Raises UnpicklingError naming a global that is not allowed, before anything is built.
    """
    neutral: list[Any] = []
    for name in sorted(globals_named(path)):
        if NEUTRALISED.fullmatch(name):
            neutral.append((Nothing, name.replace("__builtin__.", "builtins.")))
        elif not KNOWN_TO_TORCH.fullmatch(name):
            raise pickle.UnpicklingError(forbidden(name))
    try:
        with safe_globals(neutral):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        said = forbidden(named[1]) if named else str(error).rsplit("WeightsUnpickler error:")[-1]
        raise pickle.UnpicklingError(said) from None


def globals_named(path: Path) -> set[str]:
    """Full names of every global that the pickles of a `torch.save` file look up; runs nothing."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                raise pickle.UnpicklingError("the file is cut short: a zip archive without its end")
            file.seek(0)
            return set().union(*(_scan(file) for _ in range(LEGACY_PICKLES)))
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return set().union(*(_scan(archive.open(name)) for name in pickles))


LEGACY_PICKLES = 4
"""Of a file before PyTorch 1.6 that can name a global: magic number, version, system, content."""


def _scan(file: Any) -> set[str]:
    """The globals one pickle names. Protocol 2, which torch.save uses, names them in GLOBAL."""
    named = set()
    strings = ["", ""]
    for opcode, argument, _ in pickletools.genops(file):
        if isinstance(argument, str):
            strings = [strings[1], argument]
        if opcode.name in ("GLOBAL", "INST"):
            named.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            named.add(".".join(strings))
    return named


def load_arrays(file: BinaryIO) -> Any:
    """A pickle of arrays, numbers, texts and plain containers, such as the zoos' .pkl files.

    Text of Python 2 is read as latin-1, which leaves the bytes of arrays what they were.
    Raises UnpicklingError naming a global that is not allowed.
    """
    return Restricted(file, encoding="latin1").load()


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What `_codecs.encode` does in a pickle that Python 3 wrote in protocol 2: bytes as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding!r} instead of latin1")
    return text.encode("latin1")


_ARRAYS: dict[str, Any] = {
    "multiarray._reconstruct": np.zeros(1).__reduce__()[0],
    "multiarray.scalar": np.float64(0).__reduce__()[0],
}
ALLOWED: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "_codecs.encode": _latin1,
    "collections.OrderedDict": OrderedDict,
    **{f"numpy.core.{name}": made for name, made in _ARRAYS.items()},
    **{f"numpy._core.{name}": made for name, made in _ARRAYS.items()},
}
"""All that a .pkl may look up: what arrays are made of, under old and new names of NumPy."""


class Restricted(pickle.Unpickler):
    """An unpickler that can look up `ALLOWED` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The one place where a pickle reaches code."""
        if f"{module}.{name}" not in ALLOWED:
            raise pickle.UnpicklingError(forbidden(f"{module}.{name}"))
        return ALLOWED[f"{module}.{name}"]


def forbidden(name: str) -> str:
    """One line on a global that no file of weights needs."""
    return f"it asks for {name}, which weights do not need; nothing was executed"
