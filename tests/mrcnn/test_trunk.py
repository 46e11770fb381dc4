"""Trunks: each dialect of a ResNet against what its source says, and that the others differ."""

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck

from mrcnn.norms import norm_layer
from mrcnn.trunk import RES4, RES5, ResNet, SmallResNet, set_dilation, set_stride

TRUNKS = {
    "50": ResNet(),
    "caffe": ResNet(stride_in="1x1"),
    "x50": ResNet(groups=32, width_per_group=4),
    "basic": ResNet(depth=18),
    "small": SmallResNet(),
    "small caffe": SmallResNet(stride_in="1x1"),
}


def randomised(module, seed=0):
    """Norms that are not the identity: a mistake in them would otherwise not be seen."""
    g = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(1 + 0.1 * torch.rand(tensor.shape, generator=g))
        elif tensor.ndim == 1:
            tensor.copy_(0.5 + 0.1 * torch.randn(tensor.shape, generator=g))
    return module.eval()


def image(side=64, seed=1):
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


BODIES = {
    "resnet18": ResNet(depth=18),
    "resnet50": ResNet(),
    "resnet152": ResNet(depth=152),
    "resnext101_32x8d": ResNet(depth=101, groups=32, width_per_group=8),
    "resnext101_64x4d": ResNet(depth=101, groups=64, width_per_group=4),
}


@pytest.mark.parametrize("name", BODIES)
def test_each_depth_and_width_is_torchvisions_body(name):
    """depth, groups, width_per_group: the parameters of the classifier, but for its last layer."""
    spec = BODIES[name]
    with torch.device("meta"):
        theirs, ours = getattr(torchvision.models, name)(), spec.build()
    shapes = [tuple(p.shape) for n, p in theirs.named_parameters() if not n.startswith("fc")]
    trained = replace(spec, norm="batch", trainable_stages=5)
    with torch.device("meta"):
        ours = trained.build()
    assert [tuple(p.shape) for p in ours.parameters()] == shapes


def test_64x4d_is_not_32x8d():
    with torch.device("meta"):
        one = BODIES["resnext101_64x4d"].build().stages[1][0].conv2.weight
        two = BODIES["resnext101_32x8d"].build().stages[1][0].conv2.weight
    assert (one.shape[:2], two.shape[:2]) == ((256, 4), (256, 8))


def test_stride_in_3x3_computes_torchvisions_features():
    """norm "frozen", stride_in "3x3": res5 of torchvision's own ResNet with the same weights."""
    ours = randomised(ResNet().build())
    theirs = torchvision.models.resnet50().eval()
    stem = ours.stages[0].state_dict()
    parts = {"conv1": "0", "bn1": "1"}
    for part, number in parts.items():
        state = {k[2:]: v for k, v in stem.items() if k.startswith(f"{number}.")}
        getattr(theirs, part).load_state_dict(state, strict=False)
    for i in range(1, 5):
        getattr(theirs, f"layer{i}").load_state_dict(ours.stages[i].state_dict(), strict=False)
    theirs.avgpool, theirs.fc = nn.Identity(), nn.Identity()
    expected = theirs(image()).view(1, 2048, 2, 2)
    torch.testing.assert_close(ours(image())[-1], expected, rtol=1e-4, atol=1e-4)
    caffe = ResNet(stride_in="1x1").build().eval()
    caffe.load_state_dict(ours.state_dict())
    assert not torch.allclose(caffe(image())[-1], expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("where", "strides"), [("3x3", (1, 2)), ("1x1", (2, 1))])
