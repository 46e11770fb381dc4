"""One trial, from its configuration to its result: train, evaluate, write down."""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

import kernels
from mrcnn.atomic import write_arrays, write_json
from mrcnn.checkpoint import save_model
from mrcnn.config import Trial
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Batches
from mrcnn.evaluate import Evaluation, evaluate
from mrcnn.model import MaskRCNN
from mrcnn.optimise import TrainConfig, optimise
from mrcnn.pretrain import pretrained_trunk, pretraining_id
from mrcnn.progress import NOTHING, Progress, Show, silent
from mrcnn.provenance import made_by, trial_id
from mrcnn.ranks import ALONE, Ranks
from mrcnn.seeds import generator
from mrcnn.trained import Training, load_training
from mrcnn.weights.bodies import read_body


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What decides how fast a trial runs and where, but not what it is: recorded, not identity.

    threads    of PyTorch; None leaves its default
    kernels    operator -> backend; what is not named takes the default of its device
    parent     stop, with the state saved, once this process is no longer our parent; None: never
    """

    device: str = "cpu"
    threads: int | None = None
    workers: int = 0
    kernels: Mapping[str, str] = field(default_factory=dict)
    parent: int | None = None


def run_trial(
    trial: Trial,
    out: Path,
    runs: Path,
    runtime: Runtime,
    show: Show = silent,
    ranks: Ranks = ALONE,
    trained: Path | None = None,
) -> dict[str, Any]:
    """Train and evaluate `trial` in the folder `out`; returns what result.json holds.

    runs    the folder that generated data and pretrained trunks are shared in
    ranks   the processes that do it together: rank 0 pretrains the trunk, all train and detect,
            rank 0 scores and writes. The others return an empty dict.
    trained the model.safetensors of a trial that differs only in how a trained network predicts:
            its weights are evaluated and nothing is trained. What the training cost is said as
            that trial has noted it

    A run that was interrupted goes on at the step it had saved, with as many processes as before or
    others. Raises KeyboardInterrupt with the state saved on SIGINT, SIGTERM or the loss of
    `runtime.parent`, on all processes if on one.
    """
    refuse_uneven(trial.train, ranks)
    with ExitStack() as stack:
        stack.enter_context(kernels.using(**runtime.kernels))
        stop = stack.enter_context(Interruptible(runtime.parent))
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        started = time.monotonic()
        backends = kernels.in_use(torch.device(runtime.device).type)
        certificate = made_by(runtime.device, backends, ranks.of)  # of the code as it is now
        data = ranks.first(lambda: open_data(trial, runs), stop)
        MaskRCNN(trial.model)  # a network that cannot be is refused before any work is done
        progress = Progress(out / "progress.jsonl" if ranks.leads else Path(os.devnull), show)
        if trained is None:
            model, training = _train_own(trial, data[0], out, runs, runtime, progress, stop, ranks)
        else:
            model, training = load_training(trained, trial, trial.data.hash(runs / "data"))
            model = _placed(model, runtime.device)
            if ranks.leads and trained.parent.resolve() != out.resolve():
                (out / "model.safetensors").unlink(missing_ok=True)  # of other code, or interrupted
        ranks.same(model)
        if ranks.leads and trained is None:
            save_model(model, trial, out / "model.safetensors", data[1].classes)
        began = time.monotonic()
        outcome = evaluate(model, data[1], trial, stop.checked(progress, ranks), ranks=ranks)
        if not ranks.leads:
            return {}
        cost = {
            "train_s": training.seconds,
            "ms_per_step": 1e3 * training.seconds / trial.train.steps,
            "evaluate_s": time.monotonic() - began,
            "total_s": time.monotonic() - started + training.before,
            "peak_memory_mb": peak_memory_mb(runtime.device),
            "parameters": sum(p.numel() for p in model.parameters()),
            **outcome.cost,
            **training.cost,
        }
        return _write_result(out, outcome, cost, training, certificate, data)


def _train_own(
    trial: Trial,
    dataset: Dataset,
    out: Path,
    runs: Path,
    runtime: Runtime,
    progress: Progress,
    stop: "Interruptible",
    ranks: Ranks,
) -> tuple[MaskRCNN, Training]:
    """The trial's own network, trained here from its initial weights or its saved state."""
    identity = trial_id(trial, trial.data.hash(runs / "data"))
    weights = ranks.first(
        lambda: initial_weights(trial, dataset, runs, progress.show, stop, runtime.device), stop
    )
    model = _placed(MaskRCNN(trial.model, trial.seed, weights), runtime.device)
    workers = runtime.workers
    if ranks.leads and not (out / "resume.pt").exists():
        progress.path.unlink(missing_ok=True)  # of a training that is done anew
    before = progress.phase("train", trial.train.steps).seconds
    seconds = train(model, trial, dataset, out, identity, progress, stop, workers, ranks)
    history = progress.history("train") if ranks.leads else []
    return model, Training(seconds=seconds, before=before, history=history, cost={})


def _placed(model: MaskRCNN, device: str) -> MaskRCNN:
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def initial_weights(
    trial: Trial,
    dataset: Dataset,
    runs: Path,
    show: Show,
    stop: Callable[[], bool],
    device: str = "cpu",
) -> dict[str, Tensor] | None:
    """The weights that the trial's trunk starts from: a body's, or a pretrained trunk's, made now
    if no trial before needed it. None where they are random.
    """
    if trial.body is not None:
        return read_body(Path(trial.body.file))
    if trial.pretraining is None:
        return None
    folder, trunk = trunk_folder(trial, runs), trial.model.backbone.trunk
    progress = Progress(folder / "progress.jsonl", show)
    certificate = made_by(device, {})
    return pretrained_trunk(
        trunk,
        trial.pretraining,
        trial.model.pixels,
        dataset,
        folder,
        progress,
        stop,
        device,
        certificate,
    )


