"""Where the detector's time goes: each of its stages, whose sum is compared with the whole.

STAGES are benchmarks of one stage each, small enough to be repeated by the gate; `breakdown` times
every stage of one run of any size, and the run in one piece beside it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.benchmark import Benchmark, Ready
from benchmarks.detector.agreement import assert_same_detections
from benchmarks.detector.peer import BothSteps, still_sgd
from benchmarks.detector.peer_network import FULL, SMALL, Scale
from benchmarks.detector.peer_steps import PeerInference, as_detections
from benchmarks.detector.steps import (
    INFERENCE,
    TRAINING,
    Inference,
    Seen,
    Step,
    Training,
    through,
    training_step,
)
from benchmarks.detector.twins import Twins, image_of, objects_of, twins
from mrcnn.config import Trial
from mrcnn.data.loader import Batches
from mrcnn.data.shapes import Shapes
from mrcnn.evaluate import detect, predicting
from mrcnn.model import MaskRCNN
from mrcnn.precision import Precision, autocast
from mrcnn.presets import R50_C4, R50_FPN, at_scale
from mrcnn.progress import Show, silent
from mrcnn.spec import vary

WHOLE, REST = "the whole", "the rest"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run of the detector in steps and in one piece.

    model      whose run it is, in words
    task       "inference" or "training step"
    steps      which from `given` do what `whole` does
    images     that a run looks at
    """

    model: str
    task: str
    steps: Mapping[str, Step]
    given: Seen
    whole: Callable[[], object]
    images: int = 1
    device: str = "cpu"


def breakdown(
    case: Case,
    rounds: int = 9,
    threads: int = 1,
    precision: Precision = "fp32",
    show: Show = silent,
) -> list[dict[str, Any]]:
    """Rows of milliseconds, one a stage, and of the whole, timed in turn with the sum of stages; in
    each round "the rest" is the whole less that sum. One round before the first does not count.

    Raises ValueError for a training step in another precision than fp32.
    """
    if precision != "fp32" and case.task != "inference":
        raise ValueError(f"stages of a training step are timed in fp32, got {precision!r}")
    torch.set_num_threads(threads)
    kept: dict[str, list[float]] = {name: [] for name in (*case.steps, REST, WHOLE)}
    for number in range(-1, rounds):
        with autocast(precision, case.device):
            for in_steps in (True, False) if number % 2 else (False, True):
                found = _in_steps(case) if in_steps else {WHOLE: _timed(case.whole, case.device)}
                if number >= 0:
                    for name, took in found.items():
                        kept[name].append(took)
        if number >= 0:
            parts = sum(kept[name][-1] for name in case.steps)
            kept[REST].append(kept[WHOLE][-1] - parts)
        show(f"{case.task} of {case.model}", number + 1, rounds)
    about = {"model": case.model, "pass": case.task, "threads": threads, "precision": precision}
    more = {"images": case.images, "device": case.device}
    return [{**about, **more, "stage": name, "ms": ms} for name, ms in kept.items()]


def _in_steps(case: Case) -> dict[str, float]:
    seen, took = dict(case.given), {}
    with torch.no_grad() if case.task == "inference" else nullcontext():
        for name, step in case.steps.items():
            start = time.perf_counter()
            seen |= step(seen)
            took[name] = _since(start, case.device)
    return took


