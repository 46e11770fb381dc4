"""Compiling for a CPU, with the C++ compiler of the machine, every access to memory watched."""

import ctypes
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernels.cuda.cache import compiled
from kernels.cuda.source import HERE, CompileError

LANGUAGE = [
    "-std=c++17",
    "-g1",
    "-gdwarf-4",
    "-fPIC",
    "-fno-exceptions",
    "-fno-rtti",
    "-fvisibility=hidden",
]
LANGUAGE += [
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-U_FORTIFY_SOURCE",
    "-w",
    "-fmax-errors=5",
]
UNDEFINED = "signed-integer-overflow,integer-divide-by-zero,shift-exponent,bounds,alignment"
WATCHED = ["-O1", f"-fsanitize=thread,{UNDEFINED},float-cast-overflow"]
# Accesses stay where they are written: moved out of a branch, one would be made that is not meant.
WATCHED += ["-fno-tree-loop-im", "-fno-hoist-adjacent-loads", "-fno-tree-cselim"]
LINKED = ["-shared", "-Wl,-Bsymbolic", "-Wl,--wrap=memcpy", "-Wl,--wrap=memset"]
ENTRY = """\
EMULATION_ENTRY void emulated_call_{0}(void** arguments) {{ emulation::call({0}, arguments); }}
EMULATION_ENTRY int emulated_parameters_{0}(emulation::Parameter* found) {{
    return emulation::parameters({0}, found);
}}
"""


class NoCompiler(Exception):  # noqa: N818
    """There is no C++ compiler here: nothing can be emulated."""


class Parameter(ctypes.Structure):
    """What a kernel takes in one place: the fields are those of emulation.h."""

    kind: int
    bytes: int
    constant: int
    pointee: int
    number: int
    _fields_ = [(name, ctypes.c_int) for name in ("kind", "bytes", "constant", "pointee", "number")]


class Emulated:
    """A program as a shared library of this machine, made when it is first needed."""

    def __init__(self, source: str, kernels: Mapping[str, Sequence[str]]) -> None:
        self.source = source
        self.kernels = kernels
        self._parameters: dict[str, list[Parameter]] = {}

    @functools.cached_property
    def path(self) -> Path:
        """The library's file. Raises NoCompiler and CompileError."""
        entries = "".join(ENTRY.format(name) for name in self.kernels)
        text = (
            f'#include "emulation.h"\nnamespace {{\n{self.source}\n}}\n#line 1 "entries"\n{entries}'
        )
        made_with = (*LANGUAGE, *WATCHED, *LINKED, _machine_text(), version(compiler()))

        def build(path: Path) -> None:
            machine = compiled(".o", made_with, _build_machine)
            code, translated = path.with_suffix(".cc"), path.with_suffix(".o")
            code.write_text(text)
            _run([*LANGUAGE, *WATCHED, f"-I{HERE}", "-c", code, "-o", translated])
            _run([*LINKED, translated, machine, "-o", path])

        return compiled(".so", (text, *made_with), build)

    @functools.cached_property
    def library(self) -> ctypes.CDLL:
        """The library, loaded."""
        return ctypes.CDLL(str(self.path))

    def entry(self, kernel: str) -> int:
        """The address of what calls a kernel."""
        return ctypes.cast(self.library[f"emulated_call_{kernel}"], ctypes.c_void_p).value or 0

    def parameters(self, kernel: str) -> list[Parameter]:
        """What a kernel takes."""
        if kernel not in self._parameters:
            found = (Parameter * len(self.kernels[kernel]))()
            self.library[f"emulated_parameters_{kernel}"](found)
            self._parameters[kernel] = list(found)
        return self._parameters[kernel]

    def line(self, code: int) -> str:
        """file:line of an instruction in the program, as far as the machine can tell."""
        tool = shutil.which("addr2line")
        if tool is None:
            return f"code at {code:#x}"
        run = [tool, "-i", "-e", str(self.path), hex(code - 1)]  # of the call, not what follows it
        found = subprocess.run(run, capture_output=True, text=True, check=False).stdout
        lines = [line.split(" (")[0] for line in found.splitlines()]
        inside = [line for line in lines if not re.search(r"/(emulation\.h|scalar\.cuh):", line)]
        return "/".join((inside or lines)[0].split("/")[-2:])


def compiler() -> str:
    """The C++ compiler: $CXX or g++. Raises NoCompiler where there is none."""
    for name in (os.environ.get("CXX"), "g++"):
        if name and shutil.which(name):
            return name
    raise NoCompiler("emulation needs a C++ compiler: set CXX or install g++")


@functools.cache
def version(name: str) -> str:
    """What a compiler says of itself."""
    return subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout


@functools.cache
def _machine_text() -> str:
    return "".join(path.read_text() for path in sorted(HERE.glob("*.h")))


def _build_machine(path: Path) -> None:
    _run([*LANGUAGE, "-O2", "-xc++", "-c", HERE / "machine.h", "-o", path])


def _run(options: Sequence[str | Path]) -> None:
    command = [compiler(), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"{command[0]}: {done.stderr}")
