"""How many images a second the data loader gives, and how many an evaluation can score."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pycocotools.coco import COCO

from mrcnn.config import Trial
from mrcnn.data.coco import CocoFolder
from mrcnn.data.dataset import Dataset
from mrcnn.data.export import export
from mrcnn.data.loader import Batches
from mrcnn.data.shapes import Shapes
from mrcnn.evaluate import as_results
from mrcnn.paste import Paste
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.progress import Show, silent
from mrcnn.scoring import scored
from mrcnn.seeds import generator
from mrcnn.structures import Detections


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Images a second, one number a round.

    what      is done to them, on images of which size
    workers   processes that do it; 0: the one that asks
    first_s   seconds until the first batch was there, processes started; None where nothing waits
    """

    what: str
    workers: int
    threads: int
    images_per_s: tuple[float, ...]
    first_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images to be loaded for training, in the folder given; how many a batch, augmented how."""

    name: str
    open: Callable[[Path], Dataset]
    trial: Trial


def shapes(trial: Trial, count: int) -> Shapes:
    """The trial's pictures, so many of them."""
    assert isinstance(trial.data, Shapes)
    return replace(trial.data, train=count, val=count)


def small_shapes(folder: Path) -> Dataset:
    """64 pictures of 128 px, as `make ablation` has them."""
    return shapes(SMALL, 64).open("train", folder)


def coco_folder(folder: Path) -> Dataset:
    """16 pictures of 640 px as PNG files and run lengths, in a folder in COCO's format."""
    drawn = Shapes(size=640, train=16, val=1).open("train", folder / "drawn")
    export(drawn, folder / "coco", "train", silent)
    return CocoFolder(root=str(folder / "coco")).open("train", folder)


SMALL = at_scale(R50_FPN, "small")
SOURCES = {
    "Shapes, 128 px": Source(name="Shapes, 128 px", open=small_shapes, trial=SMALL),
    "COCO folder, 640 to 800 px": Source(
        name="COCO folder, 640 to 800 px",
        open=coco_folder,
        trial=replace(R50_FPN, train=replace(R50_FPN.train, batch_size=4)),
    ),
}


def loading(
    source: Source,
    workers: tuple[int, ...] = (0, 1, 2),
    rounds: int = 9,
    threads: int = 1,
    show: Show = silent,
) -> list[Rate]:
    """Batches of a source as training asks for them and does nothing else: read, decoded, resized,
    flipped. A round is as many batches as there are workers, at least one.
    """
    torch.set_num_threads(threads)
    found = []
    with TemporaryDirectory() as folder:
        dataset, spec = source.open(Path(folder)), source.trial.train
        for count in workers:
            batches = Batches(dataset, spec.batch_size, 0, spec.augment, workers=count)
            each, step = max(count, 1), 0
            start = time.perf_counter()
            _ = batches[step]
            first = time.perf_counter() - start
            step += 2 * each  # what was prepared ahead is not what is measured
            for ahead in range(1, step):
                _ = batches[ahead]
            rates = []
            for number in range(rounds):
                start = time.perf_counter()
                for _ in range(each):
                    _ = batches[step]
                    step += 1
                rates.append(each * spec.batch_size / (time.perf_counter() - start))
                show(f"loading {source.name}, {count} workers", number + 1, rounds)
            found.append(
                Rate(
                    what=f"load: {source.name}",
                    workers=count,
                    threads=threads,
                    images_per_s=tuple(rates),
                    first_s=first,
                )
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Found:
    """Images with all that is found in them, as `evaluate` has it before pasting."""

    truth: COCO
    category_ids: tuple[int, ...]
    size: tuple[int, int]
    detections: tuple[Detections, ...]


def found_in(size: int, images: int, each: int, folder: Path) -> Found:
    """So many detections in each of some Shapes: its objects, moved a little, and others."""
    dataset = Shapes(size=size, train=1, val=images).open("val", folder)
    detections = []
    for index in range(images):
        targets, g = dataset.example(index).targets, generator(index, "found")
        objects = torch.arange(each) % len(targets)
        moved = 0.04 * size * torch.randn(each, 4, generator=g)
        boxes = (targets.boxes[objects] + moved).clamp(0, size)
        corner = torch.minimum(boxes[:, :2], boxes[:, 2:])
        boxes = torch.cat([corner, torch.maximum(boxes[:, 2:], corner + 4)], 1)
        y, x = (torch.linspace(-1, 1, 28) for _ in range(2))
        disc = (1.2 - (x**2 + y[:, None] ** 2)).sigmoid()
        detections.append(
            Detections(
                boxes,
                targets.labels[objects],
                torch.rand(each, generator=g).sort(descending=True).values,
                mask_probabilities=disc + 0.2 * torch.rand(each, 28, 28, generator=g) - 0.1,
            )
        )
    truth = dataset.ground_truth()
    return Found(
        truth=truth,
        category_ids=dataset.category_ids,
        size=(size, size),
        detections=tuple(detections),
    )


def evaluation(
    size: int = 640,
    images: int = 8,
    each: int = 100,
    rounds: int = 5,
    threads: int = 1,
    show: Show = silent,
) -> list[Rate]:
    """What an evaluation does after the network: masks pasted, encoded as run lengths, and scored,
    which is matching at all thresholds and the averages; each `images` at a time.
    """
    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        given = found_in(size, images, each, Path(folder))
    names = ("paste", "encode", "score")
    kept: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):
        stamps = [time.perf_counter()]
        pasted = paste(given)
        stamps.append(time.perf_counter())
        results = encode(given, pasted)
        stamps.append(time.perf_counter())
        scored(given.truth, results)
        stamps.append(time.perf_counter())
        if number >= 0:
            for i, name in enumerate(names):
                kept[name].append(images / (stamps[i + 1] - stamps[i]))
        show("evaluation", number + 1, rounds)
    about = f"{each} detections in {size} px"
    return [
        Rate(what=f"{n}: {about}", workers=0, threads=threads, images_per_s=tuple(kept[n]))
        for n in names
    ]


def paste(given: Found) -> list[Detections]:
    """Masks in the pixels of their images."""
    return [
        replace(one, masks=Paste()(one.mask_probabilities, one.boxes, given.size))  # type: ignore[arg-type]
        for one in given.detections
    ]


def encode(given: Found, pasted: list[Detections]) -> list[dict[str, Any]]:
    """The detections as COCO results."""
    return [
        result
        for number, one in enumerate(pasted, start=1)
        for result in as_results(one, number, given.category_ids)
    ]


def rates(rounds: int = 9, threads: int = 1, show: Show = silent) -> list[dict[str, Any]]:
    """All of it as rows."""
    found = evaluation(rounds=rounds, threads=threads, show=show)
    for source in SOURCES.values():
        found += loading(source, rounds=rounds, threads=threads, show=show)
    return [asdict(rate) for rate in found]
