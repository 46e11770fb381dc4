"""Shapes: the built-in data set. Drawn, not downloaded; the same everywhere by seed alone."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from rich.progress import track

from mrcnn.data.annotations import as_ground_truth, encode_mask
from mrcnn.data.dataset import Example, Split
from mrcnn.data.drawing import KEYPOINTS, OUTLINES, draw
from mrcnn.data.transforms import boxes_of
from mrcnn.structures import Targets

VERSION = 1
"""Of the drawing: raise it whenever a picture changes, so that no old cache is taken for new."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Pictures of eight kinds of shapes that occlude each other; colour says nothing of class.

    size      side of the square pictures, pixels; objects are 0.15 to 0.65 of it
    texture   strength of noise, stripes and gradients on objects, 0 to 1

    Raises ValueError for sizes that cannot be drawn. Source: our own.
    """

    size: int = 128
    train: int = 6000
    val: int = 400
    texture: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 32 or min(self.train, self.val) < 1 or not 0 <= self.texture <= 1:
            raise ValueError(f"Shapes needs size >= 32, images and texture of 0 to 1, got {self}")

    def open(self, split: Split, cache: Path) -> "ShapesDataset":
        """The split, drawn into `cache` the first time, which takes seconds."""
        folder = cache / f"shapes-{self.hash(cache)}-{split}"
        if not folder.exists():
            materialise(self, split, folder)
        return ShapesDataset(self, split, folder)

    def hash(self, cache: Path) -> str:
        """Twelve hex digits of everything the pictures depend on."""
        text = json.dumps([VERSION, vars(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def materialise(spec: Shapes, split: Split, folder: Path) -> None:
    """Draw a whole split into `folder`, which appears when it is complete and not before."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True, exist_ok=True)
    count = spec.train if split == "train" else spec.val
    shape = (count, spec.size, spec.size)
    images = np.lib.format.open_memmap(draft / "images.npy", "w+", np.uint8, (*shape, 3))
    owners = np.lib.format.open_memmap(draft / "owners.npy", "w+", np.uint8, shape)
    labels, keypoints = [], []
    jobs = [(spec, split, range(i, min(i + 100, count))) for i in range(0, count, 100)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        done = map(_draw_some, jobs) if len(jobs) < 5 else pool.map(_draw_some, jobs)
        for (_, _, rows), part in zip(
            jobs, track(done, f"drawing {split}", len(jobs)), strict=True
        ):
            images[rows.start : rows.stop], owners[rows.start : rows.stop] = part[0], part[1]
            labels += part[2]
            keypoints += part[3]
    images.flush()
    owners.flush()
    counts = np.array([len(one) for one in labels])
    np.savez(
        draft / "objects.npz",
        ends=counts.cumsum(),
        labels=np.concatenate(labels),
        keypoints=np.concatenate(keypoints),
    )
    try:
        os.replace(draft, folder)
    except OSError:  # another process was faster; its pictures are the same
        shutil.rmtree(draft)


def _draw_some(job: tuple[Shapes, Split, range]) -> tuple[Any, Any, list[Any], list[Any]]:
    spec, split, rows = job
    pictures = [
        draw(spec.size, spec.texture, np.random.default_rng([spec.seed, split == "val", i]))
        for i in rows
    ]
    images, owners = np.stack([p.image for p in pictures]), np.stack([p.owner for p in pictures])
    return images, owners, [p.labels for p in pictures], [p.keypoints for p in pictures]


class ShapesDataset:
    """One split of Shapes, read from its folder without loading it whole."""

    def __init__(self, spec: Shapes, split: Split, folder: Path) -> None:
        self.name = f"Shapes, {spec.size} px"
        self.split = split
        self.classes = tuple(OUTLINES)
        self.category_ids = tuple(range(1, len(OUTLINES) + 1))
        self.left_out: Mapping[str, int] = {}
        self.keypoints = tuple(KEYPOINTS)
        self.half_pixel = 0.0
        self._images = np.load(folder / "images.npy", mmap_mode="r")
        self._owners = np.load(folder / "owners.npy", mmap_mode="r")
        with np.load(folder / "objects.npz") as objects:
            self._ends: NDArray[np.int64] = objects["ends"]
            self._labels = torch.from_numpy(objects["labels"])
            self._keypoints = torch.from_numpy(objects["keypoints"])

    def __len__(self) -> int:
        return len(self._images)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width), the same for all."""
        return self._images.shape[1], self._images.shape[2]

    def example(self, index: int) -> Example:
        """Picture `index` with modal masks."""
        image = torch.from_numpy(np.array(self._images[index])).permute(2, 0, 1).contiguous()
        owner = torch.from_numpy(np.array(self._owners[index]))
        end = int(self._ends[index])
        start = int(self._ends[index - 1]) if index else 0
        masks = owner == torch.arange(1, end - start + 1)[:, None, None]
        targets = Targets(
            boxes_of(masks), self._labels[start:end], masks, self._keypoints[start:end]
        )
        return Example(image, targets, index + 1, f"shapes/{self.split}/{index:06d}")

    def ground_truth(self) -> COCO:
        """The annotations in COCO's terms; masks as run-length encoding."""
        images, annotations = [], []
        for index in range(len(self)):
            example = self.example(index)
            height, width = example.image.shape[1:]
            images.append({"id": index + 1, "height": height, "width": width})
            annotations += [_annotation(example, i) for i in range(len(example.targets))]
        return as_ground_truth(images, annotations, self.classes, self.category_ids, self.keypoints)


def _annotation(example: Example, i: int) -> dict[str, Any]:
    """Object i of an example in COCO's terms, its label as its category."""
    targets = example.targets
    assert targets.keypoints is not None
    x1, y1, x2, y2 = targets.boxes[i].tolist()
    return {
        "image_id": example.image_id,
        "category_id": int(targets.labels[i]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(targets.masks[i].sum()),
        "segmentation": encode_mask(targets.masks[i]),
        "iscrowd": 0,
        "keypoints": targets.keypoints[i].flatten().tolist(),
        "num_keypoints": int((targets.keypoints[i, :, 2] > 0).sum()),
    }
