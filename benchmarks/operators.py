"""The family under pytest-benchmark: its table, its JSON, its comparison with saved runs.

    pytest benchmarks/operators.py --benchmark-only -k "roi_align and P2"
    pytest benchmarks/operators.py --benchmark-only -k nms --benchmark-autosave
    pytest benchmarks/operators.py --benchmark-only -k nms --benchmark-compare

Ours and torchvision's are two benchmarks of a group. Every round has inputs of its own and cold
caches, and answers are checked before and after; on a GPU the clock is that of CUDA's events.
`--benchmark-min-rounds` says how many rounds, OMP_NUM_THREADS on how many threads. What a call must
move and compute, and its share of what this machine can do, is each benchmark's `extra_info`.

A comparison of saved runs is no gate: `python -m benchmarks gate` is.
"""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from jaxtyping import config as checking

import kernels
from benchmarks.benchmark import Ready
from benchmarks.family import MEMBERS, Member, ours, theirs
from benchmarks.roofs import roofs
from benchmarks.timing import flush
from mrcnn.provenance import made_by

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
SIDES = ("ours", "torchvision")
_events: list[Any] = []
_elapsed = [0.0]


def gpu_seconds() -> float:
    """A clock that stands still but between two calls: it then goes on by what the GPU took.

    The first of two calls records a CUDA event and waits for nothing, so that the GPU is still at
    work on what was asked before, the flush, while the call to be timed is prepared.
    """
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    if _events:
        event.synchronize()
        _elapsed[0] += _events.pop().elapsed_time(event) / 1e3
    else:
        _events.append(event)
    return _elapsed[0]


def _cases() -> list[Any]:
    found = []
    for device in DEVICES:
        for name, member in MEMBERS.items():
            about: dict[str, Any] = {"group": f"{device}/{name}", "disable_gc": True}
            about |= {"timer": gpu_seconds} if device == "cuda" else {}
            for side in SIDES:
                if side == "ours" or member.workload.peer_at(member.place(device)):
                    label, mark = f"{device}/{name}-{side}", pytest.mark.benchmark(**about)
                    found.append(pytest.param(name, device, side, id=label, marks=mark))
    return found


@pytest.fixture(autouse=True)
def _types_unchecked() -> Iterator[None]:
    """This project's tests check types in every call; what is timed does without."""
    before = checking.jaxtyping_disable
    checking.update("jaxtyping_disable", True)
    yield
    checking.update("jaxtyping_disable", before)


@pytest.mark.parametrize(("name", "device", "side"), _cases())
def test_speed(
    benchmark: Any, name: str, device: str, side: str, request: pytest.FixtureRequest
) -> None:
    """Times one side of one member of the family, if its answers are right."""
    member = MEMBERS[name]
    workload, place = member.workload, member.place(device, THREADS)
    backend = workload.usual(device) if side == "ours" else "torchvision"
    ready = ours(workload, place, backend) if side == "ours" else theirs(workload, place)
    ready.check()
    benchmark.pedantic(
        ready.run,
        setup=_fresh(ready, device),
        rounds=request.config.getoption("benchmark_min_rounds"),
        warmup_rounds=1,
    )
    ready.check()
    ready.close()
    if benchmark.stats is not None:  # none with --benchmark-disable
        benchmark.extra_info |= _about(member, place.device, backend, benchmark.stats["median"])


def _fresh(ready: Ready, device: str) -> Any:
    """What makes new inputs before each round, and leaves none of them in a cache."""
    seed = [0]

    def setup() -> None:
        seed[0] += 1
        ready.renew(seed[0])
        _events.clear()
        flush(device)

    return setup


def _about(member: Member, device: str, backend: str, seconds: float) -> dict[str, Any]:
    place, ceiling = member.place(device, THREADS), roofs(device, THREADS)
    least = member.work(place, 1)
    return {
        "operator": member.workload.operator,
        "family": member.shape,
        "dtype": member.dtype,
        "layout": member.layout,
        "direction": member.direction,
        "backend": backend,
        "device": device,
        "threads": THREADS,
        "cache": "cold",
        "bytes": least.bytes,
        "operations": least.operations,
        "roof": ceiling.bytes_per_s(least.bytes),
        "flops_roof": ceiling.operations_per_s(),
        "of_roof": least.bytes / ceiling.bytes_per_s(least.bytes) / seconds,
        "of_light": ceiling.least_s(least.bytes, least.operations) / seconds,
        "made_by": _made_by(device),
    }


@cache
def _made_by(device: str) -> dict[str, Any]:
    return made_by(device, kernels.in_use(device))
