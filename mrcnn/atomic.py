"""Files that are there whole or not at all."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A draft to write to; it takes the place of `path` if the block ends well, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        with open(draft, "rb") as written:
            os.fsync(written.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON in `path`, atomically. NaN is written as null: JSON has none."""
    with replaced(path) as draft:
        draft.write_text(json.dumps(nulls(value), indent=1, sort_keys=True, allow_nan=False))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Named arrays as a compressed .npz, atomically; the same arrays give the same bytes."""
    with replaced(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def nulls(value: Any) -> Any:
    """The same value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {k: nulls(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [nulls(v) for v in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
