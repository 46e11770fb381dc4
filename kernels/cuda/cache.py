"""Compiled programs on disk, under names that are hashes of all that they are made from."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def folder() -> Path:
    """Where compiled programs are kept: mrcnn-lab/cuda under $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mrcnn-lab" / "cuda"


def compiled(suffix: str, parts: tuple[str, ...], build: Callable[[Path], None]) -> Path:
    """The file that `build` makes of `parts`, made once: build(path) writes it.

    Two processes may build the same file at once; each puts a whole one in place.
    """
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    path = folder() / f"{name}{suffix}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / f"made{suffix}"
        build(made)
        os.replace(made, path)
    return path
