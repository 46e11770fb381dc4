"""Everything that a GPU has to show, in one go: right answers, caught bugs, and speed.

What is timed runs alone; what is checked runs many processes at a time. A step that fails or runs
out of time is a line of the result, and the others go on. The same command again, with the same
code and folder, keeps what has ended and goes on with the rest. What torchvision's operators are
checked for comes last and apart: one of them keeps a GPU busy until it is killed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kernels
from kernels.conformance.zoo.gpu import PLANTED
from mrcnn.atomic import write_json
from mrcnn.provenance import code_id

ROOT = Path(__file__).resolve().parent.parent
TIMED = (
    *("roi_align/P2", "roi_align/C4/*/forward", "roi_pool/P2"),
    *("multilevel_roi_align/pyramid", "multilevel_roi_align/masks/*/forward"),
    *("nms/1k", "nms/10k", "batched_nms/10k", "box_iou/10k", "crop_masks/28x28"),
    *("paste_masks/800px", "paste_masks/800px_soft"),
)
"""Benchmarks by the first parts of their names, in float32."""
ALIGNED = ("roi_align/P2", "multilevel_roi_align/pyramid/*/forward")
"""What is timed as a CUDA graph as well: the kernels alone, without what Python takes."""
HALF = (*ALIGNED, "roi_pool/P2/*/forward")
GRAPHS = ("--graph", "--dtype", "float32", "--dtype", "float16", "--layout", "channels_last")
SANITIZED = "gpu+sanitizer"
WATCHED = ("multilevel_roi_align", "nms", "roi_pool", "paste_masks", "crop_masks")
"""Operators whose kernels run under compute-sanitizer, where everything takes minutes."""
GRACE_S = 10
"""Seconds that a step has to write down what it found, once its time is over."""
TAIL = 12
"""Lines of a step's last words that are kept."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of this project, `python -m ...`, and the JSON file that it writes.

    threads   of PyTorch on the CPU; None: as many as there are
    """

    name: str
    command: tuple[str, ...]
    limit_s: float
    threads: int | None = None

    def file(self, folder: Path, ending: str) -> Path:
        """Where it, or we, write something about it."""
        return folder / f"{self.name.replace(' ', '-').replace('+', '-')}.{ending}"

    def ended(self, folder: Path, accept_old_code: bool = False) -> dict[str, Any] | None:
        """Its result in an earlier run of this very code, or any, if it came to an end there."""
        kept = self.file(folder, "ended.json")
        if not kept.exists():
            return None
        result: dict[str, Any] = json.loads(kept.read_text())
        return result if accept_old_code or result["code_id"] == code_id() else None

    def run(self, folder: Path, left_s: float = float("inf")) -> dict[str, Any]:
        """Run it; its name, seconds, exit code (None: out of time), last words, the code that ran
        and findings. A result that ended is kept in `folder`.
        """
        file = self.file(folder, "json")
        file.unlink(missing_ok=True)
        began = time.monotonic()
        code = None
        running = subprocess.Popen(
            [sys.executable, "-m", *self.command, "--out", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **({} if self.threads is None else few_threads(self.threads))},
        )
        try:
            words, _ = running.communicate(timeout=min(self.limit_s, left_s))
            code = running.returncode
        except subprocess.TimeoutExpired:
            words = stopped(running)
        found = json.loads(file.read_text()) if file.exists() else None
        result = {
            "step": self.name,
            "seconds": round(time.monotonic() - began, 1),
            "exit_code": code,
            "words": words.strip().splitlines()[-TAIL:],
            "code_id": code_id(),
            "found": found,
        }
        if code is not None:
            write_json(self.file(folder, "ended.json"), result)
        return result


def few_threads(count: int) -> dict[str, str]:
    """The environment in which a process and those it starts have so many threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(count))


def stopped(running: subprocess.Popen[str]) -> str:
    """Stop a process as Ctrl-C does, so that it writes what it has found; its words."""
    running.send_signal(signal.SIGINT)
    try:
        return running.communicate(timeout=GRACE_S)[0]
    except subprocess.TimeoutExpired:
        running.kill()
        return running.communicate()[0]


