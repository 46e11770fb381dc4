"""Matterport's Keras layers. No real file is at hand: these are synthetic, and what Keras would
compute with them is written out from its definitions.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mrcnn.peers import MATTERPORT
from mrcnn.seeds import generator
from mrcnn.weights.converting import convert
from mrcnn.weights.matterport import prepared
from mrcnn.weights.reading import read_weights

EPS = 1e-3
CLASSES = 3


def random(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed)) * 0.1


def conv(rows, columns, inside, outside):
    return {"kernel": random(rows, columns, inside, outside), "bias": random(outside)}


def norm(channels):
    return {
        "gamma": 1 + random(channels),
        "beta": random(channels, seed=1),
        "moving_mean": random(channels, seed=2),
        "moving_variance": 1 + random(channels, seed=3).abs(),
    }


def flat(layers):
    return {f"{name}.{kind}": t for name, kinds in layers.items() for kind, t in kinds.items()}


def keras_conv(x, layer, **options):
    """(n, rows, columns, channels) in and out, as Keras has them."""
    weight = layer["kernel"].permute(3, 2, 0, 1)
    return F.conv2d(x.permute(0, 3, 1, 2), weight, layer["bias"], **options).permute(0, 2, 3, 1)


def keras_norm(x, layer):
    scale = layer["gamma"] / torch.sqrt(layer["moving_variance"] + EPS)
    return (x - layer["moving_mean"]) * scale + layer["beta"]


def test_a_block_of_the_trunk_computes_what_keras_does():
    layers = {"res4b_branch2a": conv(1, 1, 8, 4), "bn4b_branch2a": norm(4)}
    x = torch.randn(2, 5, 6, 8, generator=generator(9))
    wanted = keras_norm(keras_conv(x, layers["res4b_branch2a"]), layers["bn4b_branch2a"])
    found = prepared(flat(layers), MATTERPORT)
    assert "res4_1_branch2a.bias" not in found
    y = F.conv2d(x.permute(0, 3, 1, 2), found["res4_1_branch2a.weight"])
    parts = (found[f"bn4_1_branch2a.{k}"] for k in ("running_mean", "running_var"))
    affine = (found[f"bn4_1_branch2a.{k}"] for k in ("weight", "bias"))
    y = F.batch_norm(y, *parts, *affine, eps=EPS)
    torch.testing.assert_close(y.permute(0, 2, 3, 1), wanted)


def test_the_first_layer_of_the_box_head_reads_channel_row_column():
    layers = {"mrcnn_class_conv1": conv(7, 7, 4, 6), "mrcnn_class_bn1": norm(6)}
    x = torch.randn(3, 7, 7, 4, generator=generator(9))
    wanted = keras_norm(keras_conv(x, layers["mrcnn_class_conv1"]), layers["mrcnn_class_bn1"])
    found = prepared(flat(layers), MATTERPORT)
    features = x.permute(0, 3, 1, 2).flatten(1)  # as ours are pooled and flattened
    y = F.linear(features, found["mrcnn_class_conv1.weight"], found["mrcnn_class_conv1.bias"])
    torch.testing.assert_close(y, wanted[:, 0, 0])
    assert not [name for name in found if "bn1" in name]


def test_the_mask_heads_norm_is_kept_with_the_usual_eps():
    layers = {"mrcnn_mask_conv2": conv(3, 3, 4, 4), "mrcnn_mask_bn2": norm(4)}
    x = torch.randn(2, 6, 6, 4, generator=generator(9))
    found = prepared(flat(layers), MATTERPORT)
    wanted = keras_norm(
        keras_conv(x, layers["mrcnn_mask_conv2"], padding=1), layers["mrcnn_mask_bn2"]
    )
    y = F.conv2d(x.permute(0, 3, 1, 2), found["mrcnn_mask_conv2.weight"], padding=1)
    kinds = ("running_mean", "running_var", "weight", "bias")
    y = F.batch_norm(y, *(found[f"mrcnn_mask_bn2.{kind}"] for kind in kinds), eps=1e-5)
    torch.testing.assert_close(y.permute(0, 2, 3, 1), wanted)


def test_a_deconvolution_is_turned_the_right_way():
    """Keras scatters: input (i, j) goes to (2 i + k, 2 j + l) through kernel (k, l, out, in)."""
    kernel = random(2, 2, 3, 5)
    x = torch.randn(1, 4, 4, 5, generator=generator(9))
    wanted = torch.zeros(1, 8, 8, 3)
    for k in (0, 1):
        for column in (0, 1):
            wanted[:, k::2, column::2] = x @ kernel[k, column].T
    found = prepared({"mrcnn_mask_deconv.kernel": kernel}, MATTERPORT)
    y = F.conv_transpose2d(x.permute(0, 3, 1, 2), found["mrcnn_mask_deconv.weight"], stride=2)
    torch.testing.assert_close(y.permute(0, 2, 3, 1), wanted)


def test_deltas_go_from_dy_dx_dh_dw_to_dx_dy_dw_dh():
    rows = torch.arange(4.0 * CLASSES)
    layers = {"mrcnn_bbox_fc.kernel": rows[None].repeat(6, 1), "mrcnn_bbox_fc.bias": rows}
    found = prepared(layers, MATTERPORT)
    assert found["mrcnn_bbox_fc.bias"][:8].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert found["mrcnn_bbox_fc.weight"][:4, 0].tolist() == [1, 0, 3, 2]


def network(depth, classes):
    """Every layer of a Matterport network by its Keras name, of zeros and ones."""
    layers = {"conv1": (7, 7, 3, 64), "bn_conv1": 64}
    inside = 64
    for stage, (width, count) in enumerate([(64, 3), (128, 4), (256, depth), (512, 3)], start=2):
        for block in range(count):
            place = f"{stage}{chr(ord('a') + block)}_branch"
            shapes = {"2a": (1, 1, inside, width), "2b": (3, 3, width, width)}
            shapes["2c"] = (1, 1, width, 4 * width)
            if block == 0:
                shapes["1"] = (1, 1, inside, 4 * width)
            for branch, shape in shapes.items():
                layers |= {f"res{place}{branch}": shape, f"bn{place}{branch}": shape[-1]}
            inside = 4 * width
        layers |= {f"fpn_c{stage}p{stage}": (1, 1, inside, 256), f"fpn_p{stage}": (3, 3, 256, 256)}
    layers |= {"rpn_conv_shared": (3, 3, 256, 512), "rpn_class_raw": (1, 1, 512, 6)}
    layers |= {"rpn_bbox_pred": (1, 1, 512, 12), "mrcnn_class_conv1": (7, 7, 256, 1024)}
    layers |= {"mrcnn_class_bn1": 1024, "mrcnn_class_conv2": (1, 1, 1024, 1024)}
    layers |= {"mrcnn_class_bn2": 1024, "mrcnn_class_logits": (1024, classes + 1)}
    layers |= {"mrcnn_bbox_fc": (1024, 4 * (classes + 1))}
    for i in (1, 2, 3, 4):
        layers |= {f"mrcnn_mask_conv{i}": (3, 3, 256, 256), f"mrcnn_mask_bn{i}": 256}
    layers |= {"mrcnn_mask_deconv": (2, 2, 256, 256), "mrcnn_mask": (1, 1, 256, classes + 1)}
    return layers


@pytest.mark.parametrize(("blocks", "depth"), [(6, 50), (23, 101)])
def test_a_synthetic_h5_is_used_to_the_last_layer(tmp_path, blocks, depth):
    h5py = pytest.importorskip("h5py")
    count = 0
    with h5py.File(tmp_path / "mask_rcnn_coco.h5", "w") as file:
        for name, shape in network(blocks, CLASSES).items():
            group = f"rpn_model/{name}" if name.startswith("rpn") else f"{name}/{name}"
            if isinstance(shape, int):
                kinds = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (shape,))
            else:
                kinds = {"kernel": shape, "bias": (shape[-1],)}
            for kind, sides in kinds.items():
                file[f"{group}/{kind}:0"] = np.ones(sides, np.float32)
                count += 1
    assert len(read_weights(tmp_path / "mask_rcnn_coco.h5").tensors) == count
    found = convert(tmp_path / "mask_rcnn_coco.h5")
    assert found.summary.startswith(f"{count} parameters of matterport")
    assert found.trial.model.backbone.trunk.depth == depth
    assert found.trial.model.num_classes == CLASSES
    assert float(found.model.backbone.trunk.stages[3][blocks - 1].bn2.running_mean[0]) == 0
