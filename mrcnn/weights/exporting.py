"""A network of ours as a state dict that torchvision's own builders load."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mrcnn.atomic import replaced
from mrcnn.backbone import FPN
from mrcnn.config import ModelConfig
from mrcnn.model import MaskRCNN
from mrcnn.peers import TORCHVISION, TORCHVISION_V2
from mrcnn.spec import diff
from mrcnn.trunk import ResNet
from mrcnn.weights.names import renamed_back, roles
from mrcnn.weights.torchvision import V1, V2

EPS = 1e-5
"""Of the norms torchvision builds."""

TAKEN = {
    "rpn.pre_nms_test": "rpn_pre_nms_top_n_test",
    "rpn.post_nms_test": "rpn_post_nms_top_n_test",
    "rpn.nms_iou": "rpn_nms_thresh",
    "detection.min_score": "box_score_thresh",
    "detection.nms_iou": "box_nms_thresh",
    "detection.limit": "box_detections_per_img",
}
"""Choices that torchvision's builders take as arguments."""


@dataclass(frozen=True)
class Exported:
    """Weights for `torchvision.models.detection.<builder>(**arguments)`, and what to know of them.

    differing   choices of ours that torchvision's network does not have, by field: with none, its
                predictions are ours
    """

    weights: dict[str, Tensor]
    builder: str
    arguments: dict[str, Any]
    differing: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One sentence for a person."""
        given = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        known = f"; torchvision differs in {', '.join(self.differing)}" if self.differing else ""
        return f"for torchvision.models.detection.{self.builder}({given}){known}"


def to_torchvision(model: MaskRCNN) -> Exported:
    """The weights under torchvision's names, with the rows that it has for the background.

    Colours in another order, pixels of 0 .. 255 and another eps are brought to torchvision's by
    changing weights and arguments: the function stays the same.
    Raises ValueError for an architecture that torchvision's builders cannot make.
    """
    config = model.config
    _check(config)
    state = model.state_dict()
    tensors = {role: state[name].detach().cpu().clone() for role, name in roles(model).items()}
    mean, std = (
        [value / config.pixel_range for value in values]
        for values in (config.pixel_mean, config.pixel_std)
    )
    if config.pixel_order == "bgr":
        tensors["stem.conv.weight"] = tensors["stem.conv.weight"].flip(1)
        mean, std = mean[::-1], std[::-1]
    trunk: Any = config.backbone.trunk
    for role in tensors:
        if role.startswith(("stem", "stage")) and role.endswith("running_var"):
            tensors[role] = tensors[role] + (trunk.norm_eps - EPS)
    _spread(tensors, "box.deltas", 4, config.num_classes)
    if config.mask_head is not None:
        _spread(tensors, "mask.logits", 1, config.num_classes)
    table = V2 if config.backbone.norm == "batch" else V1  # type: ignore[union-attr]
    weights = {}
    for role, tensor in tensors.items():
        name = renamed_back(role, table)
        if name is None:
            raise ValueError(f"no network of torchvision's builders has {role}")
        weights[name] = tensor.contiguous()
    arguments = {"num_classes": config.num_classes + 1, "image_mean": mean, "image_std": std}
    if config.keypoint_head is not None:
        arguments["num_keypoints"] = config.num_keypoints
    for path, name in TAKEN.items():
        if (value := _at(config, path)) != _at(TORCHVISION.model, path):
            arguments[name] = value
    return Exported(weights, _builder(config), arguments, _differing(config))


def write(exported: Exported, path: Path) -> None:
    """A safetensors file, or for any other ending a .pth, which holds the state dict alone."""
    with replaced(path) as draft:
        if path.suffix == ".safetensors":
            about = {"builder": exported.builder, "arguments": exported.arguments}
            save_file(exported.weights, draft, metadata={"about": json.dumps(about)})
        else:
            torch.save(exported.weights, draft)


def _check(config: ModelConfig) -> None:
    trunk = config.backbone.trunk
    wanted = {
        "backbone": isinstance(config.backbone, FPN),
        "backbone.trunk": isinstance(trunk, ResNet) and trunk.depth == 50 and trunk.groups == 1,
        "backbone.trunk.stride_in": getattr(trunk, "stride_in", "") == "3x3",
        "backbone.trunk.norm": getattr(trunk, "norm", "") in ("frozen", "batch", "eval"),
        "rpn.objectness": config.rpn.objectness == "sigmoid",
    }
    for path, fits in wanted.items():
        if not fits:
            value = _at(config, path)
            raise ValueError(f"torchvision's builders have no model.{path}={value!r}")


def _at(config: ModelConfig, path: str) -> Any:
    value: Any = config
    for step in path.split("."):
        value = getattr(value, step)
    return value


def _spread(tensors: dict[str, Tensor], name: str, each: int, classes: int) -> None:
    """An output of one row a class with rows of zeros for the background before them; a
    class-agnostic one is repeated for every class.
    """
    for kind in ("weight", "bias"):
        tensor = tensors[f"{name}.{kind}"]
        if len(tensor) == each < each * classes:
            tensor = tensor.repeat(classes, *[1] * (tensor.dim() - 1))
        background = torch.zeros_like(tensor[:each])
        tensors[f"{name}.{kind}"] = torch.cat([background, tensor])


def _builder(config: ModelConfig) -> str:
    second = "_v2" if config.backbone.norm == "batch" else ""  # type: ignore[union-attr]
    kind = "fasterrcnn" if config.mask_head is None else "maskrcnn"
    kind = "keypointrcnn" if config.keypoint_head is not None else kind
    return f"{kind}_resnet50_fpn{second}"


def _differing(config: ModelConfig) -> tuple[str, ...]:
    """Fields that change predictions and are not torchvision's, nor brought to it."""
    theirs = (TORCHVISION_V2 if _builder(config).endswith("_v2") else TORCHVISION).model
    brought: Mapping[str, Any] = {
        name: getattr(config, name)
        for name in (
            *("pixel_mean", "pixel_std", "pixel_order", "pixel_range", "num_classes"),
            *("class_agnostic_masks", "keypoint_head", "num_keypoints"),
            *("roi_matching", "rois_per_image", "positive_fraction", "add_ground_truth"),
            *("fill_negatives", "mask_targets", "mask_loss", "keypoint_loss", "rpn_features"),
        )
    }
    trained: tuple[str, ...] = (
        "norm_eps",
        "trainable_stages",
        "fix_statistics",
        "trunk.norm",
        "beta",
        "_train",
    )
    trained += ("matching", "_fraction", "_per_image", "normaliser", "class_agnostic", "straddle")
    paths = [path for path, _, _ in diff(replace(theirs, **brought), config)]
    paths = [path for path in paths if not path.endswith(trained) and path not in TAKEN]
    return tuple(p for p in paths if p != "mask_head" or config.mask_head is not None)
