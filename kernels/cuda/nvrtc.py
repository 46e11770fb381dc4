"""Compiling for a GPU, with NVRTC: NVIDIA's compiler as a library, no toolkit needed."""

import functools
from pathlib import Path
from typing import Any

from kernels.cuda.cache import compiled
from kernels.cuda.source import CompileError

NEEDED = "CUDA programs need cuda-core and NVRTC: pip install 'mrcnn-lab[gpu]'"


def cubin(source: str, arch: str) -> bytes:
    """Machine code of a program for an architecture such as sm_90, from disk if it is there.

    Raises ImportError where there is no NVRTC, CompileError with its log.
    """

    def build(path: Path) -> None:
        program, options = _compiler()
        chosen = options(arch=arch, std="c++17")
        try:
            made = program(source, code_type="c++", options=chosen).compile("cubin")
        except Exception as error:  # its class differs between versions; the log is its text
            raise CompileError(f"NVRTC, for {arch}: {error}") from None
        path.write_bytes(made.code)

    return compiled(".cubin", (source, arch, version()), build).read_bytes()


@functools.cache
def version() -> str:
    """NVRTC's version. Raises ImportError, in one line, where there is none."""
    try:
        from cuda.bindings import nvrtc

        _, major, minor = nvrtc.nvrtcVersion()
    except Exception as error:  # the package or the library may be missing
        raise ImportError(f"{NEEDED} ({error})") from None
    return f"{major}.{minor}"


def _compiler() -> tuple[Any, Any]:
    try:
        from cuda.core import Program, ProgramOptions
    except ImportError:
        try:
            from cuda.core.experimental import Program, ProgramOptions
        except ImportError:
            raise ImportError(NEEDED) from None
    return Program, ProgramOptions
