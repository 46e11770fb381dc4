"""Triton on a CPU: its interpreter, which an environment variable must have asked for in time."""

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = not isinstance(tl.cdiv, triton.JITFunction)
"""What Triton's own functions became when it was imported, so that nothing is changed later."""


def ready(tensor: Tensor) -> None:
    """Pass where Triton kernels can run on this tensor: compiled on a GPU, interpreted on a CPU.

    Raises ValueError, in one line, for a CPU tensor in a process that compiles Triton and for a GPU
    tensor in one that interprets it.
    """
    if tensor.device.type == "cpu" and not INTERPRETED:
        raise ValueError(
            "Triton runs on the CPU in its interpreter only:"
            " set TRITON_INTERPRET=1 before the process starts"
        )
    if tensor.device.type != "cpu" and INTERPRETED:
        raise ValueError(
            f"this process interprets Triton on the CPU (TRITON_INTERPRET is set), not on"
            f" {tensor.device}"
        )


def device(function: Callable[..., Any]) -> Any:
    """For a function that kernels call: `triton.jit`, of which nothing is left when interpreted.

    There each call of a jitted function patches Triton's language anew, which takes longer than
    most of them; within a kernel it is patched already.
    """
    return function if INTERPRETED else triton.jit(function)
