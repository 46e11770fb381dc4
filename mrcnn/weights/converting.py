"""From a file of anybody's weights to a network here, every parameter used or reported."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrcnn.box_head import FCBoxHead
from mrcnn.config import ModelConfig, Trial
from mrcnn.keypoint_head import KeypointHead
from mrcnn.model import MaskRCNN
from mrcnn.peers import PEERS
from mrcnn.spec import unknown
from mrcnn.trunk import ResNet
from mrcnn.weights import detectron, detectron2, matterport, mmdetection, torchvision
from mrcnn.weights.classes import class_names
from mrcnn.weights.names import Table, renamed, renamed_back, roles
from mrcnn.weights.peer import Peer, arranged
from mrcnn.weights.reading import Weights, read_weights

LAYOUTS = {
    module.PEER.name: module.PEER
    for module in (torchvision, detectron2, mmdetection, detectron, matterport)
}
DETECTED = "detected"
"""In place of a preset's name: the choices that go with the names found."""


@dataclass(frozen=True)
class Converted:
    """A network made of another's weights, and a sentence on what was used and what was not."""

    model: MaskRCNN
    trial: Trial
    classes: tuple[str, ...]
    summary: str


def convert(source: Path | Mapping[str, Tensor], preset: str = DETECTED) -> Converted:
    """The weights in a file, or in a state dict at hand, as a network.

    preset   whose choices the network has, by a name of `mrcnn.peers.PEERS`. Names of parameters
             tell the peer and its architecture; what they cannot tell (torchvision's COCO_V1 from
             its others, mmdetection's caffe style from its own) is this choice

    Raises ValueError in one line naming what is unknown, missing or of another shape.
    """
    named = str(source) if isinstance(source, Path) else "the state dict"
    weights = read_weights(source) if isinstance(source, Path) else Weights(dict(source))
    peer, variant = recognised(weights.tensors, named)
    if preset not in (*PEERS, DETECTED):
        raise ValueError(unknown(preset, [*PEERS, DETECTED], "preset of weights"))
    trial = peer.variants[variant].trial if preset == DETECTED else PEERS[preset]
    kept, dropped = _sorted_out(weights, peer)
    table = peer.variants[variant].table
    by_role, origin = _by_role(peer.prepared(kept, trial), table, named, peer.name)
    _need(by_role, table, named)
    try:
        by_role, spare = arranged(by_role, peer.layout, len(trial.model.rpn.anchors.sizes[0]))
    except ValueError as error:
        raise ValueError(f"{named}: {error}") from None
    trial = replace(trial, model=fitted(trial.model, by_role, named))
    with torch.device("meta"):  # nothing is drawn that would be thrown away
        model = MaskRCNN(trial.model)
    _load(model, by_role, lambda r: origin.get(r) or renamed_back(r, table) or r, named)
    said = [f"{len(kept)} parameters of {peer.name} ({variant}) used"]
    said += [f"{count} {what} dropped" for what, count in dropped.items()]
    classes = trial.model.num_classes
    absent = f"{spare} that do not exist left out" if spare else "all there are"
    said.append(f"classes: {classes}, {absent}")
    posed = trial.model.keypoint_head is not None
    names = class_names(weights.classes, classes, posed=posed)
    return Converted(model.eval(), trial, names, "; ".join(said))


def recognised(tensors: Mapping[str, Tensor], source: str) -> tuple[Peer, str]:
    """Whose names these are, and of which architecture. Raises ValueError if nobody's."""
    for peer in LAYOUTS.values():
        if (variant := peer.variant_of(tensors)) is not None:
            return peer, variant
    first = ", ".join(list(tensors)[:3])
    raise ValueError(f"{source}: names of no detector of {', '.join(LAYOUTS)}: {first}, ...")


def _sorted_out(weights: Weights, peer: Peer) -> tuple[dict[str, Tensor], Counter[str]]:
    """What is to be used, and how many of each kind of what is not."""
    kept, dropped = {}, Counter({"other entries of the file": len(weights.beside)})
    for name, tensor in weights.tensors.items():
        what = next((w for e, w in peer.dropped.items() if re.fullmatch(e, name)), None)
        if what is None:
            kept[name] = tensor
        else:
            dropped[what] += 1
    return kept, +dropped


