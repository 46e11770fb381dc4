"""ResNet classifiers as the trunks detectors start from."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.models import resnet18, resnet50

from mrcnn.model import MaskRCNN
from mrcnn.peers import DETECTRON_C4
from mrcnn.presets import R50_C4
from mrcnn.weights.bodies import read_body

BRANCHES = {"2a": "conv1", "2b": "conv2", "2c": "conv3", "1": "downsample.0"}


def test_a_torchvision_body_fills_a_trunk(tmp_path):
    classifier = resnet50(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "r50.pth")
    model = MaskRCNN(R50_C4.model, trunk_weights=read_body(tmp_path / "r50.pth"))
    stages = model.backbone.trunk.stages
    assert torch.equal(stages[0][1].weight, classifier.bn1.weight)
    assert torch.equal(stages[3][5].conv3.weight, classifier.layer3[5].conv3.weight)
    assert torch.equal(model.roi_trunk[2].conv3.weight, classifier.layer4[2].conv3.weight)


def msra(classifier):
    """A synthetic R-50.pkl: a classifier's weights under the names of MSRA's file."""
    g = torch.Generator().manual_seed(0)
    blobs = {"conv1_w": classifier.conv1.weight, "conv1_b": torch.ones(64)}
    blobs |= {"res_conv1_bn_s": torch.randn(64, generator=g), "res_conv1_bn_b": torch.ones(64)}
    blobs |= {"fc1000_w": classifier.fc.weight, "fc1000_b": classifier.fc.bias}
    for stage in range(4):
        for number, block in enumerate(getattr(classifier, f"layer{stage + 1}")):
            for branch, name in BRANCHES.items():
                if branch == "1" and number:
                    continue
                conv, place = block.get_submodule(name), f"res{stage + 2}_{number}_branch{branch}"
                blobs[f"{place}_w"] = conv.weight
                scale = torch.randn(len(conv.weight), generator=g)
                blobs |= {f"{place}_bn_s": scale, f"{place}_bn_b": scale / 2}
    return {name: tensor.detach().numpy() for name, tensor in blobs.items()}


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_synthetic_msra_body_fills_a_trunk(tmp_path, wrapped):
    blobs = msra(resnet50(weights=None))
    content = {"blobs": blobs} if wrapped else blobs
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, 2))
    model = MaskRCNN(DETECTRON_C4.model, trunk_weights=read_body(tmp_path / "R-50.pkl"))
    block = model.backbone.trunk.stages[2][3]
    assert np.array_equal(block.conv2.weight.detach().numpy(), blobs["res3_3_branch2b_w"])
    assert np.array_equal(block.bn3.weight.numpy(), blobs["res3_3_branch2c_bn_s"])
    shortcut = model.roi_trunk[0].downsample[1]
    assert np.array_equal(shortcut.bias.numpy(), blobs["res5_0_branch1_bn_b"])
    x = torch.randn(1, 64, 2, 2)
    stem = model.backbone.trunk.stages[0][1]
    scale = torch.from_numpy(blobs["res_conv1_bn_s"])[:, None, None]
    torch.testing.assert_close(stem(x), x * scale + 1)


def test_detectron2s_version_of_torchvisions_body_synthetic(tmp_path):
    classifier = resnet50(weights=None)
    renamed = {}
    for name, tensor in classifier.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        name = name.replace("bn1", "conv1.norm", 1) if name.startswith("bn1") else name
        for i in (1, 2, 3):
            name = name.replace(f".bn{i}.", f".conv{i}.norm.")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        for i in (1, 2, 3, 4):
            name = name.replace(f"layer{i}.", f"res{i + 1}.")
        stem = name.startswith(("conv1", "fc"))
        renamed[f"stem.{name}" if stem else name] = tensor.numpy()
    content = {"model": renamed, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content))
    found = read_body(tmp_path / "R-50.pkl")
    torch.save(classifier.state_dict(), tmp_path / "r50.pth")
    wanted = read_body(tmp_path / "r50.pth")
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_body_for_another_trunk_is_refused(tmp_path):
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(ValueError, match="the trunk's initial weights: parameters do not fit"):
        MaskRCNN(R50_C4.model, trunk_weights=read_body(tmp_path / "r18.pth"))


def test_what_is_no_resnet_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.ones(1)}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"no parameter of a ResNet is called 'features\.0"):
        read_body(tmp_path / "vgg.pth")
