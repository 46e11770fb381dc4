"""Matterport's Mask R-CNN (Keras, .h5), ResNet-50 and -101 with FPN.

Keras kernels are turned into PyTorch's order. Convolutions have biases before their batch norm:
they go into its mean. Batch norm of the box head, which Matterport does not train by default, is
folded into the layer before it: the same function with fewer parameters. Deltas there are dy, dx,
dh, dw.
Source: Matterport Mask_RCNN 2.1, mrcnn/model.py.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mrcnn.config import Trial
from mrcnn.peers import MATTERPORT
from mrcnn.weights.names import Table
from mrcnn.weights.peer import Layout, Peer, Variant


def block(letter: str, conv: str, norm: str) -> Table:
    """The rows of one convolution of every residual block."""
    ours = "stage{s}.{b}"
    return (
        (f"res{{s+1}}_{{b}}_branch{letter}.*", f"{ours}.{conv}.*"),
        (f"bn{{s+1}}_{{b}}_branch{letter}.*", f"{ours}.{norm}.*"),
    )


TABLE: Table = (
    ("conv1.*", "stem.conv.*"),
    ("bn_conv1.*", "stem.norm.*"),
    *block("2a", "conv1", "bn1"),
    *block("2b", "conv2", "bn2"),
    *block("2c", "conv3", "bn3"),
    *block("1", "downsample.0", "downsample.1"),
    *((f"fpn_c{i + 2}p{i + 2}.*", f"lateral{i}.conv.*") for i in range(4)),
    ("fpn_p{i+2}.*", "output{i}.conv.*"),
    ("rpn_conv_shared.*", "rpn.conv1.*"),
    ("rpn_class_raw.*", "rpn.objectness.*"),
    ("rpn_bbox_pred.*", "rpn.deltas.*"),
    ("mrcnn_class_conv{n}.*", "box.fc{n}.*"),
    ("mrcnn_class_logits.*", "box.classes.*"),
    ("mrcnn_bbox_fc.*", "box.deltas.*"),
    ("mrcnn_mask_conv{n}.*", "mask.conv{n}.*"),
    ("mrcnn_mask_bn{n}.*", "mask.norm{n}.*"),
    ("mrcnn_mask_deconv.*", "mask.deconv.*"),
    ("mrcnn_mask.*", "mask.logits.*"),
)
"""After `prepared`, which counts the blocks of a stage (res4b is res4_1) and spells out kinds."""

KINDS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
EPS = 1e-3
"""Of Keras's batch norm."""


def variant_of(tensors: Mapping[str, Tensor]) -> str | None:
    """By the layer every Matterport network has."""
    return "fpn" if "mrcnn_bbox_fc.kernel" in tensors else None


def prepared(tensors: dict[str, Tensor], trial: Trial) -> dict[str, Tensor]:
    """The layers in PyTorch's order and terms; see the module."""
    found = {_spelt(name): _turned(tensor) for name, tensor in tensors.items()}
    for mean in [name for name in found if name.endswith(".running_mean")]:
        norm = mean.removesuffix(".running_mean")
        if re.fullmatch(r"mrcnn_class_bn\d", norm):
            _fold(found, norm.replace("bn", "conv"), norm)
            continue
        conv = "conv1" if norm == "bn_conv1" else norm.replace("bn", "res", 1)
        if norm.startswith("mrcnn"):  # norms of heads have the usual eps here
            conv = norm.replace("bn", "conv")
            found[f"{norm}.running_var"] = found[f"{norm}.running_var"] + (EPS - 1e-5)
        found[mean] = found[mean] - found.pop(f"{conv}.bias", torch.zeros(()))
    for layer in ("rpn_bbox_pred", "mrcnn_bbox_fc"):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in found:
                found[name] = found[name].unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)
    for name in [n for n in found if re.fullmatch(r"mrcnn_class_conv\d\.weight", n)]:
        found[name] = found[name].flatten(1)
    return found


def _spelt(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    letter = re.match(r"(res|bn)(\d)([a-z])_", layer)
    if letter:
        layer = layer.replace(letter[0], f"{letter[1]}{letter[2]}_{ord(letter[3]) - ord('a')}_", 1)
    return f"{layer}.{KINDS.get(kind, kind)}"


def _turned(tensor: Tensor) -> Tensor:
    """(row, column, in, out) as (out, in, row, column); (in, out) as (out, in). A deconvolution's
    (row, column, out, in) becomes (in, out, row, column) by the same turn.
    """
    turned = {2: (1, 0), 4: (3, 2, 0, 1)}
    return tensor.permute(turned[tensor.dim()]) if tensor.dim() in turned else tensor


def _fold(tensors: dict[str, Tensor], conv: str, norm: str) -> None:
    """A batch norm with fixed statistics into the layer before it."""
    gamma, beta, mean, variance = (
        tensors.pop(f"{norm}.{kind}") for kind in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma * torch.rsqrt(variance + EPS)
    weight = tensors[f"{conv}.weight"]
    tensors[f"{conv}.weight"] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    tensors[f"{conv}.bias"] = (tensors[f"{conv}.bias"] - mean) * scale + beta


PEER = Peer(
    name="matterport",
    variants={"fpn": Variant(table=TABLE, trial=MATTERPORT)},
    variant_of=variant_of,
    layout=Layout(),
    dropped={},
    prepared=prepared,
)
