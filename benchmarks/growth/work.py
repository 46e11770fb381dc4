"""An operator, or the detector, as work of a given size: its inputs, its call, its proof."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import kernels
from benchmarks.benchmark import Ready
from benchmarks.workloads import Arguments
from mrcnn.evaluate import detect
from mrcnn.model import MaskRCNN
from mrcnn.paste import Paste
from mrcnn.presets import R50_FPN
from mrcnn.seeds import generator
from mrcnn.spec import vary

Inputs = Callable[[int, torch.Generator], Arguments]
CLOSE = 2e-4
"""Of the largest value of the answer: enough for rounding, not for a wrong pixel."""
FEW, BEST = 4, 200
"""Rows, and best boxes, that are compared with the reference."""


def operator_at(
    value: int,
    *,
    operator: str,
    inputs: Inputs,
    rows: tuple[str, ...] = (),
    backward: bool = False,
    backend: str | None = None,
) -> Ready:
    """An operator on inputs of a size.

    rows       the arguments whose rows give the rows of the result; none: it lists kept boxes
    backward   the forward pass and then the gradient of the maps
    backend    None: the usual one
    """
    call = partial(getattr(kernels, operator), backend=backend)
    held: Arguments = {}

    def renew(seed: int) -> None:
        held.clear()
        held.update(inputs(value, torch.Generator().manual_seed(seed)))

    def run() -> Any:
        return gradient(call, held) if backward else call(**held)

    def check() -> None:
        if backward:
            few = last(held, rows)
            compare(operator, gradient(call, few), gradient(reference(operator), doubled(few)))
        elif rows:
            compare(operator, run()[-FEW:], reference(operator)(**doubled(last(held, rows))))
        else:
            best = held["scores"].argsort(descending=True, stable=True)[:BEST]
            cut = {n: v[best] if isinstance(v, Tensor) else v for n, v in held.items()}
            kept = run()
            found = kept[torch.isin(kept, best)]
            compare(operator, found, best[reference(operator)(**doubled(cut))])

    return Ready(run=run, check=check, renew=renew, close=held.clear)


def gradient(call: Callable[..., Tensor], arguments: Arguments) -> Tensor:
    """The gradient of the maps for a gradient of ones."""
    maps = arguments["features"].detach().requires_grad_()
    out = call(**{**arguments, "features": maps})
    return torch.autograd.grad(out, maps, torch.ones_like(out))[0]


def reference(operator: str) -> Callable[..., Tensor]:
    """The definition of an operator."""
    return partial(getattr(kernels, operator), backend="reference")


def last(arguments: Arguments, rows: tuple[str, ...]) -> Arguments:
    """The arguments with the last rows alone."""
    return {n: v[-FEW:] if n in rows else v for n, v in arguments.items()}


def doubled(arguments: Mapping[str, Any]) -> Arguments:
    """The arguments with floats in float64."""

    def wide(v: Any) -> Any:
        if isinstance(v, list):
            return [wide(one) for one in v]
        return v.double() if isinstance(v, Tensor) and v.is_floating_point() else v

    return {n: wide(v) for n, v in arguments.items()}


def compare(operator: str, found: Tensor, expected: Tensor) -> None:
    """Raises AssertionError unless equal but for rounding; of bits one in 10,000 may differ, for a
    value at a threshold may fall either way.
    """
    if found.shape == expected.shape:
        if found.dtype == torch.bool:
            right = float((found != expected).double().mean()) <= 1e-4
        else:
            one, two = found.double(), expected.double()
            bound = CLOSE * float(two.abs().amax().clamp(min=1)) if two.numel() else 0.0
            right = torch.allclose(one, two, rtol=0, atol=bound)
        if right:
            return
    raise AssertionError(f"{operator} is wrong, so it is not timed")


def detector_at(value: int, *, variable: str, side: int = 512) -> Ready:
    """Inference of R50-FPN on one square image, masks of 100 detections pasted as torchvision does.

    variable   "image px": the value is the image's side; "classes": their number; "threads": none

    Weights are random and the threshold on scores is taken away: each class of each of 1,000
    proposals is a candidate, the most there can be.
    """
    trial = vary(R50_FPN, "model.detection.min_score", 0.0)
    trial = vary(trial, "model.paste", Paste(method="grown"))
    if variable == "classes":
        trial = vary(trial, "model.num_classes", value)
    if variable == "image px":
        side = value
    trial = replace(trial, evaluate=replace(trial.evaluate, transforms=()))
    model = MaskRCNN(trial.model).eval()
    held: list[Tensor] = []

    def renew(seed: int) -> None:
        pixels = torch.randint(0, 256, (3, side, side), generator=generator(seed))
        held[:] = [pixels.to(torch.uint8)]

    def check() -> None:
        ours = detect(model, held, trial)[0]
        peer = {n: "torchvision" for n, op in kernels.operators().items() if _has(op)}
        with kernels.using(**peer):
            theirs = detect(model, held, trial)[0]
        near = len(ours.scores) == len(theirs.scores)
        if not near or not torch.allclose(ours.scores, theirs.scores, rtol=1e-3, atol=1e-6):
            raise AssertionError("the detector is wrong, so it is not timed")

    return Ready(run=lambda: detect(model, held, trial), check=check, renew=renew)


def _has(op: kernels.Op) -> bool:
    return "torchvision" in op.native("cpu")
