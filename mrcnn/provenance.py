"""The birth certificate of a number: what made it, from which code, on which machine."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mrcnn.config import Trial
from mrcnn.spec import plain

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("mrcnn", "kernels")
PACKAGES = ("torch", "torchvision", "numpy", "pycocotools", "matplotlib", "pandas")


def trial_id(trial: Trial, data_hash: str) -> str:
    """Twelve hex digits for a configuration on given data; the folder a trial lives in."""
    text = json.dumps([plain(trial, identity=True), data_hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def training_id(trial: Trial, data_hash: str) -> str:
    """The same for what decides the trained weights: trials that differ only in how a trained
    network predicts or is scored (PREDICTION_ONLY) have one training.
    """
    text = json.dumps([plain(trial, identity=True, training=True), data_hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def code_id() -> str:
    """Twelve hex digits that change with any source file under mrcnn/ and kernels/."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def sources() -> Iterator[Path]:
    """The files whose contents can change a result, in a fixed order."""
    for folder in SOURCES:
        yield from sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in {".py", ".cu"})


def made_by(device: str, kernels: dict[str, str], processes: int = 1) -> dict[str, Any]:
    """Code, versions and machine. `kernels`: operator -> the backend that computed it."""
    return {
        "code_id": code_id(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", *SOURCES)),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "kernels": kernels,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
