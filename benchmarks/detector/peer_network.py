"""torchvision's Mask R-CNN at a scale, with random weights: it needs nothing of ours.

The weights follow a stated rule: a generator seeded by the parameter's name, scaled by its fan-in,
so that objectness and classes spread and an image has as many detections as are allowed.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.models import detection, resnet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

# So that objectness and classes spread and the deltas stay moderate.
GAINS = {"inner_blocks.0": 1.0, "inner_blocks.1": 1.0, "inner_blocks.2": 2.0, "inner_blocks.3": 4.0}
GAINS |= {"rpn.head.bbox_pred": 0.3, "box_predictor.bbox_pred": 1.0, "cls_logits": 4.0}
GAINS |= {"cls_score": 8.0}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large both networks and their images are.

    channels     of the pyramid and of the mask head
    width        of the two fully connected layers
    image        (height, width)
    proposals    kept after NMS in inference, and before it on each level; twice as many in training
    rois         of an image that are trained on
    detections   of an image, at most
    """

    name: str
    depth: Literal[18, 50] = 50
    channels: int = 256
    width: int = 1024
    classes: int = 80
    image: tuple[int, int] = (800, 1216)
    proposals: int = 1000
    rois: int = 512
    detections: int = 100


FULL = Scale(name="R50-FPN, 800 x 1216")
SMALL = Scale(
    name="R18-FPN, 128 x 192",
    depth=18,
    channels=64,
    width=256,
    classes=8,
    image=(128, 192),
    proposals=256,
    rois=128,
    detections=32,
)
SCALES = {"full": FULL, "small": SMALL}


def peer(scale: Scale) -> Any:
    """maskrcnn_resnet50_fpn as it is with published weights, its batch norm frozen, at a scale."""
    trunk = getattr(resnet, f"resnet{scale.depth}")(weights=None, norm_layer=FrozenBatchNorm2d)
    for name, parameter in trunk.named_parameters():
        parameter.requires_grad_(name.startswith(("layer2", "layer3", "layer4")))
    stages = {f"layer{i + 1}": str(i) for i in range(4)}
    widths = [trunk.inplanes // 8 * 2**i for i in range(4)]
    few, many = scale.proposals, 2 * scale.proposals
    model = detection.MaskRCNN(
        BackboneWithFPN(trunk, stages, widths, scale.channels),
        min_size=min(scale.image),
        max_size=max(1333, *scale.image),
        box_head=TwoMLPHead(scale.channels * 7**2, scale.width),
        box_predictor=FastRCNNPredictor(scale.width, scale.classes + 1),
        mask_head=MaskRCNNHeads(scale.channels, (scale.channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(scale.channels, scale.channels, scale.classes + 1),
        rpn_pre_nms_top_n_train=many,
        rpn_post_nms_top_n_train=many,
        rpn_pre_nms_top_n_test=few,
        rpn_post_nms_top_n_test=few,
        box_batch_size_per_image=scale.rois,
        box_detections_per_img=scale.detections,
    )
    return model.eval()


def made_weights(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a state dict, from the names and shapes of its parameters alone."""
    made = {}
    for name, like in shapes.items():
        g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        n = torch.randn(like.shape, generator=g) if like.is_floating_point() else like
        gain = next((v for key, v in GAINS.items() if key in name), 2**0.5)
        if name.endswith("running_var"):
            n = 1 + 0.1 * n.abs()
        elif name.endswith("running_mean"):
            n = 0.1 * n
        elif name.endswith("weight") and like.ndim == 1:
            n = 0.4 + 0.05 * n
        elif name.endswith("bias"):
            n = 0.05 * n
        elif name.endswith("weight"):
            if like.ndim == 2:  # what all RoIs share must not decide their class
                n = n - n.mean(1, keepdim=True)
            n = n * gain / like[0].numel() ** 0.5
        made[name] = n
    return made


@torch.no_grad()
def level_the_classes(model: Any, images: list[Tensor]) -> None:
    """Biases under which no class is likelier than another: random weights favour one or two."""
    given, _ = model.transform([image / 255 for image in images])
    maps = model.backbone(given.tensors)
    proposals, _ = model.rpn(given, maps)
    heads = model.roi_heads
    pooled = heads.box_roi_pool(maps, proposals, given.image_sizes)
    scores, _ = heads.box_predictor(heads.box_head(pooled))
    heads.box_predictor.cls_score.bias -= scores.mean(0)
