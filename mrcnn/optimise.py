"""The optimisation: its settings as values, and the one loop that every training here runs."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mrcnn.atomic import replaced
from mrcnn.averages import Normaliser, counted
from mrcnn.data.transforms import AnyTransform, Flip, Resize
from mrcnn.precision import Precision, autocast, float32_products
from mrcnn.ranks import ALONE, Ranks

Losses = Mapping[str, Tensor]
Stage = Literal["joint", "rpn", "detector"]
Report = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum. Source: He et al. 2017, sec. 3.1."""

    rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4

    def build(self, parameters: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter 2019."""

    rate: float = 2e-3
    weight_decay: float = 0.01

    def build(self, parameters: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=self.rate, fused=True)


@dataclass(frozen=True, kw_only=True)
class StepSchedule:
    """The rate falls by `factor` at each milestone, given as a fraction of all steps.

    Source: He et al. 2017, sec. 3.1: divided by 10 at 120k of 160k steps, which is 0.75.
    """

    milestones: tuple[float, ...] = (0.75,)
    factor: float = 0.1

    def __call__(self, progress: float) -> float:
        return float(self.factor ** sum(progress >= m for m in self.milestones))


@dataclass(frozen=True)
class CosineSchedule:
    """The rate falls along half a cosine, from all of it to nothing."""

    def __call__(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained.

    batch_size     images per step, over all processes and accumulated parts
    accumulate     parts that each process's share of the batch is split into, to fit in memory
    normaliser     what the losses are divided by where several processes train: "global" by the
                   count over all of them, "per_rank" each by its own (every peer); see averages.py.
                   A part stands for its own: its losses are divided by its count (over the
                   processes, if "global"), and the parts averaged. So one process with 8 parts does
                   what 8 processes with "per_rank" do.
    rpn_steps      the first so many of `steps` train the RPN alone; after them it is constant, and
                   the rest of the network is trained on its proposals. Each stage warms up anew and
                   runs through the whole schedule. 0 trains both at once ("approximate joint
                   training": the peers); more is how the paper's main tables were made, and needs
                   model.rpn_features = "separate"
    aspect_groups  boundaries of width / height between groups of images; each batch is of one
                   group, so that less of it is padding. () makes no groups (Detectron's batches
                   per GPU, Matterport); (1.0,) wide and tall (detectron2, mmdetection);
                   (0.5, 0.63, 0.79, 1, 1.26, 1.59, 2) torchvision's references, factor 3
    warmup_steps   over which the rate rises linearly, from warmup_factor of itself
    clip           largest norm of the gradient; None does not clip
    precision      see mrcnn/precision.py; evaluation is in fp32 always
    augment        transforms of each training image, in order

    Norms and biases are not decayed.
    Source: He et al. 2017, sec. 3.1 and sec. 4 (RPN trained separately), appendix B (jointly);
    warm-up: Goyal et al. 2017, sec. 2.2; groups: torchvision's references/detection.
    """

    steps: int = 160_000
    batch_size: int = 16
    accumulate: int = 1
    optimiser: SGD | AdamW = SGD()
    schedule: StepSchedule | CosineSchedule = StepSchedule()
    warmup_steps: int = 500
    warmup_factor: float = 1 / 3
    clip: float | None = None
    precision: Precision = "fp32"
    augment: tuple[AnyTransform, ...] = (Resize(), Flip())
    normaliser: Normaliser = "global"
    rpn_steps: int = 0
    aspect_groups: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.accumulate) < 1 or self.warmup_steps < 0:
            raise ValueError(
                "need steps, batch_size, accumulate >= 1 and warmup_steps >= 0, got "
                f"{self.steps=}, {self.batch_size=}, {self.accumulate=}, {self.warmup_steps=}"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must divide batch_size, got {self.accumulate} and {self.batch_size}"
            )
        if self.optimiser.rate <= 0 or (self.clip is not None and self.clip <= 0):
            raise ValueError(f"need a positive rate and clip, got {self.optimiser}, {self.clip=}")
        if not 0 <= self.rpn_steps < self.steps:
            raise ValueError(f"rpn_steps must be 0 to less than steps, got {self.rpn_steps}")
        if list(self.aspect_groups) != sorted({x for x in self.aspect_groups if x > 0}):
            raise ValueError(f"aspect_groups must be positive and rise, got {self.aspect_groups}")

    def stage(self, step: int) -> Stage:
        """What a step trains, counted from 0."""
        if not self.rpn_steps:
            return "joint"
        return "rpn" if step < self.rpn_steps else "detector"

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        steps = self.rpn_steps
        if step >= self.rpn_steps:
            step, steps = step - self.rpn_steps, self.steps - self.rpn_steps
        risen = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        warm = self.warmup_factor + (1 - self.warmup_factor) * risen
        return self.optimiser.rate * warm * self.schedule(step / steps)