def timed(rounds: int) -> list[Step]:
    """What is timed, one after the other."""
    both = ("--backend", "cuda", "--backend", "triton")
    run = ("benchmarks", "run", "--device", "cuda", "--rounds", str(rounds))
    half = ("--dtype", "float16", "--dtype", "bfloat16")
    return [
        Step(name="float32", command=(*run, *TIMED, *both), limit_s=200),
        Step(name="half", command=(*run, *HALF, *both, *half), limit_s=200),
        Step(name="graphs", command=(*run, *ALIGNED, *both, *GRAPHS), limit_s=120),
        Step(
            name="detector",
            command=("benchmarks", "detector", "--device", "cuda", "--backend", "cuda"),
            limit_s=120,
        ),
    ]


def checked() -> list[Step]:
    """What is checked of ours, as many at a time as there are processors to feed, what matters
    most first: the bugs that must be caught, our kernels under the sanitizer and without it.
    """
    ours = [_check(op, one, "gpu") for one in ("cuda", "triton") for op in kernels.operators()]
    watched = [_check(op, one, SANITIZED) for one in ("cuda", "triton") for op in WATCHED]
    return [*specimens(), *watched, *ours]


def peers() -> list[Step]:
    """The same of torchvision's operators."""
    return [
        _check(name, "torchvision", "gpu")
        for name, op in kernels.operators().items()
        if "torchvision" in op.backends
    ]


def specimens() -> list[Step]:
    """Each bug that GPU code has, on the GPU and under the sanitizer."""
    lanes = ("--lane", "gpu", "--lane", SANITIZED)
    zoo = ("kernels", "zoo", *lanes, "--profile", "quick", "--specimen")
    return [
        Step(
            name=f"zoo {one.title.replace('/', ' ')}",
            command=(*zoo, one.title),
            limit_s=420,
            threads=1,
        )
        for one in PLANTED
    ]


def _check(operator: str, backend: str, lane: str) -> Step:
    dtypes = ("--dtype", "float32") + (() if lane == SANITIZED else ("--dtype", "float16"))
    which = ("--lane", lane, "--operator", operator, "--backend", backend)
    return Step(
        name=f"{operator} {backend} {lane}",
        command=("kernels", "check", "--profile", "quick", *dtypes, *which),
        limit_s=420,
        threads=1,
    )


def everything(
    folder: Path, rounds: int, minutes: float, accept_old_code: bool = False
) -> list[dict[str, Any]]:
    """Every step's result, timings first; those that no time is left for are said to be left out.

    folder   for the files that the steps write; what ended there before is kept, if this very
             code made it or `accept_old_code`
    """
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * minutes

    def one(step: Step) -> dict[str, Any]:
        if (before := step.ended(folder, accept_old_code)) is not None:
            return before
        left_s = until - time.monotonic()
        if left_s < 20:
            return left_out(step)
        print(f"  {step.name}", flush=True)
        return step.run(folder, left_s)

    found = [one(step) for step in timed(rounds)]
    for steps in (checked(), peers()):
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found += list(pool.map(one, steps))
    return found


def left_out(step: Step) -> dict[str, Any]:
    """The result of a step that there was no time for."""
    words = ["left out: no time was left"]
    about = {"step": step.name, "seconds": 0.0, "exit_code": None, "words": words}
    return {**about, "code_id": code_id(), "found": None}


def gathered(steps: Sequence[Mapping[str, Any]], made_by: Mapping[str, Any]) -> dict[str, Any]:
    """All steps' findings as one: timings, detector, outcomes of checks, rows of the zoo.

    Where this project lies on the machine, which tracebacks tell, is left out.
    """
    kept: dict[str, Any] = {"timings": [], "detector": [], "outcomes": [], "zoo": []}
    for step in steps:
        found = step["found"]
        if isinstance(found, dict):
            kept["timings"] += found.get("timings", [])
            kept["detector"] += found.get("detector", [])
        elif found:
            kept["zoo" if step["step"].startswith("zoo ") else "outcomes"] += found
    about = [{k: v for k, v in step.items() if k != "found"} for step in steps]
    text = json.dumps({**kept, "steps": about, "made_by": dict(made_by)})
    whole: dict[str, Any] = json.loads(text.replace(f"{ROOT}/", ""))
    return whole
