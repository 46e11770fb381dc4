"""Each detector in a process of its own: how long until its first result, and how much memory."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.detector.peer_network import SCALES
from benchmarks.detector.twins import image_of, objects_of, twins
from mrcnn.checkpoint import save_model
from mrcnn.progress import Show, silent

WHO, TASKS = ("ours", "torchvision"), ("inference", "training step")


def fresh(
    scale: str = "full",
    threads: int = 1,
    repeats: int = 3,
    tasks: tuple[str, ...] = TASKS,
    show: Show = silent,
) -> list[dict[str, Any]]:
    """Rows: seconds from the start of Python to the first result, by part, and MiB at the peak.

    Each of them in a fresh process, in turn; weights are read from a file. Of ours there is one
    process more, which compiles its kernels first: `compiled` says whether they were there.

    Raises RuntimeError with its last words where a process fails.
    """
    rows = []
    runs = [("ours", task, False) for task in tasks]
    runs += [(who, task, True) for _ in range(repeats) for task in tasks for who in WHO]
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(scale, folder)
        for number, (who, task, compiled) in enumerate(runs):
            found = in_a_process(who, task, threads, folder)
            about = {"who": who, "task": task, "model": SCALES[scale].name, "threads": threads}
            rows.append({**about, "compiled": compiled, **found})
            show("fresh processes", number + 1, len(runs))
    return rows


def write_inputs(scale: str, folder: Path) -> None:
    """What the processes read: both networks' files of weights, an image and its objects."""
    pair = twins(SCALES[scale])
    image = image_of(pair.scale, 5)
    names = tuple(map(str, range(pair.scale.classes)))
    save_model(pair.ours, pair.trial, folder / "model.safetensors", names)
    torch.save(pair.theirs.state_dict(), folder / "torchvision.pth")
    objects = vars(objects_of(pair, image))
    kept = {name: objects[name] for name in ("boxes", "labels", "masks")}
    torch.save({"image": image, **kept}, folder / "scene.pth")
    (folder / "scale").write_text(scale)


def in_a_process(who: str, task: str, threads: int, folder: Path) -> dict[str, Any]:
    """What `benchmarks.detector.first_result` has measured in a process of its own."""
    arguments = [who, task, str(threads), str(folder), str(time.monotonic())]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.detector.first_result", *arguments],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder / f"compiled for {task}")},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{task} of {who} in a process of its own: {last}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
