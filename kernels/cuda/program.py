"""A program in CUDA C++: one file of kernels, compiled when first launched, and then kept."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from kernels.cuda import driver, emulation, host, nvrtc
from kernels.cuda.arguments import Argument
from kernels.cuda.source import expanded, kernels_in

Extent = int | tuple[int, ...]
NAMES = {
    torch.float16: "half_t",
    torch.bfloat16: "bfloat_t",
    torch.float32: "float",
    torch.float64: "double",
}


@dataclass(frozen=True)
class Program:
    """Kernels in a .cu file, as a value.

    file      the file; what it includes lies beside it or in kernels/cuda/
    defines   macros, (name, text), that come before its first line
    """

    file: Path
    defines: tuple[tuple[str, str], ...] = ()

    def with_defines(self, **defines: str) -> "Program":
        """This program with further macros; equal ones give the very same program."""
        return _with_defines(self, tuple(defines.items()))

    @functools.cached_property
    def source(self) -> str:
        """The whole text that is compiled: macros, and the file with its includes put in."""
        macros = "".join(f"#define {name} {text}\n" for name, text in self.defines)
        return macros + expanded(self.file)

    @functools.cached_property
    def kernels(self) -> Mapping[str, tuple[str, ...]]:
        """The names of its kernels, and of each one's parameters."""
        return kernels_in(self.source)

    def cubin(self, arch: str) -> bytes:
        """Machine code for an architecture such as sm_90. Raises CompileError with NVRTC's log."""
        return nvrtc.cubin(self.source, arch)

    def launch(self, kernel: str, *arguments: Argument, grid: Extent, block: Extent) -> None:
        """Run a kernel on the device of its tensors: on a GPU, on PyTorch's current stream.

        kernel      its name
        arguments   tensors and None for pointers, bool and int for `long long`, float for
                    `double`, a ctypes.Structure for a structure by value
        grid        blocks along x, y, z; an empty grid runs nothing
        block       threads in each along x, y, z

        Raises KeyError for a kernel that is not there, TypeError for arguments that it does not
        take, CompileError, RuntimeError for what the driver says of a launch, emulation.Fault for
        what a kernel did wrong on a CPU.
        """
        names = self.kernels[kernel]
        if len(arguments) != len(names):
            raise TypeError(f"{kernel} takes {', '.join(names)}; got {len(arguments)} arguments")
        blocks, threads = _three(grid), _three(block)
        if 0 in blocks:
            return
        devices = {a.device for a in arguments if isinstance(a, Tensor)}
        if len(devices) != 1:
            raise TypeError(
                f"{kernel}: tensors on one device are needed, got {sorted(map(str, devices))}"
            )
        (device,) = devices
        if device.type == "cuda":
            driver.launch(self._on_gpu, kernel, arguments, blocks, threads, device.index)
        else:
            emulation.launch(self._emulated, kernel, arguments, blocks, threads)

    @functools.cached_property
    def _on_gpu(self) -> driver.Loaded:
        return driver.Loaded(self.cubin)

    @functools.cached_property
    def _emulated(self) -> host.Emulated:
        return host.Emulated(self.source, self.kernels)


def scalars(maps: torch.dtype, rois: torch.dtype) -> dict[str, str]:
    """The C++ types for maps and RoIs of these dtypes: SCALAR and COORD, and REAL to sum in."""
    real = "double" if maps == torch.float64 else "float"
    return {"SCALAR": NAMES[maps], "REAL": real, "COORD": NAMES[rois]}


@functools.cache
def _with_defines(program: Program, defines: tuple[tuple[str, str], ...]) -> Program:
    return replace(program, defines=(*program.defines, *defines))


def _three(extent: Extent) -> tuple[int, int, int]:
    x, y, z, *_ = (extent, 1, 1) if isinstance(extent, int) else (*extent, 1, 1)
    return x, y, z