def _timed(work: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    work()
    return _since(start, device)


def _since(start: float, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def our_inference(scale: Scale) -> Case:
    """Ours, of one image."""
    pair, image = twins(scale), image_of(scale, 5)
    return Case(
        model=f"ours, {scale.name}",
        task="inference",
        steps=Inference(pair.ours, pair.trial).steps,
        given={"given": [image]},
        whole=lambda: detect(pair.ours, [image], pair.trial),
    )


def their_inference(scale: Scale) -> Case:
    """torchvision's, of the same image with the same weights."""
    pair, image = twins(scale), image_of(scale, 5)

    def whole() -> object:
        with torch.no_grad():
            return pair.theirs([image.float() / 255])

    steps = PeerInference(pair.theirs).steps
    given = {"given": [image]}
    name = f"torchvision, {scale.name}"
    return Case(model=name, task="inference", steps=steps, given=given, whole=whole)


def our_training(scale: Scale) -> Case:
    """Ours, a step on one image."""
    pair = twins(scale)
    both, optimiser = BothSteps.of(pair), still_sgd(pair.ours)
    return Case(
        model=f"ours, {scale.name}",
        task="training step",
        steps=Training(pair.ours, pair.trial.train, optimiser).steps,
        given=both.given,
        whole=lambda: both.ours(optimiser),
    )


def small_trial(trial: Trial) -> Trial:
    """Of `make ablation`, with as little data as one batch needs, and all that is detected kept: an
    untrained network is sure of nothing.
    """
    trial = vary(at_scale(trial, "small"), "model.detection.min_score", 0.0)
    assert isinstance(trial.data, Shapes)
    return replace(trial, data=replace(trial.data, train=16, val=8))


def ablation_inference(name: str, trial: Trial) -> Case:
    """A batch of an evaluation in `make ablation`."""
    trial = small_trial(trial)
    with TemporaryDirectory() as folder:
        dataset = trial.data.open("val", Path(folder))
        images = [dataset.example(i).image for i in range(trial.evaluate.batch_size)]
    model = MaskRCNN(trial.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Case(
        model=name,
        task="inference",
        steps=Inference(model.eval(), trial).steps,
        given={"given": images},
        whole=lambda: detect(model, images, trial),
        images=len(images),
    )


def ablation_training(name: str, trial: Trial) -> Case:
    """A training step of `make ablation`, its batch ready."""
    trial = small_trial(trial)
    with TemporaryDirectory() as folder:
        dataset = trial.data.open("train", Path(folder))
        batch = Batches(dataset, trial.train.batch_size, 0, trial.train.augment)[0]
    model = MaskRCNN(trial.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = trial.train.optimiser.build([{"params": trained, "weight_decay": 0.0}])
    optimiser.param_groups[0]["lr"] = 0.0
    targets = [one.targets for one in batch]
    given = {"given": [one.image for one in batch], "targets": targets, "seed": 0}
    return Case(
        model=name,
        task="training step",
        steps=Training(model.train(), trial.train, optimiser).steps,
        given=given,
        whole=lambda: training_step(model, trial.train, optimiser, given),
        images=len(batch),
    )


CASES: dict[str, Callable[[], Case]] = {
    "inference": partial(our_inference, FULL),
    "inference, torchvision": partial(their_inference, FULL),
    "training": partial(our_training, FULL),
    "inference, small FPN": partial(ablation_inference, "small FPN", R50_FPN),
    "training, small FPN": partial(ablation_training, "small FPN", R50_FPN),
    "inference, small C4": partial(ablation_inference, "small C4", R50_C4),
    "training, small C4": partial(ablation_training, "small C4", R50_C4),
}
"""Runs that can be taken apart, by the name that the command line takes."""

CHECKED = 5
"""Seed of the image on which answers are compared: rounding decides nothing there."""
_twins = cache(twins)
"""Networks of a scale are made once in a process: no benchmark changes them."""


def _before(steps: Mapping[str, Step], name: str, given: Seen) -> dict[str, Any]:
    """What a stage is given; the whole, what the first one is."""
    return through(steps, given, name if name in steps else next(iter(steps)))


def _inference_stage(name: str, folder: Path) -> Ready:
    """One stage of ours on what the stages before it have made."""
    pair = _twins(SMALL)
    steps = Inference(pair.ours, pair.trial).steps
    seen: dict[str, Any] = {}

    def renew(seed: int) -> None:
        seen.clear()
        with predicting(pair.ours):
            seen.update(_before(steps, name, {"given": [image_of(SMALL, seed)]}))

    def run() -> object:
        with predicting(pair.ours):
            whole = name not in steps
            return detect(pair.ours, seen["given"], pair.trial) if whole else steps[name](seen)

    def check() -> None:
        image = image_of(SMALL, CHECKED)
        with predicting(pair.ours):
            found = through(steps, {"given": [image]})["found"]
            theirs = pair.theirs([image.float() / 255])
        assert_same_detections(found, as_detections(theirs))

    renew(0)
    return Ready(run=run, check=check, renew=renew, close=seen.clear)


def _peer_stage(name: str, folder: Path) -> Ready:
    """The same stage of torchvision's, which is what ours is compared with."""
    pair = _twins(SMALL)
    steps = PeerInference(pair.theirs).steps
    seen: dict[str, Any] = {}

    def renew(seed: int) -> None:
        seen.clear()
        with torch.no_grad():
            seen.update(_before(steps, name, {"given": [image_of(SMALL, seed)]}))

    def run() -> object:
        with torch.no_grad():
            if name in steps:
                return steps[name](seen)
            return pair.theirs([image.float() / 255 for image in seen["given"]])

    renew(0)
    return Ready(run=run, check=lambda: None, renew=renew, close=seen.clear)


def _training_stage(name: str, folder: Path) -> Ready:
    """One stage of our training step; its answer is right if the whole step is torchvision's."""
    pair = _twins(SMALL)
    optimisers = still_sgd(pair.ours), still_sgd(pair.theirs)
    steps = Training(pair.ours, pair.trial.train, optimisers[0], retain=True).steps
    seen: dict[str, Any] = {}

    def given(seed: int) -> dict[str, Any]:
        image = image_of(SMALL, seed)
        return {"given": [image], "targets": [objects_of(pair, image)], "seed": seed}

    def renew(seed: int) -> None:
        seen.clear()
        seen.update(_before(steps, name, given(seed)))

    def run() -> object:
        if name in steps:
            return steps[name](seen)
        return training_step(pair.ours, pair.trial.train, optimisers[0], seen)

    def check() -> None:
        _check_training(pair, steps, given(CHECKED), optimisers[1])

    renew(0)
    return Ready(run=run, check=check, renew=renew, close=seen.clear)


def _check_training(
    pair: Twins, steps: Mapping[str, Step], given: Seen, optimiser: torch.optim.Optimizer
) -> None:
    both = BothSteps(pair, "fp32", given)
    found = through(steps, given, "optimiser")
    for part in ("mask_head", "box_head", "rpn", "backbone"):
        for parameter, gradient in found[f"of_{part}"]:
            parameter.grad = gradient
    losses = found["rpn_losses"] | found["box_losses"] | found["mask_losses"]
    pair.theirs.train()
    try:
        both.compared(losses, optimiser, found["proposals"])
    finally:
        pair.theirs.eval()


AHEAD = {"RoI features, boxes": 2.0, "RoI features, masks": 1.5, WHOLE: 1.05}
"""How many times as fast as torchvision's a stage must stay on one thread; others: nothing said."""


def _stages() -> Iterator[Benchmark]:
    for name in (*INFERENCE, WHOLE):
        yield Benchmark(
            name=f"detector/inference/{name}",
            prepare=partial(_inference_stage, name),
            peer=partial(_peer_stage, name),
            ahead=AHEAD.get(name),
        )
    for name in (*TRAINING, WHOLE):
        yield Benchmark(name=f"detector/training/{name}", prepare=partial(_training_stage, name))


STAGES = {benchmark.name: benchmark for benchmark in _stages()}
