"""mmdetection 3 (and 2, whose names are the same): FPN and C4.

Source: mmdetection 3.3, mmdet/models; parameter names compared by number with detectron2's.
"""

from collections.abc import Mapping

from torch import Tensor

from mrcnn.peers import MMDETECTION_C4, MMDETECTION_FPN
from mrcnn.weights.names import Table
from mrcnn.weights.peer import COUNTERS, Layout, Peer, Variant
from mrcnn.weights.torchvision import BODY

BOTH: Table = (
    *((f"backbone.{left}", right) for left, right in BODY),
    ("rpn_head.rpn_conv.*", "rpn.conv1.*"),
    ("rpn_head.rpn_cls.*", "rpn.objectness.*"),
    ("rpn_head.rpn_reg.*", "rpn.deltas.*"),
    ("roi_head.bbox_head.shared_fcs.{n-1}.*", "box.fc{n}.*"),
    ("roi_head.bbox_head.shared_convs.{n-1}.conv.*", "box.conv{n}.*"),
    ("roi_head.bbox_head.shared_convs.{n-1}.bn.*", "box.norm{n}.*"),
    ("roi_head.bbox_head.shared_convs.{n-1}.gn.*", "box.norm{n}.*"),
    ("roi_head.bbox_head.fc_cls.*", "box.classes.*"),
    ("roi_head.bbox_head.fc_reg.*", "box.deltas.*"),
    ("roi_head.mask_head.convs.{n-1}.conv.*", "mask.conv{n}.*"),
    ("roi_head.mask_head.convs.{n-1}.bn.*", "mask.norm{n}.*"),
    ("roi_head.mask_head.convs.{n-1}.gn.*", "mask.norm{n}.*"),
    ("roi_head.mask_head.upsample.*", "mask.deconv.*"),
    ("roi_head.mask_head.conv_logits.*", "mask.logits.*"),
)
FPN: Table = (
    ("neck.lateral_convs.{i}.conv.*", "lateral{i}.conv.*"),
    ("neck.lateral_convs.{i}.bn.*", "lateral{i}.norm.*"),
    ("neck.lateral_convs.{i}.gn.*", "lateral{i}.norm.*"),
    ("neck.fpn_convs.{i}.conv.*", "output{i}.conv.*"),
    ("neck.fpn_convs.{i}.bn.*", "output{i}.norm.*"),
    ("neck.fpn_convs.{i}.gn.*", "output{i}.norm.*"),
    *BOTH,
)
C4: Table = (("roi_head.shared_head.layer4.*", "stage4.*"), *BOTH)


def variant_of(tensors: Mapping[str, Tensor]) -> str | None:
    """C4 has a stage shared by the RoI heads; FPN has a neck."""
    if "rpn_head.rpn_cls.weight" not in tensors:
        return None
    return "c4" if "roi_head.shared_head.layer4.0.conv1.weight" in tensors else "fpn"


PEER = Peer(
    name="mmdetection",
    variants={
        "fpn": Variant(table=FPN, trial=MMDETECTION_FPN),
        "c4": Variant(table=C4, trial=MMDETECTION_C4),
    },
    variant_of=variant_of,
    layout=Layout(background_first=False, spare_rows=False),
    dropped=COUNTERS,
)