def _by_role(
    tensors: Mapping[str, Tensor], table: Table, source: str, peer: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by what they do, and each one's own name."""
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        role = renamed(name, table)
        if role is None:
            raise ValueError(f"{source}: no parameter of {peer} is called {name!r}")
        if role in found:
            raise ValueError(f"{source}: both {origin[role]!r} and {name!r} would be {role}")
        found[role], origin[role] = tensor.float() if tensor.is_floating_point() else tensor, name
    return found, origin


SIZED_BY = (
    *("box.classes.bias", "box.deltas.bias", "rpn.objectness.bias", "rpn.deltas.bias"),
    "stage1.0.conv2.weight",
)
"""What says how large a network is, so that without it nothing can be said of the rest."""


def _need(tensors: Mapping[str, Tensor], table: Table, source: str) -> None:
    for role in SIZED_BY:
        if role not in tensors:
            raise ValueError(f"{source}: cut short: {renamed_back(role, table) or role} is missing")


def fitted(config: ModelConfig, tensors: Mapping[str, Tensor], source: str) -> ModelConfig:
    """The configuration with the sizes that the weights, by role, have."""
    classes = len(tensors["box.classes.bias"]) - 1
    box_head: Any = replace(
        config.box_head, class_agnostic=classes > 1 and len(tensors["box.deltas.bias"]) == 4
    )
    widths = _numbered(tensors, "box.fc")
    if not isinstance(config.box_head, FCBoxHead) or widths:
        box_head = replace(box_head, widths=tuple(widths)) if widths else box_head
    mask_head: Any = config.mask_head
    if "mask.logits.bias" not in tensors:
        mask_head = None
    elif mask_head is not None and (convs := _numbered(tensors, "mask.conv")):
        mask_head = replace(mask_head, convs=len(convs), width=convs[0])
    keypoint_head = None
    points = config.num_keypoints
    if "keypoint.deconv.bias" in tensors:
        convs = _numbered(tensors, "keypoint.conv")
        head = config.keypoint_head or KeypointHead()
        keypoint_head = replace(head, convs=len(convs), width=convs[0]) if convs else head
        points = len(tensors["keypoint.deconv.bias"])
    agnostic = "mask.logits.bias" in tensors and len(tensors["mask.logits.bias"]) == 1 < classes
    rpn = replace(config.rpn, convs=max(1, len(_numbered(tensors, "rpn.conv"))))
    return replace(
        config,
        backbone=replace(config.backbone, trunk=_trunk(config.backbone.trunk, tensors, source)),
        rpn=rpn,
        box_head=box_head,
        mask_head=mask_head,
        keypoint_head=keypoint_head,
        num_keypoints=points,
        class_agnostic_masks=agnostic,
        num_classes=classes,
    )


def _numbered(tensors: Mapping[str, Tensor], role: str) -> list[int]:
    """Output channels of role1, role2, ... in that order, as far as there is anything of them."""
    widths: dict[int, int] = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(rf"{re.escape(role)}(\d+)\.(weight|bias)", name):
            widths[int(match[1])] = len(tensor)
    return [width for _, width in sorted(widths.items())]


BLOCKS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
"""Blocks per stage and the depth they make; 34 has those of 50, of the basic kind."""


def _trunk(trunk: Any, tensors: Mapping[str, Tensor], source: str) -> ResNet:
    blocks = Counter(
        int(m[1]) for name in tensors if (m := re.fullmatch(r"stage(\d)\.\d+\.conv1\.weight", name))
    )
    counts = tuple(blocks[stage] for stage in (1, 2, 3, 4))
    if counts not in BLOCKS:
        raise ValueError(
            f"{source}: blocks per stage {counts} are no ResNet's; known: {sorted(BLOCKS)}"
        )
    basic = "stage1.0.conv3.weight" not in tensors
    depth = 34 if basic and counts == (3, 4, 6, 3) else BLOCKS[counts]
    width, per_group = tensors["stage1.0.conv2.weight"].shape[:2]
    groups = 1 if basic else width // per_group
    resnext = {"groups": groups, "width_per_group": per_group, "stride_in": "3x3"}
    return replace(trunk, depth=depth, **(resnext if groups > 1 else {}))


def _load(model: MaskRCNN, tensors: Mapping[str, Tensor], theirs: Any, source: str) -> None:
    """Put tensors, by role, into the model. Raises ValueError naming all kinds of misfit."""
    places, state = roles(model), model.state_dict()
    missing = [theirs(r) for r in places if r not in tensors and not _is_counter(r)]
    unexpected = [theirs(r) for r in tensors if r not in places]
    shaped = [
        f"{theirs(r)}: {tuple(t.shape)}, not {tuple(state[places[r]].shape)}"
        for r, t in tensors.items()
        if r in places and t.shape != state[places[r]].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shaped}
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in kinds.items()
        if names
    ]
    if problems:
        raise ValueError(f"{source}: parameters do not fit: {'; '.join(problems)}")
    counters = {role: torch.tensor(0) for role in places if _is_counter(role)}
    given = counters | {role: tensor.clone() for role, tensor in tensors.items()}
    model.load_state_dict({place: given[role] for role, place in places.items()}, assign=True)


def _is_counter(role: str) -> bool:
    return role.endswith("num_batches_tracked")
