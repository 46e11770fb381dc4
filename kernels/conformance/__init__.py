"""Whether somebody's kernel computes the operator that it claims to.

from kernels.conformance import kernel, check_kernel, Known

@kernel("roi_align", name="mine", dtypes=["float32"], grads=["features"])
def mine(features, rois, *, output_size, spatial_scale, sampling_ratio, aligned): ...

pytest --kernels my_kernels.py                 one item per kernel, check and dtype
python -m kernels check my_kernels.py          the same without pytest
for one in mine.conformance: print(*check_kernel(one))       one per lane
"""

import importlib
from typing import Any

from kernels.conformance.case import Case
from kernels.conformance.declaration import Kernel, Known, declared_in, kernel, shipped

LATER = {"Outcome": "engine", "check_kernel": "engine", "explained": "repro", "replayed": "repro"}
"""What needs Hypothesis and all checks: imported when asked for, so that a worker starts soon."""

__all__ = [
    "Case",
    "Kernel",
    "Known",
    "Outcome",
    "check_kernel",
    "declared_in",
    "explained",
    "kernel",
    "replayed",
    "shipped",
]


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(importlib.import_module(f"kernels.conformance.{LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
