"""What the kernels are worth to the detector: the same work with ours and with torchvision's."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

import kernels
from benchmarks.timing import interval_of_median
from mrcnn.config import Trial
from mrcnn.data.loader import Batches
from mrcnn.data.shapes import Shapes
from mrcnn.evaluate import detect
from mrcnn.model import MaskRCNN
from mrcnn.paste import Paste
from mrcnn.presets import R50_C4, R50_FPN, at_scale
from mrcnn.seeds import generator
from mrcnn.spec import vary

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Share:
    """Milliseconds of each round with our backends and with torchvision's, side by side.

    images   that each round's work looks at
    """

    name: str
    device: str
    threads: int
    ours_ms: tuple[float, ...]
    peer_ms: tuple[float, ...]
    images: int = 1

    @property
    def ratio(self) -> tuple[float, float, float]:
        """How many times as fast with ours: the median over rounds and its 95 % interval."""
        pairs = zip(self.peer_ms, self.ours_ms, strict=True)
        return interval_of_median([theirs / ours for theirs, ours in pairs])

    @property
    def images_per_s(self) -> float:
        """Images a second with ours: the median over rounds."""
        return 1e3 * self.images / median(self.ours_ms)


def share(name: str, device: str, threads: int, rounds: int, backend: str | None = None) -> Share:
    """Time a piece of the detector's work with our backends and with torchvision's, in turn.

    backend   of ours, for every operator that has it; None: those usual on the device
    """
    torch.set_num_threads(threads)
    ours = choice(device, backend) if backend else {}
    peers = choice(device, "torchvision")
    samples: tuple[list[float], list[float]] = ([], [])
    with TemporaryDirectory() as folder:
        work = WORK[name](device, Path(folder))
        for number in range(-1, rounds):
            turns = [(samples[0], ours), (samples[1], peers)]
            for kept, backends in turns if number % 2 else turns[::-1]:
                with kernels.using(**backends):
                    took = _timed(work, device)
                if number >= 0:
                    kept.append(took)
    return Share(
        name=name,
        device=device,
        threads=threads,
        ours_ms=tuple(samples[0]),
        peer_ms=tuple(samples[1]),
        images=IMAGES.get(name, 1),
    )


def choice(device: str, backend: str) -> dict[str, str]:
    """Every operator that has this backend where the detector calls it, and the backend. Masks are
    pasted on the CPU always: by the usual backend, where this one is for a GPU.
    """
    found = {}
    for name, op in kernels.operators().items():
        where = "cpu" if name == "paste_masks" else device
        if backend in op.native(where):
            found[name] = backend
    return found


def _timed(work: Work, device: str) -> float:
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def inference(device: str, folder: Path) -> Work:
    """One image of 800 x 1216, R50-FPN, masks of 100 detections pasted as torchvision does. Weights
    are random, so that the threshold on scores is taken away.
    """
    trial: Trial = vary(R50_FPN, "model.detection.min_score", 0.0)
    trial = vary(trial, "model.paste", Paste(method="grown"))
    trial = replace(trial, evaluate=replace(trial.evaluate, transforms=()))
    torch.manual_seed(0)
    model = MaskRCNN(trial.model).to(device).eval()
    image = torch.randint(0, 256, (3, 800, 1216), generator=generator(0)).to(torch.uint8)
    return lambda: detect(model, [image], trial)


def training(trial: Trial) -> Callable[[str, Path], Work]:
    """One step of a trial: losses and gradients of a batch that is ready."""

    def prepared(device: str, folder: Path) -> Work:
        torch.manual_seed(0)
        model = MaskRCNN(trial.model).to(device)
        dataset = trial.data.open("train", folder)
        batches = Batches(dataset, trial.train.batch_size, 0, trial.train.augment)
        images = model.images([e.image for e in batches[0]])
        targets = [e.targets.to(device) for e in batches[0]]

        def step() -> None:
            model.zero_grad(set_to_none=True)
            draws = [generator(i, "sampling") for i in range(len(targets))]
            losses = model.losses(images, targets, draws)
            torch.stack(list(losses.values())).sum().backward()

        return step

    return prepared


def _few(trial: Trial) -> Trial:
    """With as little data as one batch needs."""
    assert isinstance(trial.data, Shapes)
    return replace(trial, data=replace(trial.data, train=16, val=4))


TRAINED = {
    "training step, small C4": _few(at_scale(R50_C4, "small")),
    "training step, small FPN": _few(at_scale(R50_FPN, "small")),
}
WORK: dict[str, Callable[[str, Path], Work]] = {
    "inference, R50-FPN, 800 x 1216": inference,
    **{name: training(trial) for name, trial in TRAINED.items()},
}
IMAGES = {name: trial.train.batch_size for name, trial in TRAINED.items()}
"""Looked at by a piece of work, where it is more than one."""
