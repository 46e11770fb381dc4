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
        for one in op.native("cpu")
    ]


def declared(operator: str, backend: str) -> dict[str, Any]:
    """What a backend claims. All refuse what is not finite, compile, and take autocast."""
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
    return about | EXCEPTIONS.get((operator, backend), {})


GONE = "torchvision's own fault"
NO_MAXIMUM = ({"reduce": "max", "sampling_ratio": 0},)
VECTOR = Known("degenerate", f"{GONE}: adaptive sampling of a RoI with one negative side raises")
EXCEPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("paste_masks", "torchvision"): {
        "domain": {"method": ("grown",)},
        "known": (Known("outside", f"{GONE}: it raises for a box outside the image"),),
    },
    ("box_iou", "torchvision"): {
        "known": (Known("degenerate", f"{GONE}: two boxes without area have IoU NaN"),),
    },
    ("roi_align", "torchvision"): {"excludes": NO_MAXIMUM, "known": (VECTOR,)},
    ("multilevel_roi_align", "torchvision"): {"domain": {"reduce": ("mean",)}},
    ("roi_warp", "torchvision"): {"excludes": NO_MAXIMUM, "domain": {"sampling": ("regular",)}},
    ("roi_warp", "numba"): {"domain": {"sampling": ("regular",)}},
    ("roi_pool", "torchvision"): {
        "known": (Known("NaN features", f"{GONE}: a maximum swallows NaN"),),
    },
    ("crop_masks", "torchvision"): {
        "known": (Known("degenerate", f"{GONE}: adaptive sampling of a box inside out raises"),),
    },
}
"""(operator, backend) -> where a backend declares other than all do."""

__all__ = ["Known", "declared", "own"]
