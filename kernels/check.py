"""Every backend against the float64 reference, on drawn cases: what `python -m kernels check` does.

A quick look, not the conformance suite: agreement within the stated bound on random inputs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import kernels
from kernels.op import Op

Case = Callable[[str, bool], Tensor]
"""Runs the operator with a backend, in float64 (True) or float32."""


@dataclass(frozen=True)
class Outcome:
    """The largest error of a backend in units of its bound, and what it refused to do."""

    operator: str
    backend: str
    worst: float
    refused: str | None

    @property
    def passed(self) -> bool:
        return self.worst <= 1


def check(op: Op, backend: str, cases: int, seed: int) -> Outcome:
    """Compare a backend in float32 with the reference in float64.

    Raises ValueError for fewer than one case.
    Source: the bound is Op.ulps times epsilon times the largest value read.
    """
    if cases < 1:
        raise ValueError(f"--cases must be at least 1, got {cases}")
    worst, refused = 0.0, None
    for i in range(cases):
        run, largest = DRAWN[op.name](torch.Generator().manual_seed(1000 * seed + i))
        try:
            found = run(backend, False)
        except ValueError as reason:
            refused = str(reason)
            continue
        expected = run("reference", True)
        if found.shape != expected.shape:
            return Outcome(op.name, backend, float("inf"), None)
        error = (found.double() - expected.double()).abs()
        bound = max(op.ulps, 1.0) * torch.finfo(torch.float32).eps * max(largest, 1.0)
        worst = max(worst, float(error.max()) / bound if error.numel() else 0.0)
    return Outcome(op.name, backend, worst, refused)


def _rois(name: str, g: torch.Generator) -> tuple[Case, float]:
    height, width = (int(torch.randint(5, 24, (), generator=g)) for _ in range(2))
    features = torch.randn(3, 4, height, width, generator=g)
    extent = torch.tensor([width, height]) * 16.0
    corner = (torch.rand(12, 2, generator=g) * 1.3 - 0.15) * extent
    rounded = name != "roi_align"  # quarter pixels: no rounding that float32 could tip over
    corners = torch.cat([corner, corner + torch.rand(12, 2, generator=g) * extent * 0.7], 1)
    corners = (corners / 16).round() * 16 + 4 if rounded else corners
    rois = torch.cat([torch.randint(3, (12, 1), generator=g).float(), corners], 1)
    operator = getattr(kernels, name)

    def run(backend: str, wide: bool) -> Tensor:
        tensors = (features.double(), rois.double()) if wide else (features, rois)
        found: Tensor = operator(
            *tensors, output_size=(7, 5), spatial_scale=1 / 16, backend=backend
        )
        return found

    return run, float(features.abs().max())


def _boxes(g: torch.Generator, n: int) -> Tensor:
    corner = torch.rand(n, 2, generator=g) * 80
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=g) * 40], 1)


def _iou(g: torch.Generator) -> tuple[Case, float]:
    a, b = _boxes(g, 20), _boxes(g, 30)

    def run(backend: str, wide: bool) -> Tensor:
        pair = (a.double(), b.double()) if wide else (a, b)
        return kernels.box_iou(*pair, backend=backend)

    return run, 1.0


def _nms(g: torch.Generator) -> tuple[Case, float]:
    boxes, scores = _boxes(g, 60), torch.rand(60, generator=g)

    def run(backend: str, wide: bool) -> Tensor:
        return kernels.nms(boxes, scores, iou_threshold=0.5, backend=backend)

    return run, 0.0


def _paste(g: torch.Generator) -> tuple[Case, float]:
    masks, boxes = torch.rand(5, 28, 28, generator=g), _boxes(g, 5)

    def run(backend: str, wide: bool) -> Tensor:
        return kernels.paste_masks(
            masks, boxes, size=(90, 100), method="grown", threshold=None, backend=backend
        )

    return run, 1.0


DRAWN: dict[str, Callable[[torch.Generator], tuple[Case, float]]] = {
    "roi_align": lambda g: _rois("roi_align", g),
    "roi_pool": lambda g: _rois("roi_pool", g),
    "roi_warp": lambda g: _rois("roi_warp", g),
    "box_iou": _iou,
    "nms": _nms,
    "paste_masks": _paste,
}


def chosen(operator: str | None, backend: str | None) -> Iterator[tuple[Op, str]]:
    """The pairs asked for. Raises ValueError naming the nearest for one that is not there."""
    known = kernels.operators()
    if operator is not None:
        with kernels.using(**{operator: backend or "reference"}):
            pass
    for name, op in known.items():
        for one in op.backends:
            if operator in (None, name) and backend in (None, one):
                yield op, one