def optimise(
    model: nn.Module,
    losses: Callable[[int, int], Losses],
    config: TrainConfig,
    *,
    state: Path,
    identity: str,
    report: Report,
    stop: Callable[[], bool],
    ranks: Ranks = ALONE,
) -> None:
    """Train `model` for config.steps steps, from the saved state if there is one.

    losses      of (step, part of the batch), a pure function of both: this is what makes a resumed
                run take the identical next step, with no generator to save
    state       file the resumable state is kept in; its `identity` must be the run's own
    report      called after each step with its losses, averaged over the processes
    ranks       the processes that train together, each with its share of every part; all have to
                see `state`, which rank 0 writes. It fits any number of them.

    Raises KeyboardInterrupt on every rank, with the state saved, once `stop()` is true on one.
    Raises FloatingPointError on every rank, naming the term, when a loss is not finite on one.
    """
    optimiser = config.optimiser.build(_groups(model, config.optimiser.weight_decay))
    scaler = torch.amp.GradScaler(enabled=config.precision == "fp16")
    start = restore(state, identity, model, optimiser, scaler)
    shared = ranks.shared(model, losses, partly=config.rpn_steps > 0)
    saved_at, saving_took = time.monotonic(), 0.0
    model.train()
    for step in range(start, config.steps):
        if ranks.any(stop()):
            if ranks.leads:
                save_state(state, identity, step, model, optimiser, scaler)
            ranks.any(False)  # nobody ends before it is saved: torchrun would then stop the rest
            raise KeyboardInterrupt
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        with float32_products("tf32" if config.precision == "tf32" else "ieee"):
            report(step, _one_step(model, shared, config, optimiser, scaler, step, ranks))
        if ranks.leads and time.monotonic() - saved_at > max(15.0, 20 * saving_took):
            began = time.monotonic()
            save_state(state, identity, step + 1, model, optimiser, scaler)
            saved_at, saving_took = time.monotonic(), time.monotonic() - began


def _one_step(
    model: nn.Module,
    shared: tuple[Callable[[int, int], Losses], Callable[[], AbstractContextManager[None]]],
    config: TrainConfig,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    step: int,
    ranks: Ranks,
) -> dict[str, float]:
    losses, not_yet = shared
    optimiser.zero_grad(set_to_none=True)
    totals: dict[str, float] = {}
    device = next(model.parameters()).device.type
    for part in range(config.accumulate):
        with not_yet() if part + 1 < config.accumulate else nullcontext():
            with autocast(config.precision, device), counted(ranks, config.normaliser):
                terms = losses(step, part)
            numbers = ranks.mean({name: float(value.detach()) for name, value in terms.items()})
            for name, number in numbers.items():
                if not math.isfinite(number):
                    raise FloatingPointError(f"step {step}: the {name} loss is {number}")
                totals[name] = totals.get(name, 0.0) + number / config.accumulate
            total = torch.stack(list(terms.values())).sum() / config.accumulate
            scaler.scale(total).backward()  # type: ignore[no-untyped-call]
    if config.clip is not None:
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    scaler.step(optimiser)
    scaler.update()
    return totals


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def save_state(
    path: Path,
    identity: str,
    step: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Everything the next step depends on, written whole or not at all."""
    state = {
        "identity": identity,
        "step": step,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),
    }
    with replaced(path) as draft:
        torch.save(state, draft)


def restore(
    path: Path,
    identity: str,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> int:
    """Load a saved state in place and return its step; 0 if there is none, or another run's.

    Only tensors and plain values are ever unpickled.
    """
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is no saved training state ({error}); delete it") from error
    if state["identity"] != identity:
        return 0
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    scaler.load_state_dict(state["scaler"])
    return int(state["step"])