def trunk_folder(trial: Trial, runs: Path) -> Path:
    """Where the pretrained trunk of a trial is kept; trials that can share one have the same."""
    assert trial.pretraining is not None
    trunk, data_hash = trial.model.backbone.trunk, trial.data.hash(runs / "data")
    return runs / "trunks" / pretraining_id(trunk, trial.pretraining, trial.model.pixels, data_hash)


def train(
    model: MaskRCNN,
    trial: Trial,
    dataset: Dataset,
    out: Path,
    identity: str,
    progress: Progress,
    stop: Callable[[], bool],
    workers: int = 0,
    ranks: Ranks = ALONE,
) -> float:
    """Train `model` in place; seconds of training, those before an interruption included.

    ranks   the processes that train together; part p of a batch is the same images whatever their
            number, dealt out among them in turn

    Raises FloatingPointError naming the images of the batch when a loss is not finite.
    """
    spec = trial.train
    batches = Batches(
        dataset,
        spec.batch_size,
        trial.seed,
        spec.augment,
        workers=workers,
        aspect_groups=spec.aspect_groups,
        places=ranks.share(spec.batch_size, block=spec.accumulate),
    )

    def losses(step: int, part: int) -> Mapping[str, Tensor]:
        examples = batches[step][part :: spec.accumulate]
        targets = [e.targets.to(model.device) for e in examples]
        images = model.images([e.image for e in examples])
        draws = [generator(trial.seed, "sampling", step, e.image_id) for e in examples]
        return model.losses(images, targets, draws, spec.stage(step))

    timer = progress.phase("train", spec.steps)
    state = out / "resume.pt"
    try:
        optimise(
            model,
            losses,
            spec,
            state=state,
            identity=identity,
            report=timer,
            stop=stop,
            ranks=ranks,
        )
    except FloatingPointError as error:
        every = ranks.gathered([e.name for e in batches[timer.at]])
        names = ", ".join(name for part in every for name in part)
        raise FloatingPointError(f"{error}; images of the batch: {names}") from None
    return timer.seconds


def refuse_uneven(spec: TrainConfig, ranks: Ranks) -> None:
    """Raises ValueError if the batch cannot be split evenly over the processes and parts."""
    parts = ranks.of * spec.accumulate
    if spec.batch_size % parts:
        raise ValueError(
            f"train.batch_size must be a multiple of {ranks.of} processes x "
            f"{spec.accumulate} accumulated parts, got {spec.batch_size}"
        )


def open_data(trial: Trial, runs: Path) -> tuple[Dataset, Dataset]:
    """The training and the validation set. Raises ValueError if their classes do not fit."""
    train_set, val_set = (trial.data.open(split, runs / "data") for split in ("train", "val"))
    for dataset in (train_set, val_set):
        if len(dataset.classes) != trial.model.num_classes:
            raise ValueError(
                f"{dataset.name} has {len(dataset.classes)} classes, "
                f"model.num_classes is {trial.model.num_classes}"
            )
    if not len(train_set) or not len(val_set):
        raise ValueError(f"{train_set.name}: a split is without images")
    return train_set, val_set


class Interruptible:
    """While active, SIGINT and SIGTERM set a flag that is asked for between steps.

    Calling it says whether to stop; so does the death of the process named as parent.
    """

    def __init__(self, parent: int | None = None) -> None:
        self.parent, self.asked = parent, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruptible":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked or (self.parent is not None and self._orphaned(self.parent))

    def _orphaned(self, parent: int) -> bool:
        """Whether `parent` is gone; torchrun stands between it and us, and does not watch it."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return os.getppid() != parent
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            return True
        return False

    def checked(self, show: Show, ranks: Ranks = ALONE) -> Show:
        """`show`, raising KeyboardInterrupt when it is time to stop on any rank."""

        def show_or_stop(phase: str, step: int, of: int, more: Mapping[str, Any] = NOTHING) -> None:
            show(phase, step, of, more)
            if ranks.any(self()):
                raise KeyboardInterrupt

        return show_or_stop


def peak_memory_mb(device: str) -> float:
    """Largest memory this process has held: of the GPU where there is one, else resident."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _write_result(
    out: Path,
    outcome: Evaluation,
    cost: dict[str, float],
    training: Training,
    certificate: dict[str, Any],
    data: tuple[Dataset, Dataset],
) -> dict[str, Any]:
    result = {
        "metrics": outcome.metrics,
        "cost": cost,
        "history": training.history,
        "data": {
            "name": data[0].name,
            "train_images": len(data[0]),
            "val_images": len(data[1]),
        },
        "made_by": certificate,
        "trained_by": training.by,
    }
    if outcome.matches is not None:
        write_arrays(out / "matches.npz", outcome.matches)
    write_json(out / "predictions.json", outcome.predictions)
    write_json(out / "gallery.json", outcome.gallery)
    write_json(out / "result.json", result)
    (out / "resume.pt").unlink(missing_ok=True)
    return json.loads((out / "result.json").read_text())  # type: ignore[no-any-return]
