"""This project's own backends, with what they declare, put under the same checks as anyone's."""

from typing import Any

from kernels.conformance.declaration import Kernel, Known, shipped
from kernels.op import operators

ALL = ("float64", "float32", "float16", "bfloat16")
LAID_OUT = ("contiguous", "channels_last", "strided")


def own() -> list[Kernel]:
    """Every backend of every operator as a kernel."""
    return [
        shipped(name, one, **declared(name, one))
        for name, op in operators().items()
        for one in op.backends
    ]


def declared(operator: str, backend: str) -> dict[str, Any]:
    """What a backend claims. All refuse what is not finite, compile, and take autocast."""
    op = operators()[operator]
    about: dict[str, Any] = {
        "dtypes": ALL,
        "grads": op.differentiable,
        "nonfinite": "raise",
        "bad_index": "raise",
        "compiled": True,
        "fake": True,
        "autocast": True,
    }
    if op.shaped and "features" in op.schema:
        about["layouts"] = LAID_OUT
        about["double_backward"] = True
    return about | EXCEPTIONS.get((operator, backend), {})


EXCEPTIONS: dict[tuple[str, str], dict[str, Any]] = {}
"""(operator, backend) -> where a backend declares other than all do."""

__all__ = ["Known", "declared", "own"]
