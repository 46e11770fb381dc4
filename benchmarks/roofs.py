"""What this machine can do at most: bytes a copy moves, operations a product of matrices makes.

Ceilings are measured, never looked up, and with as many threads as what is held against them.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

Cache = Literal["cold", "hot"]
MEMORY = 2**28
"""Bytes of a copy through memory, source and target together, on a CPU; eight times so on a GPU.
Never less than four times the largest cache: some have 256 MiB and more."""
SECONDS = 0.3
"""For which each ceiling is tried; the best try counts."""
MATRIX = {"cpu": 1024, "cuda": 8192}
PROCESSORS = Path("/sys/devices/system/cpu")
GPU_STATE = ("clocks.sm", "clocks.max.sm", "clocks_throttle_reasons.active", "temperature.gpu")


@dataclass(frozen=True, kw_only=True)
class Roofs:
    """The ceilings of one device.

    copy     (bytes of source and target together, bytes per second read and written), by size
    matmul   dtype -> operations per second, a multiplication and an addition being two
    caches   name -> bytes of one: L1d, L2, L3, or on a GPU L2
    """

    device: str
    threads: int
    copy: tuple[tuple[int, float], ...]
    matmul: Mapping[str, float]
    caches: Mapping[str, int]

    def bytes_per_s(self, size: int, kept: Cache = "cold") -> float:
        """The ceiling for a call that moves `size` bytes: with cold caches that of memory, with
        hot ones the best of any copy that is no smaller.
        """
        if kept == "cold":
            return self.copy[-1][1]
        return max(rate for held, rate in self.copy if held >= size or held == self.copy[-1][0])

    def operations_per_s(self, dtype: str = "float32") -> float:
        """The ceiling for arithmetic in a dtype; that in float32 where it was not measured."""
        return self.matmul.get(dtype, self.matmul["float32"])

    def least_s(self, size: int, operations: int, kept: Cache = "cold") -> float:
        """The seconds below which such work cannot be done: its bytes' or its operations'."""
        moved = size / self.bytes_per_s(size, kept)
        return max(moved, operations / self.operations_per_s())

    def record(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@cache
def roofs(device: str, threads: int) -> Roofs:
    """The ceilings of a device with so many threads, measured once in a process, in seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        known = caches(device)
        memory = MEMORY if device == "cpu" else 8 * MEMORY
        memory = max(memory, 4 * max(known.values(), default=0))
        sizes = sorted({size // 2 for name, size in known.items() if name in ("L2", "L3")})
        dtypes = ("float32", "bfloat16") if device == "cpu" else ("float32", "bfloat16", "float16")
        return Roofs(
            device=device,
            threads=threads,
            copy=tuple((size, copy_rate(device, size)) for size in (*sizes, memory)),
            matmul={dtype: matmul_rate(device, dtype) for dtype in dtypes},
            caches=known,
        )
    finally:
        torch.set_num_threads(before)


def copy_rate(device: str, size: int) -> float:
    """Bytes per second, read and written, of copies whose two sides together hold `size` bytes."""
    source = torch.ones(size // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_s(lambda: target.copy_(source), device)


def matmul_rate(device: str, dtype: str) -> float:
    """Operations per second of a product of square matrices."""
    side = MATRIX[device]
    a, b = (torch.ones(side, side, dtype=getattr(torch, dtype), device=device) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / best_s(lambda: torch.mm(a, b, out=out), device)


def best_s(run: Callable[[], object], device: str) -> float:
    """Seconds of a call at its best, in series of calls that take a millisecond or more."""
    calls, best, end = 1, float("inf"), time.perf_counter() + SECONDS
    run()
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
        taken = time.perf_counter() - start
        if taken < 1e-3:
            calls *= 2
            continue
        best = min(best, taken / calls)
        if time.perf_counter() > end:
            return best


@cache
def caches(device: str) -> dict[str, int]:
    """Bytes of each cache that holds data, as the system names them; none where it says nothing."""
    if device == "cuda":
        return {"L2": int(torch.cuda.get_device_properties(0).L2_cache_size)}
    found = {}
    for folder in sorted((PROCESSORS / "cpu0/cache").glob("index*")):
        level, kind, size = ((folder / n).read_text().strip() for n in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}" + "d" * (kind == "Data")] = _bytes(size)
    return found


def _bytes(text: str) -> int:
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)


def state(device: str) -> dict[str, float]:
    """Clocks and what slows them, now; counts are since the machine started. See `between`."""
    if device == "cuda":
        return _gpu_state()
    found = {"load": os.getloadavg()[0]}
    ticks = [int(v) for line in _lines("/proc/stat", "cpu ") for v in line.split()]
    if len(ticks) > 7:
        found |= {"ticks": float(sum(ticks[:8])), "stolen": float(ticks[7])}
    clocks = [float(line.rpartition(":")[2]) for line in _lines("/proc/cpuinfo", "cpu MHz")]
    if clocks:
        found["mhz"] = sum(clocks) / len(clocks)
    counts = [int(p.read_text()) for p in PROCESSORS.glob("cpu*/thermal_throttle/*_count")]
    return found | ({"throttled": float(sum(counts))} if counts else {})


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What happened to the machine from one state to the next: clocks as they were at the end,
    how often it was throttled, and the share of time that the hypervisor took for others.
    """
    found = {name: v for name, v in after.items() if name not in ("ticks", "stolen", "throttled")}
    if "throttled" in after:
        found["throttled"] = after["throttled"] - before.get("throttled", 0.0)
    if "ticks" in after and (passed := after["ticks"] - before.get("ticks", 0.0)) > 0:
        found["stolen"] = (after["stolen"] - before.get("stolen", 0.0)) / passed
    return found


def _lines(file: str, start: str) -> list[str]:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return []
    return [line.removeprefix(start) for line in lines if line.startswith(start)]


def _gpu_state() -> dict[str, float]:
    asked = ["nvidia-smi", f"--query-gpu={','.join(GPU_STATE)}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    names = ("mhz", "most_mhz", "slowed_by", "celsius")
    values = said.splitlines()[0].split(", ")
    return {n: float(int(v, 0)) for n, v in zip(names, values, strict=True) if v[:1].isdigit()}
