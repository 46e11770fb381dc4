"""Detectron's Caffe2 blobs (.pkl), FPN and C4, and the MSRA bodies it starts from.

Batch norm there is folded into an affine layer: scale `_s` and bias `_b`, no statistics. Here it
gets the statistics under which it is just that: mean 0 and variance 1 - eps.
Source: Detectron, detectron/modeling/{ResNet,FPN,rpn_heads,fast_rcnn_heads,mask_rcnn_heads,
keypoint_rcnn_heads}.py; detectron2, checkpoint/c2_model_loading.py.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mrcnn.config import Trial
from mrcnn.peers import DETECTRON_C4, DETECTRON_FPN
from mrcnn.weights.names import Table
from mrcnn.weights.peer import Layout, Peer, Variant

ENDINGS = {
    "_bn_s": ".norm.weight",
    "_bn_b": ".norm.bias",
    "_bn_rm": ".norm.running_mean",
    "_bn_riv": ".norm.running_var",
    "_gn_s": ".norm.weight",
    "_gn_b": ".norm.bias",
    "_w": ".weight",
    "_b": ".bias",
}
"""How a blob's name ends, and what it is."""


def block(letter: str, conv: str, norm: str) -> Table:
    """The rows of one convolution of every residual block."""
    theirs, ours = f"res{{s+1}}_{{b}}_branch{letter}", "stage{s}.{b}"
    return ((f"{theirs}.norm.*", f"{ours}.{norm}.*"), (f"{theirs}.*", f"{ours}.{conv}.*"))


BODY: Table = (
    ("conv1.*", "stem.conv.*"),
    ("res_conv1.norm.*", "stem.norm.*"),
    *block("2a", "conv1", "bn1"),
    *block("2b", "conv2", "bn2"),
    *block("2c", "conv3", "bn3"),
    *block("1", "downsample.0", "downsample.1"),
)
TABLE: Table = (
    *BODY,
    ("fpn_inner_res{i+2}_{b}_sum_lateral.norm.*", "lateral{i}.norm.*"),
    ("fpn_inner_res{i+2}_{b}_sum_lateral.*", "lateral{i}.conv.*"),
    ("fpn_inner_res{i+2}_{b}_sum.norm.*", "lateral{i}.norm.*"),
    ("fpn_inner_res{i+2}_{b}_sum.*", "lateral{i}.conv.*"),
    ("fpn_res{i+2}_{b}_sum.norm.*", "output{i}.norm.*"),
    ("fpn_res{i+2}_{b}_sum.*", "output{i}.conv.*"),
    ("conv_rpn_fpn2.*", "rpn.conv1.*"),
    ("conv_rpn.*", "rpn.conv1.*"),
    ("rpn_cls_logits_fpn2.*", "rpn.objectness.*"),
    ("rpn_cls_logits.*", "rpn.objectness.*"),
    ("rpn_bbox_pred_fpn2.*", "rpn.deltas.*"),
    ("rpn_bbox_pred.*", "rpn.deltas.*"),
    ("fc{n+5}.*", "box.fc{n}.*"),
    ("head_conv{n}.norm.*", "box.norm{n}.*"),
    ("head_conv{n}.*", "box.conv{n}.*"),
    ("cls_score.*", "box.classes.*"),
    ("bbox_pred.*", "box.deltas.*"),
    ("_[mask]_fcn{n}.norm.*", "mask.norm{n}.*"),
    ("_[mask]_fcn{n}.*", "mask.conv{n}.*"),
    ("conv5_mask.*", "mask.deconv.*"),
    ("mask_fcn_logits.*", "mask.logits.*"),
    ("conv_fcn{n}.*", "keypoint.conv{n}.*"),
    ("kps_score_lowres.*", "keypoint.deconv.*"),
)


def variant_of(tensors: Mapping[str, Tensor]) -> str | None:
    """FPN's blobs of the RPN are named after level 2, which the others share."""
    if "rpn_cls_logits_fpn2_w" in tensors:
        return "fpn"
    return "c4" if "rpn_cls_logits_w" in tensors else None


def prepared(tensors: dict[str, Tensor], trial: Trial) -> dict[str, Tensor]:
    """The blobs with endings that say what they are, and statistics for affine layers."""
    found = {_spelt(name): tensor for name, tensor in tensors.items()}
    eps = getattr(trial.model.backbone.trunk, "norm_eps", 1e-5)
    for name, tensor in tensors.items():
        if name.endswith("_bn_s"):
            layer = _spelt(name).removesuffix("weight")
            found.setdefault(f"{layer}running_mean", torch.zeros_like(tensor))
            found.setdefault(f"{layer}running_var", torch.full_like(tensor, 1 - eps))
    return found


def _spelt(name: str) -> str:
    for ending, said in ENDINGS.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + said
    return name


NO_WEIGHTS = {
    r".*_momentum": "momenta",
    r"lr|weight_order|model_iter|cur_iter": "of the solver",
    r"(pred|fc1000)_[wb]": "of the classifier",
    r"conv1_b": "bias before the first norm, which neither Detectron nor detectron2 reads",
    r"kps_score_[wb]": "fixed bilinear enlargement",
}
PEER = Peer(
    name="detectron",
    variants={
        "fpn": Variant(table=TABLE, trial=DETECTRON_FPN),
        "c4": Variant(table=TABLE, trial=DETECTRON_C4),
    },
    variant_of=variant_of,
    layout=Layout(),
    dropped=NO_WEIGHTS,
    prepared=prepared,
)


def is_body(tensors: Mapping[str, Tensor]) -> bool:
    """An MSRA or Caffe2 classifier's ResNet."""
    return "res2_0_branch2a_w" in tensors and variant_of(tensors) is None