@pytest.mark.parametrize("groups", [1, 32])
def test_stride_stands_in_the_named_convolution(where, strides, groups):
    """stride_in: of res3 to res5, never of res2, shortcut included; every size stays."""
    spec = ResNet(stride_in=where, groups=groups, width_per_group=64 // groups)
    trunk = spec.build()
    for stage in trunk.stages[2:]:
        first = stage[0]
        assert (first.conv1.stride[0], first.conv2.stride[0]) == strides
        assert first.downsample[0].stride == (2, 2)
    assert trunk.stages[1][0].conv1.stride == trunk.stages[1][0].conv2.stride == (1, 1)
    sides = [m.shape[-1] for m in trunk.eval()(image())]
    assert sides == [64 // s for s in trunk.strides]


def test_a_stride_in_the_1x1_skips_every_second_pixel():
    """stride_in "1x1" reads only even rows and columns of res3's output; "3x3" reads all."""
    for where, seen in (("1x1", False), ("3x3", True)):
        res4 = randomised(ResNet(stride_in=where).build()).stages[RES4]
        x = torch.randn(1, 512, 8, 8, generator=torch.Generator().manual_seed(0))
        changed = x.clone()
        changed[:, :, 1::2, 1::2] += 5
        assert torch.equal(res4(x), res4(changed)) != seen


@pytest.mark.parametrize("kind", ["frozen", "batch", "sync", "group", "eval"])
def test_each_norm_trains_what_it_says(kind):
    """norm: how many parameters of a bottleneck receive gradients, affine parts included."""
    trunk = ResNet(norm=kind, trainable_stages=5).build()
    names = {n for n, p in trunk.stages[RES5][1].named_parameters() if p.requires_grad}
    convs = {f"conv{i}.weight" for i in (1, 2, 3)}
    affine = {f"bn{i}.{part}" for i in (1, 2, 3) for part in ("weight", "bias")}
    assert names == (convs if kind == "frozen" else convs | affine)


@pytest.mark.parametrize("kind", ["frozen", "eval", "group", "batch"])
def test_which_norms_follow_the_batches(kind):
    """norm: a training batch changes what "batch" does in evaluation, and nothing else."""
    trunk = ResNet(depth=18, norm=kind).build()
    before = trunk.eval()(image())[-1]
    trunk.train()(image(seed=5))
    same = torch.equal(trunk.eval()(image())[-1], before)
    assert same == (kind != "batch")


def test_eps_is_in_every_norm():
    """norm_eps: 1e-5 by default, 0 for torchvision's COCO_V1, 1e-3 for Matterport."""
    for kind in ("frozen", "batch", "group", "eval"):
        trunk = ResNet(depth=18, norm=kind, norm_eps=1e-3).build()
        eps = {m.eps for m in trunk.modules() if hasattr(m, "eps")}
        assert eps == {1e-3}
    plain = randomised(ResNet(depth=18).build())
    other = ResNet(depth=18, norm_eps=0.0).build().eval()
    other.load_state_dict(plain.state_dict())
    assert not torch.equal(plain(image())[-1], other(image())[-1])


@pytest.mark.parametrize(("pool", "first"), [("centred", 1.0), ("after", 2.0)])
def test_where_the_stem_pools(pool, first):
    """pool: of 0, 1, 2, .. 7 the first window's largest is 1 if it is centred on 0, else 2."""
    layer = ResNet(depth=18, pool=pool).build().stages[0][3]
    found = layer(torch.arange(8.0).expand(1, 64, 8, 8))[0, 0, 0]
    assert found.tolist() == [first, first + 2, first + 4, 7]


@pytest.mark.parametrize("count", range(6))
def test_stages_are_trained_from_res5_down(count):
    """trainable_stages: 3 leaves the stem and res2 as they are."""
    trunk = ResNet(depth=18, norm="eval", trainable_stages=count).build()
    trained = [any(p.requires_grad for p in stage.parameters()) for stage in trunk.stages]
    assert trained == [False] * (5 - count) + [True] * count


@pytest.mark.parametrize("fixed", [False, True])
def test_statistics_of_stages_that_are_not_trained(fixed):
    """fix_statistics: res2's batch norm stays as it is (detectron2) or follows (torchvision)."""
    trunk = ResNet(depth=18, norm="batch", fix_statistics=fixed).build().train()
    before = {n: b.clone() for n, b in trunk.named_buffers() if n.endswith("running_mean")}
    trunk(image())
    after = dict(trunk.named_buffers())
    moved = {n.split(".")[1] for n, b in before.items() if not torch.equal(b, after[n])}
    assert moved == ({"2", "3", "4"} if fixed else {"0", "1", "2", "3", "4"})


@pytest.mark.parametrize("name", TRUNKS)
def test_another_stride_of_a_stage(name):
    """set_stride: wherever the stride stands; 1 keeps the size, 2 halves it, shortcut included."""
    trunk = TRUNKS[name].build().eval()
    x = torch.randn(2, trunk.channels[RES4], 8, 8)
    for stride in (2, 1):
        set_stride(trunk.stages[RES5], stride)
        assert trunk.stages[RES5](x).shape[-2:] == (8 // stride, 8 // stride)


def test_a_stage_without_a_stride_gets_none():
    stage = SmallResNet(strides=(2, 2, 2, 2, 1)).build().stages[RES5]
    set_stride(stage, 1)
    with pytest.raises(ValueError, match="stride must be 1"):
        set_stride(stage, 2)


def test_dilation_spreads_all_blocks():
    """set_dilation: every 3x3 of the stage, its first too; nothing else, and sizes stay."""
    stage = ResNet().build().stages[RES5]
    set_dilation(stage, 2)
    assert [block.conv2.dilation for block in stage] == [(2, 2)] * 3
    assert {block.conv1.dilation for block in stage} == {(1, 1)}
    assert stage[1:](torch.zeros(1, 2048, 7, 7)).shape == (1, 2048, 7, 7)


def test_small_trunks_have_the_same_choices():
    spec = SmallResNet(norm="group", stride_in="1x1")
    trunk = spec.build()
    norms = {type(m) for m in trunk.modules() if "Norm" in type(m).__name__}
    assert norms == {nn.GroupNorm}
    first = trunk.stages[RES5][0]
    assert isinstance(first, Bottleneck)
    assert first.conv1.stride == (2, 2)
    assert [m.shape[-1] for m in trunk(image())] == [32, 16, 8, 4, 2]


@pytest.mark.parametrize("count", [5, 3, 0])
def test_small_stages_that_are_not_trained_stay_as_they_are(count):
    """Weights and statistics alike; the others' statistics follow the batches."""
    trunk = SmallResNet(trainable_stages=count).build().train()
    trained = {n.split(".")[1] for n, p in trunk.named_parameters() if p.requires_grad}
    before = {n: b.clone() for n, b in trunk.named_buffers() if n.endswith("running_mean")}
    trunk(image())
    after = dict(trunk.named_buffers())
    moved = {n.split(".")[1] for n, b in before.items() if not torch.equal(b, after[n])}
    assert trained == moved == set("01234"[5 - count :])


def test_the_norm_changes_no_other_weight():
    """Convolutions of one seed are equal under every norm: trials differ in the norm alone."""
    made = []
    for kind in ("batch", "group"):
        torch.manual_seed(3)
        made.append(SmallResNet(norm=kind).build().stages[0][0].weight)
    assert torch.equal(*made)
    assert isinstance(norm_layer("batch", 4), nn.BatchNorm2d)


@pytest.mark.parametrize(
    "bad",
    [
        dict(trainable_stages=6),
        dict(depth=34, stride_in="1x1"),
        dict(depth=18, groups=32),
        dict(groups=0),
        dict(norm_eps=-1.0),
    ],
)
def test_trunks_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        ResNet(**bad)


def test_a_small_trunk_has_five_stages_to_train():
    with pytest.raises(ValueError, match="trainable_stages must be 0 to 5, got 6"):
        SmallResNet(trainable_stages=6)
