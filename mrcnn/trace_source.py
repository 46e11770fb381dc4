"""What a trace is taken of: an image, and a preset or a trained network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from mrcnn.checkpoint import load_model
from mrcnn.config import Trial
from mrcnn.data.coco import read_image
from mrcnn.data.drawing import OUTLINES
from mrcnn.data.shapes import Shapes
from mrcnn.loading import load_weights
from mrcnn.model import MaskRCNN
from mrcnn.options import chosen_trial
from mrcnn.spec import assign, diff
from mrcnn.structures import Targets
from mrcnn.trace import Trace, trace


@dataclass(frozen=True)
class Network:
    """A network to look into, where it comes from and what was changed in it."""

    model: MaskRCNN
    trial: Trial
    classes: tuple[str, ...]
    source: dict[str, Any]


def traced(
    files: list[Path],
    preset: str | None,
    changes: list[str],
    shapes: int | None,
    detection: int,
    shown: int | None,
    runs: Path,
    device: str,
) -> Trace:
    """The trace that the options ask for.

    shown   the object that is followed, instead of `detection`
    files   the image, unless `shapes` is given, then the checkpoint, unless `preset` is

    Raises ValueError in one line for any that is missing, too many, or cannot be read.
    """
    wanted = ["an image"] * (shapes is None) + ["a checkpoint"] * (preset is None)
    if len(files) != len(wanted):
        asked = " and ".join(wanted) or "no file"
        given = " ".join(map(str, files)) or "nothing"
        raise ValueError(
            f"trace takes IMAGE or --shapes N, and CHECKPOINT or --preset NAME: with these options "
            f"{asked}, got {given}"
        )
    network = _preset(preset, changes, runs) if preset else _checkpoint(files[-1], changes)
    image, targets, name = (
        _read(files[0]) if shapes is None else _drawn(network.trial, shapes, runs)
    )
    source = {"image": name, **network.source}
    if targets is not None:
        source["truth_classes"] = list(targets[1])
    return trace(
        network.model.to(device),
        network.trial,
        image,
        targets and targets[0],
        detection=detection,
        shown=shown,
        classes=network.classes,
        source=source,
    )


def _preset(name: str, changes: list[str], runs: Path) -> Network:
    """A preset's network with its initial weights, which know nothing."""
    trial = chosen_trial(name, None, None, changes, None, runs)
    known = isinstance(trial.data, Shapes) and trial.model.num_classes == len(OUTLINES)
    source = {"network": f"preset {name}", "trained": False, "changes": changes}
    return Network(
        MaskRCNN(trial.model, trial.seed).eval(), trial, tuple(OUTLINES) if known else (), source
    )


def _checkpoint(file: Path, changes: list[str]) -> Network:
    """A trained network, with what was changed in it as long as its weights fit."""
    model, trial, classes = load_model(file)
    source = {"network": file.name, "trained": True, "changes": changes}
    changed = assign(trial, changes)
    if any(diff(trial.model, changed.model)):
        other = MaskRCNN(changed.model)
        about = f"{file} with --set {' --set '.join(changes)}"
        load_weights(other, model.state_dict(), about)
        model = other.eval()
    return Network(model, changed, classes, source)


def _read(file: Path) -> tuple[UInt8[Tensor, "3 h w"], None, str]:
    return read_image(file), None, file.name


def _drawn(
    trial: Trial, number: int, runs: Path
) -> tuple[UInt8[Tensor, "3 h w"], tuple[Targets, tuple[str, ...]], str]:
    """A validation image of the trial's Shapes, else of the default ones, and its objects."""
    data = trial.data if isinstance(trial.data, Shapes) else Shapes()
    dataset = data.open("val", runs / "data")
    if not 0 <= number < len(dataset):
        raise ValueError(f"--shapes must be 0 to {len(dataset) - 1}, got {number}")
    example = dataset.example(number)
    name = f"{dataset.name}, validation image {number}"
    return example.image, (example.targets, dataset.classes), name
