"""Pieces of work on small pictures that neither an operator nor a stage of the detector is."""

from pathlib import Path
from typing import Any

import torch

from benchmarks.benchmark import Benchmark, Ready
from mrcnn.data.shapes import Shapes
from mrcnn.evaluate import as_results
from mrcnn.scoring import score
from mrcnn.seeds import generator
from mrcnn.structures import Detections, Targets

IMAGES = 4


def evaluation(folder: Path) -> Ready:
    """AP of boxes and masks of a few pictures, whose detections are the truth, moved a little."""
    opened = Shapes(size=128, train=IMAGES, val=IMAGES).open("val", folder)
    truth = opened.ground_truth()
    given: dict[str, list[dict[str, Any]]] = {}

    def predictions(pixels: float, seed: int) -> list[dict[str, Any]]:
        g = generator(seed, "moved")
        found = []
        for i in range(IMAGES):
            example = opened.example(i)
            moved = _moved(example.targets, pixels, g)
            found += as_results(moved, example.image_id, opened.category_ids)
        return found

    def renew(seed: int) -> None:
        given["predictions"] = predictions(4.0, seed)

    def check() -> None:
        """Of the truth itself the AP is 100."""
        found = score(truth, predictions(0.0, 0))
        for name in ("box AP", "mask AP"):
            assert abs(found[name] - 100) < 1e-6, f"{name} of the truth is {found[name]:.6g}"

    renew(0)
    return Ready(run=lambda: score(truth, given["predictions"]), check=check, renew=renew)


def _moved(targets: Targets, pixels: float, g: torch.Generator) -> Detections:
    boxes = targets.boxes + pixels * torch.randn(targets.boxes.shape, generator=g)
    scores = torch.rand(len(boxes), generator=g)
    return Detections(boxes=boxes, labels=targets.labels, scores=scores, masks=targets.masks)


PIECES = {"evaluation/small": Benchmark(name="evaluation/small", prepare=evaluation)}
