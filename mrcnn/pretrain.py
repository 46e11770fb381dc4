"""What stands in for ImageNet at small scale: the trunk learns to say which class covers a cell."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mrcnn.atomic import replaced, write_json
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Batches
from mrcnn.data.transforms import Dihedral
from mrcnn.optimise import AdamW, CosineSchedule, TrainConfig, optimise
from mrcnn.progress import Progress
from mrcnn.seeds import seeded
from mrcnn.spec import plain
from mrcnn.structures import PixelFormat, Targets
from mrcnn.trunk import AnyTrunk, Trunk


@dataclass(frozen=True, kw_only=True)
class DensePretraining:
    """Soft cross-entropy against the share of each cell that each class covers, at res2 to res5.

    No RoI layer, box or mask loss is involved, so that it favours no variant of them. Done once
    per trunk, pixel format and data set, and shared by all trials that ask for it.
    Source: our own; the paper starts from ImageNet classification.
    """

    train: TrainConfig = TrainConfig(
        steps=500,
        batch_size=16,
        optimiser=AdamW(),
        schedule=CosineSchedule(),
        warmup_steps=100,
        warmup_factor=0.0,
        clip=5.0,
        augment=(Dihedral(),),
    )
    seed: int = 0


class DenseClassifier(nn.Module):
    """A trunk with a 1x1 classifier on every stage but the stem."""

    def __init__(self, trunk: Trunk, num_classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(nn.Conv2d(c, num_classes + 1, 1) for c in trunk.channels[1:])

    def losses(
        self, pixels: Float[Tensor, "n 3 h w"], coverage: Float[Tensor, "n k1 h w"]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term per stage; `coverage` is 0 or 1 per pixel and class, background first."""
        stages = self.trunk(pixels)[1:]
        strides = self.trunk.strides[1:]
        losses = {}
        for i, (features, stride, head) in enumerate(zip(stages, strides, self.heads, strict=True)):
            share = F.avg_pool2d(coverage, stride, ceil_mode=True)
            losses[f"res{i + 2}"] = F.cross_entropy(head(features).float(), share)
        return losses


def coverage(
    targets: list[Targets], size: tuple[int, int], num_classes: int
) -> Float[Tensor, "n k1 h w"]:
    """Which class is visible at each pixel, one-hot, background first; padding is background."""
    labels = torch.zeros(len(targets), *size, dtype=torch.long, device=targets[0].labels.device)
    for label, target in zip(labels, targets, strict=True):
        for mask, name in zip(target.masks, target.labels.tolist(), strict=True):
            label[: mask.shape[0], : mask.shape[1]].masked_fill_(mask, name)
    covered = torch.zeros(len(targets), num_classes + 1, *size, device=labels.device)
    return covered.scatter_(1, labels[:, None], 1.0)


def pretraining_id(
    trunk: AnyTrunk, spec: DensePretraining, pixels: PixelFormat, data_hash: str
) -> str:
    """Twelve hex digits: the folder under runs/trunks that a pretrained trunk lies in.

    Which of its stages are trained later makes no difference: here all of them are.
    """
    whole = plain(replace(trunk, trainable_stages=5))
    text = json.dumps([whole, plain(spec), plain(pixels), data_hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def pretrained_trunk(
    trunk: AnyTrunk,
    spec: DensePretraining,
    pixels: PixelFormat,
    dataset: Dataset,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    device: str,
    made_by: Mapping[str, Any],
) -> dict[str, Tensor]:
    """The weights of a pretrained trunk: read from `folder`, or made and kept there.

    Beside the weights lies result.json with the losses, the time it took and what it was made by.
    Raises KeyboardInterrupt with the state saved if `stop()` turns true.
    """
    weights = folder / "trunk.safetensors"
    if not weights.exists():
        identity = folder.name
        given = trunk, spec, pixels, dataset
        model, seconds = _pretrain(*given, identity, folder, progress, stop, device)
        history = progress.history("pretrain")
        result = {"config": plain(spec), "trunk": plain(trunk), "cost": {"train_s": seconds}}
        result["pixels"] = plain(pixels)
        result["made_by"] = made_by
        write_json(folder / "result.json", result | {"id": identity, "history": history})
        with replaced(weights) as draft:
            save_file({k: v.cpu().contiguous() for k, v in model.trunk.state_dict().items()}, draft)
        (folder / "resume.pt").unlink(missing_ok=True)
    return load_file(weights)


def _pretrain(
    trunk: AnyTrunk,
    spec: DensePretraining,
    pixels: PixelFormat,
    dataset: Dataset,
    identity: str,
    folder: Path,
    progress: Progress,
    stop: Callable[[], bool],
    device: str,
) -> tuple[DenseClassifier, float]:
    num_classes, whole = len(dataset.classes), replace(trunk, trainable_stages=5)
    model = seeded(spec.seed, "dense", lambda: DenseClassifier(whole.build(), num_classes)).to(
        device
    )
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = Batches(dataset, spec.train.batch_size, spec.seed, spec.train.augment)

    def losses(step: int, part: int) -> dict[str, Tensor]:
        examples = batches[step][part :: spec.train.accumulate]
        seen = pixels([e.image for e in examples], device).pixels
        size = (seen.shape[-2], seen.shape[-1])
        covered = coverage([e.targets.to(device) for e in examples], size, num_classes)
        return model.losses(seen, covered)

    phase = progress.phase("pretrain", spec.train.steps)
    state = folder / "resume.pt"
    optimise(model, losses, spec.train, state=state, identity=identity, report=phase, stop=stop)
    return model, phase.seconds
