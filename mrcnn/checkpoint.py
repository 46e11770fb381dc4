"""Networks as files: ours as safetensors, torchvision's read in. Nothing is ever unpickled."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mrcnn.atomic import replaced
from mrcnn.config import Trial
from mrcnn.loading import load_weights
from mrcnn.model import MaskRCNN
from mrcnn.presets import TORCHVISION
from mrcnn.spec import parse, plain

FORMAT = "mrcnn-lab 1"


def save_model(model: MaskRCNN, trial: Trial, path: Path, classes: tuple[str, ...]) -> None:
    """The weights with the trial and the class names they belong to, written atomically."""
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    about = {"format": FORMAT, "trial": plain(trial), "classes": classes}
    with replaced(path) as draft:  # one entry: safetensors writes several in any order
        save_file(weights, draft, metadata={"about": json.dumps(about)})


def load_model(path: Path) -> tuple[MaskRCNN, Trial, tuple[str, ...]]:
    """The network, its trial and its classes.

    Raises ValueError in one line for a file that is missing, truncated, not of this project, or
    whose parameters are not those of its own configuration.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not readable as safetensors ({error})") from None
    if about.get("format") != FORMAT:
        raise ValueError(f"{path}: not a model of this project (format {about.get('format')!r})")
    trial = parse(about["trial"], Trial, str(path))
    model = MaskRCNN(trial.model)
    load_weights(model, weights, str(path))
    return model.eval(), trial, tuple(about["classes"])


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from a .pth or .safetensors file; only tensors are ever built from it.

    Raises ValueError in one line for a file that is missing, broken or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"{path}: not readable as tensors alone ({reason})") from None
    if not isinstance(data, dict) or not all(isinstance(v, Tensor) for v in data.values()):
        raise ValueError(f"{path}: not a state dict: it must map names to tensors")
    return data


@dataclass(frozen=True)
class Converted:
    """A network made of another's weights, and a sentence on what was used and what was not."""

    model: MaskRCNN
    trial: Trial
    classes: tuple[str, ...]
    summary: str


TORCHVISION_NAMES = (
    (r"backbone\.body\.(conv1)\.(.*)", r"backbone.trunk.stages.0.0.\2"),
    (r"backbone\.body\.(bn1)\.(.*)", r"backbone.trunk.stages.0.1.\2"),
    (r"backbone\.body\.layer(\d)\.(.*)", r"backbone.trunk.stages.\1.\2"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"backbone.laterals.\1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?(weight|bias)", r"backbone.outputs.\1.\2"),
    (r"rpn\.head\.conv\.(?:0\.0\.)?(weight|bias)", r"rpn.conv.\1"),
    (r"rpn\.head\.cls_logits\.(.*)", r"rpn.objectness.\1"),
    (r"rpn\.head\.bbox_pred\.(.*)", r"rpn.deltas.\1"),
    (r"roi_heads\.box_head\.fc6\.(.*)", r"box_head.body.1.\1"),
    (r"roi_heads\.box_head\.fc7\.(.*)", r"box_head.body.3.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(.*)", r"box_head.classes.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(.*)", r"box_head.deltas.\1"),
    (
        r"roi_heads\.mask_head\.0\.0\.(.*)|roi_heads\.mask_head\.mask_fcn1\.(.*)",
        r"mask_head.0.\1\2",
    ),
    (
        r"roi_heads\.mask_head\.1\.0\.(.*)|roi_heads\.mask_head\.mask_fcn2\.(.*)",
        r"mask_head.2.\1\2",
    ),
    (
        r"roi_heads\.mask_head\.2\.0\.(.*)|roi_heads\.mask_head\.mask_fcn3\.(.*)",
        r"mask_head.4.\1\2",
    ),
    (
        r"roi_heads\.mask_head\.3\.0\.(.*)|roi_heads\.mask_head\.mask_fcn4\.(.*)",
        r"mask_head.6.\1\2",
    ),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(.*)", r"mask_head.8.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(.*)", r"mask_head.10.\1"),
)
"""Their names and ours, one row a layer; older files leave out the "0." of wrapped layers."""

BACKGROUND_ROWS = {"box_head.deltas": 4, "mask_head.10": 1}
"""Rows of outputs for the background class, which torchvision holds and nobody reads."""

ABSENT_IN_COCO = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Category ids up to 90 that COCO defines no class for: dead rows of torchvision's COCO weights."""


def load_torchvision(source: Path | Mapping[str, Any], *, norm_eps: float = 1e-5) -> Converted:
    """A maskrcnn_resnet50_fpn state dict as a network here.

    norm_eps   1e-5, but 0 for torchvision's COCO_V1 weights, which a state dict cannot say

    Weights of 91 classes are taken for COCO's and brought to the 80 that exist.
    Raises ValueError for a file that is not one, naming what does not fit.
    """
    named = str(source) if isinstance(source, Path) else "the state dict"
    theirs = read_state_dict(source) if isinstance(source, Path) else dict(source)
    counters = [name for name in theirs if name.endswith("num_batches_tracked")]
    ours = {_renamed(name, named): t for name, t in theirs.items() if name not in counters}
    if "box_head.classes.weight" not in ours:
        raise ValueError(f"{named}: no maskrcnn_resnet50_fpn: it has no box predictor")
    rows = ours["box_head.classes.weight"].shape[0]
    kept = [c for c in range(rows) if rows != 91 or c not in ABSENT_IN_COCO]
    for name, each in {"box_head.classes": 1, **BACKGROUND_ROWS}.items():
        classes = kept if name == "box_head.classes" else kept[1:]
        index = torch.tensor([each * c + i for c in classes for i in range(each)])
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in ours:
                ours[f"{name}.{kind}"] = ours[f"{name}.{kind}"][index]
    backbone = TORCHVISION.model.backbone
    backbone = replace(backbone, trunk=replace(backbone.trunk, norm_eps=norm_eps))  # type: ignore[arg-type]
    config = replace(TORCHVISION.model, backbone=backbone, num_classes=len(kept) - 1)
    model = MaskRCNN(config)
    load_weights(model, ours, named)
    trial = replace(TORCHVISION, model=config)
    names = tuple(f"class {i}" for i in range(1, len(kept)))
    dropped = f", {len(counters)} batch counters dropped" if counters else ""
    background = rows - len(kept) + 1
    summary = (
        f"{len(theirs) - len(counters)} parameters used{dropped}; {len(names)} classes, "
        f"{background} rows of background or absent classes dropped"
    )
    return Converted(model.eval(), trial, names, summary)


def _renamed(name: str, source: str) -> str:
    for theirs, ours in TORCHVISION_NAMES:
        if match := re.fullmatch(theirs, name):
            return match.expand(ours)
    raise ValueError(f"{source}: no parameter of maskrcnn_resnet50_fpn is called {name!r}")


def read_body(source: Path) -> dict[str, Tensor]:
    """The weights of a torchvision ResNet classifier as a trunk's, its classifier left over.

    Raises ValueError for a file that is not one.
    """
    kept = {
        name: tensor
        for name, tensor in read_state_dict(source).items()
        if not re.match(r"fc\.|.*num_batches_tracked", name)
    }
    return {
        _renamed(f"backbone.body.{name}", str(source)).removeprefix("backbone.trunk."): tensor
        for name, tensor in kept.items()
    }
