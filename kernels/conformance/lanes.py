"""Lanes: where a kernel ran, and so how much its passing proves. A weaker one never stands in for a
stronger one: each is named in every outcome, and what cannot run here is counted as not run.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

SANITIZED = "gpu+sanitizer"
PLAIN = ("reference", "cpu")
"""Lanes that a path does not mention."""
TOOLS: Mapping[str, tuple[str, ...]] = {
    "memcheck": ("--report-api-errors", "no"),  # PyTorch makes calls that fail, and handles them
    "racecheck": (),
    "initcheck": (),
}
"""The tools of compute-sanitizer that are used, each with options of its own."""
FOUND = 9
"""The exit code of a process in which compute-sanitizer has found an error."""


def nothing_missing() -> str | None:
    """What a lane needs that every machine has."""
    return None


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Where a kernel runs.

    proof        what passing there shows
    device       that its tensors are on
    environment  variables that its process needs
    patience_s   how long it may take to answer a call that compiles nothing
    missing      () -> why it cannot run here, or None
    """

    proof: str
    device: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = 20.0
    missing: Callable[[], str | None] = nothing_missing

    @property
    def here(self) -> bool:
        """Whether this process has the environment that the lane needs."""
        return all(os.environ.get(n, "0") == v for n, v in self.environment.items())


def _no_compiler() -> str | None:
    from kernels.cuda import host

    try:
        host.compiler()
    except host.NoCompiler as none:
        return str(none)
    return None


def _no_triton() -> str | None:
    return None if installed("triton") else "triton is not installed"


def _no_gpu() -> str | None:
    return None if torch.cuda.is_available() else "no GPU here"


def _no_sanitizer() -> str | None:
    found = shutil.which("compute-sanitizer")
    return _no_gpu() or (None if found else "no compute-sanitizer here")


def installed(module: str) -> bool:
    """Whether a module, its name with dots, is there to be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # what stands before the last dot is missing already
        return False


COMPILED = {"TRITON_INTERPRET": "0"}
LANES: Mapping[str, Lane] = {
    "reference": Lane(proof="it is the definition itself"),
    "cpu": Lane(proof="code for a CPU is right"),
    "emulated": Lane(
        proof="CUDA C++ is right, in bounds and free of races in the orders tried, on a CPU",
        patience_s=120.0,
        missing=_no_compiler,
    ),
    "interpreter": Lane(
        proof="the arithmetic of Triton code is right; of races and memory it says nothing",
        environment={"TRITON_INTERPRET": "1"},
        patience_s=120.0,
        missing=_no_triton,
    ),
    "gpu": Lane(
        proof="what a GPU computes is right",
        device="cuda",
        environment=COMPILED,
        patience_s=60.0,
        missing=_no_gpu,
    ),
    SANITIZED: Lane(
        proof="on a GPU it reads and writes nothing that it should not",
        device="cuda",
        environment={**COMPILED, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        patience_s=300.0,
        missing=_no_sanitizer,
    ),
}
"""The lanes, the weakest first."""
USUAL = tuple(name for name in LANES if name != SANITIZED)
"""Those that need not be asked for: all but the sanitizer's, which is slow."""


def command_of(tool: str, reports: Path) -> list[str]:
    """What stands before a command to run it under a tool of compute-sanitizer.

    reports   the folder for what it finds, a file for each process
    """
    found = shutil.which("compute-sanitizer") or "compute-sanitizer"
    every = ["--error-exitcode", str(FOUND), "--target-processes", "all", "--launch-timeout", "120"]
    return [found, "--tool", tool, *every, *TOOLS[tool], "--log-file", f"{reports}/%p.txt"]


def report_of(reports: Path) -> str:
    """What compute-sanitizer found, in one line; empty where its summary says nothing was.

    A tool that did not get to watch leaves no summary, and that is a finding as well.
    """
    words = [file.read_text(errors="replace") for file in sorted(reports.glob("*.txt"))]
    lines = [li.lstrip("= ").strip() for text in words for li in text.splitlines()]
    summaries = [li for li in lines if "SUMMARY:" in li]
    if not summaries:
        return f"compute-sanitizer did not watch: {' '.join(lines) or 'it wrote no report'}"[:400]
    if all("SUMMARY: 0 " in li for li in summaries):
        return ""
    told = [li for li in lines if li and li not in summaries and li != "COMPUTE-SANITIZER"]
    return f"{'; '.join(summaries)}: {', '.join(told[:4])}"[:400]


def titled(kernel: str, lane: str) -> str:
    """A kernel as a path names it: with its lane, except for those of code for a CPU."""
    return kernel if lane in PLAIN else f"{kernel}[{lane}]"


def expanded(lanes: Sequence[str]) -> tuple[str, ...]:
    """These lanes, and the sanitizer's for what runs on a GPU."""
    return tuple(dict.fromkeys([*lanes, *([SANITIZED] if "gpu" in lanes else [])]))
