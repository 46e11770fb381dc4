"""This project's own backends, with what they declare, put under the same checks as anyone's."""

from collections.abc import Iterator
from typing import Any

from kernels.conformance.declaration import Kernel, Known, shipped
from kernels.conformance.lanes import expanded
from kernels.op import Op, operators

ALL = ("float64", "float32", "float16", "bfloat16")
LAID_OUT = ("contiguous", "channels_last", "strided")
CODE = {"emulated": "cuda", "interpreter": "triton"}
"""Backends that are the code of another, on a CPU: the kernel is named for the code."""
ON_GPU = {"cuda": ("cuda.core",), "triton": ("triton",), "torchvision": ()}
"""Backends that are checked on a GPU, and the modules that they need there."""


def own() -> list[Kernel]:
    """Every backend of every operator as a kernel, once for each lane that it has."""
    return [
        shipped(name, backend, name=code, lane=lane, **declared(name, code, lane))
        for name, op in operators().items()
        for backend, code, lane in _placed(op)
    ]


def _placed(op: Op) -> Iterator[tuple[str, str, str]]:
    """The backends of an operator, each as (its name, the name of its code, its lane)."""
    for backend, about in op.backends.items():
        if about.lane != "native":
            yield backend, CODE[backend], about.lane
        elif "cpu" in about.devices:
            yield backend, backend, "reference" if backend == "reference" else "cpu"
        if backend in ON_GPU and "cuda" in about.devices:
            for lane in expanded(("gpu",)):
                yield backend, backend, lane


def declared(operator: str, code: str, lane: str) -> dict[str, Any]:
    """What a backend claims in a lane. All compile and take autocast.

    On a CPU all refuse what is not finite and an index outside the batch. On a GPU to look at
    values means to wait for them, so that nothing is refused: our own kernels read nothing for such
    an index, and torchvision's read what is there.
    """
    op = operators()[operator]
    about: dict[str, Any] = {
        "dtypes": ALL,
        "grads": op.differentiable,
        "nonfinite": "undefined" if operator == "box_iou" else "raise",
        "bad_index": "raise",
        "compiled": True,
        "fake": True,
        "autocast": True,
    }
    if op.shaped and "features" in op.schema:
        about["layouts"] = LAID_OUT
        about["double_backward"] = True
    if code in ("cuda", "triton"):
        about["deterministic"] = "on request"
    if lane.startswith("gpu"):
        about |= {"nonfinite": "undefined", "needs": ON_GPU[code]}
        about["bad_index"] = "undefined" if code == "torchvision" else "zero"
        about["graph"] = op.shaped
    about |= EXCEPTIONS.get((operator, code), {})
    return about | ON_GPU_ONLY.get((operator, code), {}) if lane.startswith("gpu") else about


GONE = "torchvision's own fault"
NO_MAXIMUM = ({"reduce": "max", "sampling_ratio": 0},)
VECTOR = Known("degenerate", f"{GONE}: adaptive sampling of a RoI with one negative side raises")
ROUNDED = {"domain": {"sampling": ("regular",)}}
EXCEPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("paste_masks", "torchvision"): {
        "domain": {"method": ("grown",)},
        "known": (Known("outside", f"{GONE}: it raises for a box outside the image"),),
    },
    ("box_iou", "torchvision"): {
        "known": (Known("degenerate", f"{GONE}: two boxes without area have IoU NaN"),),
    },
    ("roi_align", "torchvision"): {"excludes": NO_MAXIMUM, "known": (VECTOR,)},
    ("multilevel_roi_align", "torchvision"): {"excludes": NO_MAXIMUM, "known": (VECTOR,)},
    ("roi_warp", "torchvision"): {"excludes": NO_MAXIMUM, **ROUNDED},
    ("roi_warp", "numba"): ROUNDED,
    ("roi_warp", "cuda"): ROUNDED,
    ("roi_warp", "triton"): ROUNDED,
    ("roi_pool", "torchvision"): {
        "known": (Known("NaN features", f"{GONE}: a maximum swallows NaN"),),
    },
    ("crop_masks", "torchvision"): {
        "known": (Known("degenerate", f"{GONE}: adaptive sampling of a box inside out raises"),),
    },
}
"""(operator, code) -> where a backend declares other than all do."""
ATOMIC = {"deterministic": False}
ENDLESS = Known("nonfinite", f"{GONE}: adaptive sampling of an infinite RoI never ends on a GPU")
ON_GPU_ONLY: dict[tuple[str, str], dict[str, Any]] = {
    ("box_iou", "cuda"): {"graph": False},
    ("box_iou", "triton"): {"graph": False},
    ("roi_align", "torchvision"): {**ATOMIC, "known": (ENDLESS,)},
    ("roi_warp", "torchvision"): {**ATOMIC, "known": (ENDLESS,)},
    ("roi_pool", "torchvision"): ATOMIC,
    ("multilevel_roi_align", "torchvision"): {**ATOMIC, "graph": False, "known": ()},
    ("crop_masks", "torchvision"): {"known": (ENDLESS,)},
    ("paste_masks", "torchvision"): {"graph": False},
}
"""The same on a GPU: torchvision's gradients are sums in no fixed order; what looks up the RoIs of
a level or the pixels of a box cannot be captured; and a negative side does not raise. The gradient
of box_iou is the reference's, found by autograd within the backward pass: that was not captured."""

__all__ = ["Known", "declared", "own"]
