"""torchvision's detectors: maskrcnn_, fasterrcnn_, keypointrcnn_resnet50_fpn and their v2.

Source: torchvision 0.29, models/detection; older files leave out one level of wrapped layers.
"""

from collections.abc import Mapping

from torch import Tensor

from mrcnn.peers import TORCHVISION, TORCHVISION_V2
from mrcnn.weights.names import Table
from mrcnn.weights.peer import COUNTERS, Layout, Peer, Variant

BODY: Table = (
    ("conv1.*", "stem.conv.*"),
    ("bn1.*", "stem.norm.*"),
    ("layer{s}.*", "stage{s}.*"),
)
"""Of a ResNet classifier, and under "backbone.body." of the detectors."""

BEFORE_THE_HEADS: Table = (
    *((f"backbone.body.{left}", right) for left, right in BODY),
    ("backbone.fpn.inner_blocks.{i}.0.*", "lateral{i}.conv.*"),
    ("backbone.fpn.inner_blocks.{i}.1.*", "lateral{i}.norm.*"),
    ("backbone.fpn.inner_blocks.{i}.*", "lateral{i}.conv.*"),
    ("backbone.fpn.layer_blocks.{i}.0.*", "output{i}.conv.*"),
    ("backbone.fpn.layer_blocks.{i}.1.*", "output{i}.norm.*"),
    ("backbone.fpn.layer_blocks.{i}.*", "output{i}.conv.*"),
    ("rpn.head.conv.{n-1}.0.*", "rpn.conv{n}.*"),
    ("rpn.head.conv.*", "rpn.conv1.*"),
    ("rpn.head.cls_logits.*", "rpn.objectness.*"),
    ("rpn.head.bbox_pred.*", "rpn.deltas.*"),
)
PREDICTORS: Table = (
    ("roi_heads.box_predictor.cls_score.*", "box.classes.*"),
    ("roi_heads.box_predictor.bbox_pred.*", "box.deltas.*"),
    ("roi_heads.mask_predictor.conv5_mask.*", "mask.deconv.*"),
    ("roi_heads.mask_predictor.mask_fcn_logits.*", "mask.logits.*"),
    ("roi_heads.keypoint_predictor.kps_score_lowres.*", "keypoint.deconv.*"),
)
V1: Table = (
    *BEFORE_THE_HEADS,
    ("roi_heads.box_head.fc{n+5}.*", "box.fc{n}.*"),
    ("roi_heads.mask_head.{n-1}.0.*", "mask.conv{n}.*"),
    ("roi_heads.mask_head.mask_fcn{n}.*", "mask.conv{n}.*"),
    *((f"roi_heads.keypoint_head.{2 * i}.*", f"keypoint.conv{i + 1}.*") for i in range(8)),
    *PREDICTORS,
)
V2: Table = (
    *BEFORE_THE_HEADS,
    ("roi_heads.box_head.{n-1}.0.*", "box.conv{n}.*"),
    ("roi_heads.box_head.{n-1}.1.*", "box.norm{n}.*"),
    ("roi_heads.box_head.5.*", "box.fc1.*"),
    ("roi_heads.mask_head.{n-1}.0.*", "mask.conv{n}.*"),
    ("roi_heads.mask_head.{n-1}.1.*", "mask.norm{n}.*"),
    *PREDICTORS,
)

ABSENT_IN_COCO = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Category ids up to 90 that COCO defines no class for: dead rows of torchvision's COCO weights."""


def variant_of(tensors: Mapping[str, Tensor]) -> str | None:
    """ "v2" has a norm in its FPN; "v1" has none."""
    if not any(name.startswith("backbone.body.") for name in tensors):
        return None
    return "v2" if "backbone.fpn.inner_blocks.0.1.weight" in tensors else "v1"


PEER = Peer(
    name="torchvision",
    variants={
        "v1": Variant(table=V1, trial=TORCHVISION),
        "v2": Variant(table=V2, trial=TORCHVISION_V2),
    },
    variant_of=variant_of,
    layout=Layout(absent=ABSENT_IN_COCO, absent_in=91),
    dropped=COUNTERS,
)
