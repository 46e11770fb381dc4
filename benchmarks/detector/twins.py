"""torchvision's Mask R-CNN and ours with equal weights, and scenes to put before both."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detector.peer_network import Scale, level_the_classes, made_weights, peer
from mrcnn.backbone import FPN
from mrcnn.config import EvaluateConfig, Trial
from mrcnn.data.transforms import Resize
from mrcnn.model import MaskRCNN
from mrcnn.peers import TORCHVISION
from mrcnn.precision import float32_products
from mrcnn.seeds import generator
from mrcnn.structures import Targets
from mrcnn.trunk import ResNet
from mrcnn.weights.names import renamed, roles
from mrcnn.weights.peer import arranged
from mrcnn.weights.torchvision import PEER, V1

OBJECTS = 16


@dataclass(frozen=True)
class Twins:
    """Both networks, ready to predict; the trial is ours."""

    scale: Scale
    theirs: nn.Module
    ours: MaskRCNN
    trial: Trial


def twins(scale: Scale) -> Twins:
    """torchvision's network and ours with its weights, under which no class is likeliest."""
    theirs = peer(scale)
    theirs.load_state_dict(made_weights(theirs.state_dict()))
    level_the_classes(theirs, [image_of(scale, 5)])
    trial = trial_of(scale)
    return Twins(scale, theirs, own(trial, theirs.state_dict()), trial)


def trial_of(scale: Scale) -> Trial:
    """The preset `torchvision` at a scale."""
    model, few, many = TORCHVISION.model, scale.proposals, 2 * scale.proposals
    rpn = replace(
        model.rpn,
        pre_nms_train=many,
        post_nms_train=many,
        pre_nms_test=few,
        post_nms_test=few,
    )
    heads: Any = {
        "box_head": replace(model.box_head, widths=(scale.width, scale.width)),  # type: ignore
        "mask_head": replace(model.mask_head, width=scale.channels),  # type: ignore[type-var]
    }
    model = replace(
        model,
        backbone=FPN(trunk=ResNet(depth=scale.depth), channels=scale.channels),
        rpn=rpn,
        **heads,
        num_classes=scale.classes,
        rois_per_image=scale.rois,
        detection=replace(model.detection, limit=scale.detections),
    )
    resize = Resize(short=(min(scale.image),), long=max(1333, *scale.image))
    return replace(TORCHVISION, model=model, evaluate=EvaluateConfig(transforms=(resize,)))


def own(trial: Trial, state: Mapping[str, Tensor]) -> MaskRCNN:
    """Our network of a trial with the weights of torchvision's state dict, ready to predict."""
    by_role, _ = arranged({str(renamed(n, V1)): t for n, t in state.items()}, PEER.layout, 1)
    model = MaskRCNN(trial.model)
    places = roles(model)
    model.load_state_dict({places[role]: tensor for role, tensor in by_role.items()})
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def image_of(scale: Scale, seed: int) -> Tensor:
    """(3, h, w) uint8: smooth noise."""
    height, width = scale.image
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=generator(seed, "scene")) * 255
    fine = F.interpolate(coarse, scale.image, mode="bicubic")[0]
    return fine.clamp(0, 255).round().to(torch.uint8)


@torch.no_grad()
def objects_of(pair: Twins, image: Tensor, count: int = OBJECTS) -> Targets:
    """Ellipses where our network proposes them, so that there are positives to train on."""
    images = pair.ours.images([image])
    with float32_products("ieee"):
        proposals = pair.ours.proposed(images)[1][0]
    sides = proposals[:, 2:] - proposals[:, :2]
    large = proposals[sides.amin(1) >= min(pair.scale.image) / 16]
    boxes = large[:: max(1, len(large) // count)][:count].clone()
    y, x = (torch.arange(side) + 0.5 for side in pair.scale.image)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    across = ((x - centre[:, :1]) / half[:, :1]).square()
    down = ((y - centre[:, 1:]) / half[:, 1:]).square()
    labels = 1 + torch.arange(len(boxes)) % pair.scale.classes
    return Targets(boxes, labels, across[:, None, :] + down[:, :, None] <= 1)
