"""detectron2: its zoo's .pkl and the .pth of its trainer; FPN, C4 and DC5.

Source: detectron2 0.6, modeling/backbone/{resnet,fpn}.py, proposal_generator/rpn.py, roi_heads/.
"""

from collections.abc import Mapping

from torch import Tensor

from mrcnn.peers import DETECTRON2_C4, DETECTRON2_DC5, DETECTRON2_FPN
from mrcnn.weights.names import Table
from mrcnn.weights.peer import COUNTERS, Layout, Peer, Variant


def stage(theirs: str, ours: str) -> Table:
    """The rows of one residual stage's blocks."""
    return (
        (f"{theirs}.{{b}}.conv{{n}}.norm.*", f"{ours}.{{b}}.bn{{n}}.*"),
        (f"{theirs}.{{b}}.conv{{n}}.*", f"{ours}.{{b}}.conv{{n}}.*"),
        (f"{theirs}.{{b}}.shortcut.norm.*", f"{ours}.{{b}}.downsample.1.*"),
        (f"{theirs}.{{b}}.shortcut.*", f"{ours}.{{b}}.downsample.0.*"),
    )


def body(prefix: str) -> Table:
    """The rows of a trunk that lies under `prefix`."""
    return (
        (f"{prefix}stem.conv1.norm.*", "stem.norm.*"),
        (f"{prefix}stem.conv1.*", "stem.conv.*"),
        *stage(f"{prefix}res{{s+1}}", "stage{s}"),
    )


HEADS: Table = (
    ("proposal_generator.rpn_head.conv.conv{n-1}.*", "rpn.conv{n}.*"),
    ("proposal_generator.rpn_head.conv.*", "rpn.conv1.*"),
    ("proposal_generator.rpn_head.objectness_logits.*", "rpn.objectness.*"),
    ("proposal_generator.rpn_head.anchor_deltas.*", "rpn.deltas.*"),
    ("roi_heads.box_head.conv{n}.norm.*", "box.norm{n}.*"),
    ("roi_heads.box_head.conv{n}.*", "box.conv{n}.*"),
    ("roi_heads.box_head.fc{n}.*", "box.fc{n}.*"),
    ("roi_heads.box_predictor.cls_score.*", "box.classes.*"),
    ("roi_heads.box_predictor.bbox_pred.*", "box.deltas.*"),
    ("roi_heads.mask_head.mask_fcn{n}.norm.*", "mask.norm{n}.*"),
    ("roi_heads.mask_head.mask_fcn{n}.*", "mask.conv{n}.*"),
    ("roi_heads.mask_head.deconv.*", "mask.deconv.*"),
    ("roi_heads.mask_head.predictor.*", "mask.logits.*"),
    ("roi_heads.keypoint_head.conv_fcn{n}.*", "keypoint.conv{n}.*"),
    ("roi_heads.keypoint_head.score_lowres.*", "keypoint.deconv.*"),
)
FPN: Table = (
    *body("backbone.bottom_up."),
    ("backbone.fpn_lateral{i+2}.norm.*", "lateral{i}.norm.*"),
    ("backbone.fpn_lateral{i+2}.*", "lateral{i}.conv.*"),
    ("backbone.fpn_output{i+2}.norm.*", "output{i}.norm.*"),
    ("backbone.fpn_output{i+2}.*", "output{i}.conv.*"),
    *HEADS,
)
C4: Table = (*stage("roi_heads.res5", "stage4"), *body("backbone."), *HEADS)
DC5: Table = (*body("backbone."), *HEADS)


def variant_of(tensors: Mapping[str, Tensor]) -> str | None:
    """C4 has res5 among the RoI heads; FPN has a trunk below its pyramid."""
    if "proposal_generator.rpn_head.objectness_logits.weight" not in tensors:
        return None
    if "roi_heads.res5.0.conv1.weight" in tensors:
        return "c4"
    return "fpn" if "backbone.fpn_lateral2.weight" in tensors else "dc5"


PEER = Peer(
    name="detectron2",
    variants={
        "fpn": Variant(table=FPN, trial=DETECTRON2_FPN),
        "c4": Variant(table=C4, trial=DETECTRON2_C4),
        "dc5": Variant(table=DC5, trial=DETECTRON2_DC5),
    },
    variant_of=variant_of,
    layout=Layout(background_first=False, spare_rows=False, sizes_outside=True),
    dropped={
        **COUNTERS,
        r"pixel_(mean|std)": "pixel statistics",
        r".*anchor_generator\.cell_anchors\.\d+": "cell anchors",
    },
)
