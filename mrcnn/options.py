"""From what was typed to a trial and a runtime."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch

import kernels
from mrcnn.config import BodyWeights, Trial
from mrcnn.data.coco import CocoFolder
from mrcnn.data.shapes import Shapes
from mrcnn.presets import PRESETS
from mrcnn.ranks import own_device
from mrcnn.spec import assign, parse, unknown, vary
from mrcnn.train import Runtime


def chosen_trial(
    preset: str,
    file: Path | None,
    data: str | None,
    changes: list[str],
    seed: int | None,
    runs: Path,
    root: Path | None = None,
) -> Trial:
    """The trial that the options describe. Raises ValueError in one line for any that is wrong."""
    if file is None and preset not in PRESETS:
        raise ValueError(unknown(preset, list(PRESETS), "preset"))
    trial = PRESETS[preset] if file is None else parse(read_json(file), Trial, str(file))
    trial = assign(with_data(trial, data, root), changes)
    if seed is not None:
        trial = vary(trial, "seed", seed)
    if data is not None and not any(c.startswith("model.num_classes") for c in changes):
        classes = trial.data.open("val", runs / "data").classes
        trial = vary(trial, "model.num_classes", len(classes))
    return trial


def with_data(trial: Trial, data: str | None, root: Path | None = None) -> Trial:
    """The trial on 'shapes', or on the COCO-format folder named; None leaves its own data.

    root   the folder of 'coco'. Raises ValueError if it goes with other data.

    What else the trial says of a COCO folder, such as the names of its files, stays.
    """
    if root is not None and data != "coco":
        raise ValueError(f"--root {root}: goes with --data coco, got --data {data}")
    if data is None:
        return trial
    if data == "shapes":
        return vary(trial, "data", Shapes())
    before = trial.data if isinstance(trial.data, CocoFolder) else CocoFolder(root="")
    return vary(trial, "data", replace(before, root=data if root is None else str(root)))


def with_body(trial: Trial, file: Path | None) -> Trial:
    """The trial with its trunk's weights from `file`. Raises ValueError if it cannot be read."""
    if file is None:
        return trial
    if not file.is_file():
        raise ValueError(f"--body {file}: no such file")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    trial = vary(trial, "pretraining", None)
    return vary(trial, "body", BodyWeights(file=str(file), sha256=digest))


def assigned(trial: Trial, changes: list[str], keep: tuple[str, ...]) -> Trial:
    """`assign`, refusing changes of the parts in `keep`: those are a trained network's own."""
    for text in changes:
        if text.split(".")[0] in keep:
            raise ValueError(f"--set {text}: the network is trained, its model cannot change")
    return assign(trial, changes)


def chosen_runtime(
    device: str,
    threads: int | None,
    workers: int,
    backends: list[str] | None,
    parent: int | None,
) -> Runtime:
    """The runtime that the options describe. Raises ValueError for what is not here.

    "cuda" is a GPU for each process where torchrun started several.
    """
    device = own_device(device)
    usable(device)
    chosen: dict[str, str] = {}
    for text in backends or []:
        operator, _, backend = text.partition("=")
        chosen[operator] = backend
    with kernels.using(**chosen):
        pass
    return Runtime(device=device, threads=threads, workers=workers, kernels=chosen, parent=parent)


def usable(device: str) -> None:
    """Raises ValueError in one line if there is no such device here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None


def read_json(file: Path) -> object:
    """The contents of a JSON file. Raises ValueError naming the file if it is none."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not readable as JSON ({error})") from None
