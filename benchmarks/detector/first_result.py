"""The first result of a detector here: python -m benchmarks.detector.first_result WHO TASK ...

It imports what a user of that detector would, and nothing else, so that time and memory are its
own. `benchmarks.detector.fresh` starts it, and writes what it reads.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = 3
"""Until memory is read: the first may leave room that later ones need."""


def main(who: str, task: str, threads: str, folder: str, asked: str) -> None:
    """Do the work and print what it took, since `asked` on the monotonic clock."""
    stamps = {"Python": time.monotonic()}
    import torch

    torch.set_num_threads(int(threads))
    stamps["PyTorch"] = time.monotonic()
    scene = torch.load(Path(folder) / "scene.pth", weights_only=True)
    prepare = {"ours": ours, "torchvision": theirs}[who](stamps)
    work = prepare(task, Path(folder), scene)
    stamps["the network and its weights"] = time.monotonic()
    before = memory_mb()
    work()
    stamps["the first result"] = time.monotonic()
    for _ in range(CALLS - 1):
        work()
    ends = list(stamps.values())
    took = (end - start for start, end in zip([float(asked), *ends[:-1]], ends, strict=True))
    found = {
        "first_result_s": ends[-1] - float(asked),
        "parts_s": dict(zip(stamps, took, strict=True)),
    }
    print(json.dumps({**found, "before_mb": before, "peak_mb": memory_mb()}))


Work = Callable[[], object]


def ours(stamps: dict[str, float]) -> Callable[[str, Path, dict[str, Any]], Work]:
    """Imports what ours needs, and returns what makes its work ready."""
    from benchmarks.detector.steps import training_step
    from mrcnn.checkpoint import load_model
    from mrcnn.evaluate import detect
    from mrcnn.structures import Targets

    stamps["the detector's code"] = time.monotonic()

    def prepare(task: str, folder: Path, scene: dict[str, Any]) -> Work:
        model, trial, _ = load_model(folder / "model.safetensors")
        if task == "inference":
            return lambda: detect(model, [scene["image"]], trial)
        targets = [Targets(scene["boxes"], scene["labels"], scene["masks"])]
        given = {"given": [scene["image"]], "targets": targets, "seed": 5}
        optimiser = sgd(model.train())
        return lambda: training_step(model, trial.train, optimiser, given)

    return prepare


def theirs(stamps: dict[str, float]) -> Callable[[str, Path, dict[str, Any]], Work]:
    """The same of torchvision."""
    import torch

    from benchmarks.detector.peer_network import SCALES, peer

    stamps["the detector's code"] = time.monotonic()

    def prepare(task: str, folder: Path, scene: dict[str, Any]) -> Work:
        model = peer(SCALES[(folder / "scale").read_text()])
        model.load_state_dict(torch.load(folder / "torchvision.pth", weights_only=True))
        image = scene["image"]
        if task == "inference":
            return torch.no_grad()(lambda: model([image.float() / 255]))
        optimiser = sgd(model.train())
        targets = {name: scene[name] for name in ("boxes", "labels")}
        targets["masks"] = scene["masks"].to(torch.uint8)

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(model([image.float() / 255], [targets]).values())).sum().backward()
            optimiser.step()

        return step

    return prepare


def sgd(model: Any) -> Any:
    """The optimiser of both, at a rate of 0."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=0.0, momentum=0.9, weight_decay=1e-4)


def memory_mb() -> float:
    """The most that this process has held so far, resident, in MiB.

    From the kernel's record of this very program, where there is one: `getrusage` counts what the
    parent held in the moment before the program began.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        from mrcnn.train import peak_memory_mb

        return peak_memory_mb("cpu")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
