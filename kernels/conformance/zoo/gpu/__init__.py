"""Bugs of GPU code, each planted once or more; which lanes see them, and which cannot.

The kernels stand in cuda.py, with bugs.cu, and triton.py, written as a stranger's file is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernels.conformance.lanes import SANITIZED

FOLDER = Path(__file__).parent
FILES: Mapping[str, tuple[str, ...]] = {
    "cuda.py": ("emulated", "gpu", SANITIZED),
    "triton.py": ("interpreter", "gpu", SANITIZED),
}
"""Each file of specimens and the lanes that its code can run in, the weakest first."""
MODULES: Mapping[str, str] = {"cuda.py": "cuda.core", "triton.py": "triton"}
"""What has to be installed for each to run on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A specimen: a kernel with one bug, or a sound one.

    bug        of BUGS; None for a sound one, which no lane may accuse
    file       of FILES, that declares it
    killed_by  lane -> the check that must catch it there
    by_luck    lane -> the check that catches it there on some runs and machines
    unseen     lane -> why no check can see it there
    dtype      that the bug shows in
    """

    bug: str | None
    file: str
    operator: str
    name: str
    killed_by: Mapping[str, str] = field(default_factory=dict)
    by_luck: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"

    @property
    def title(self) -> str:
        """file/operator/name."""
        return f"{Path(self.file).stem}/{self.operator}/{self.name}"


BUGS = (
    "race",
    "missing barrier",
    "wrong grid bound",
    "unmasked lane",
    "int32 wrap",
    "wrong stream",
    "uninitialised shared memory",
    "warp-size assumption",
    "half accumulators",
    "non-deterministic order",
)
ONE_BY_ONE = "programs run one after another: none gets between a load and its store"
ONE_ORDER = "programs always run in the same order"
NO_STREAMS = "a CPU has no streams: every launch is done when it returns"
NUMBERS = "the tools look at memory, and the numbers are right"
UNUSED = "what is read is thrown away, and memory that belongs to another can be read"
NOT_RUN = "the check of large maps takes too long under a tool"


def _sound(file: str, operator: str) -> Planted:
    return Planted(bug=None, file=file, operator=operator, name="sound")


def _cuda(bug: str, name: str, operator: str = "roi_align", **seen: Any) -> Planted:
    return Planted(bug=bug, file="cuda.py", operator=operator, name=name, **seen)


def _triton(bug: str, name: str, operator: str = "roi_align", **seen: Any) -> Planted:
    return Planted(bug=bug, file="triton.py", operator=operator, name=name, **seen)


PLANTED: tuple[Planted, ...] = (
    _sound("cuda.py", "roi_align"),
    _sound("cuda.py", "nms"),
    _sound("triton.py", "roi_align"),
    _sound("triton.py", "box_iou"),
    _cuda(
        "race",
        "race",
        killed_by={"emulated": "gradient", "gpu": "gradient"},
        by_luck={SANITIZED: "racecheck"},
    ),
    _triton(
        "race",
        "race",
        killed_by={"gpu": "gradient"},
        by_luck={SANITIZED: "racecheck"},
        unseen={"interpreter": ONE_BY_ONE},
    ),
    _cuda(
        "missing barrier",
        "missing_barrier",
        killed_by={"emulated": "values", SANITIZED: "racecheck"},
        by_luck={"gpu": "values"},
    ),
    _cuda(
        "wrong grid bound",
        "wrong_grid",
        killed_by={"emulated": "values", "gpu": "values", SANITIZED: "memcheck"},
    ),
    _triton(
        "wrong grid bound",
        "wrong_grid",
        "box_iou",
        killed_by={"interpreter": "values", "gpu": "values", SANITIZED: "memcheck"},
    ),
    _cuda(
        "unmasked lane",
        "unmasked_lane",
        killed_by={"emulated": "values", SANITIZED: "memcheck"},
        by_luck={"gpu": "values"},
    ),
    _triton(
        "unmasked lane",
        "unmasked_load",
        killed_by={"interpreter": "values", "gpu": "values", SANITIZED: "memcheck"},
    ),
    _triton(
        "unmasked lane",
        "unmasked_store",
        "box_iou",
        killed_by={"interpreter": "values"},
        by_luck={"gpu": "values", SANITIZED: "memcheck"},
    ),
    _triton(
        "unmasked lane",
        "stray_load",
        "box_iou",
        killed_by={SANITIZED: "memcheck"},
        unseen={"interpreter": UNUSED, "gpu": UNUSED},
    ),
    _cuda(
        "int32 wrap",
        "int_wrap",
        killed_by={"emulated": "deep", "gpu": "deep"},
        unseen={SANITIZED: NOT_RUN},
    ),
    _cuda(
        "wrong stream",
        "wrong_stream",
        killed_by={"gpu": "stream"},
        unseen={"emulated": NO_STREAMS, SANITIZED: NUMBERS},
    ),
    _cuda(
        "uninitialised shared memory",
        "uninitialised_shared",
        killed_by={"emulated": "values"},
        by_luck={"gpu": "values", SANITIZED: "initcheck"},
    ),
    _cuda(
        "warp-size assumption",
        "warp_of_64",
        "nms",
        killed_by={"emulated": "certificate", "gpu": "certificate", SANITIZED: "memcheck"},
    ),
    _cuda(
        "warp-size assumption",
        "lockstep",
        "nms",
        killed_by={"emulated": "certificate"},
        by_luck={"gpu": "certificate", SANITIZED: "racecheck"},
    ),
    _cuda(
        "half accumulators",
        "half_sum",
        dtype="float16",
        killed_by={"emulated": "values", "gpu": "values", SANITIZED: "memcheck"},
    ),
    _triton(
        "half accumulators",
        "half_sum",
        dtype="float16",
        killed_by={"interpreter": "values", "gpu": "values", SANITIZED: "memcheck"},
    ),
    _cuda(
        "non-deterministic order",
        "unordered",
        killed_by={"emulated": "orders"},
        by_luck={"gpu": "determinism"},
        unseen={SANITIZED: NUMBERS},
    ),
    _triton(
        "non-deterministic order",
        "unordered",
        by_luck={"gpu": "determinism"},
        unseen={"interpreter": ONE_ORDER, SANITIZED: NUMBERS},
    ),
)
