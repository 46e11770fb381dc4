"""Backbones: what each reads of its trunk, res5 on RoIs or dilated, and the pyramid's choices."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork

from mrcnn.backbone import C4, C5, FPN, Res5
from mrcnn.trunk import RES4, RES5, ResNet, SmallResNet
from tests.mrcnn.test_trunk import randomised

TINY = SmallResNet(widths=(4, 8, 8, 12, 16), blocks=1)


def built(spec, seed=0):
    torch.manual_seed(seed)
    return randomised(spec.build(spec.trunk.build()))


def image(height=64, width=96):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(2))


def res5(stride_in, roi_size, stride):
    torch.manual_seed(1)
    stage = ResNet(stride_in=stride_in).build().stages[RES5]
    return randomised(Res5(roi_size=roi_size, stride=stride).build(stage))


@pytest.mark.parametrize("stride_in", ["3x3", "1x1"])
def test_res5_of_14_bins_with_stride_2_or_of_7_without(stride_in):
    """roi_trunk: both give 7 x 7. With the stride in the 1x1 convolution the 14 x 14 way reads bins
    0, 2, .. 12 and no other, so equals the 7 x 7 way on those; in the 3x3 it reads more.
    """
    bins = torch.randn(3, 1024, 14, 14, generator=torch.Generator().manual_seed(0))
    large, small = res5(stride_in, 14, 2), res5(stride_in, 7, 1)
    out, other = large(bins), small(bins[..., ::2, ::2])
    assert out.shape == other.shape == (3, 2048, 7, 7)
    close = torch.allclose(out, other, rtol=1e-4, atol=1e-4)
    assert close == (stride_in == "1x1")


def test_paper_c5_is_at_stride_32_and_the_dilated_at_16():
    """C5.dilation: the paper's Table 2d has 1; detectron2's DC5 has 2."""
    paper, dilated = built(C5()), built(C5(dilation=2))
    assert (paper.strides, dilated.strides) == ([32], [16])
    assert paper(image()).maps[0].shape == (1, 2048, 2, 3)
    assert dilated(image()).maps[0].shape == (1, 2048, 4, 6)
    assert paper.state_dict().keys() == dilated.state_dict().keys()


@pytest.mark.parametrize("stride_in", ["3x3", "1x1"])
def test_dilated_c5_holds_the_strided_one(stride_in):
    """With the stride in the 1x1, every 3x3 of res5 sees the reduced map, so that the dilated C5 at
    even places is the strided one. In the 3x3, the first block's own is spread too: another map.
    """
    trunk = ResNet(stride_in=stride_in)
    strided, dilated = (built(C5(trunk=trunk, dilation=d))(image()).maps[0] for d in (1, 2))
    same = torch.allclose(dilated[..., ::2, ::2], strided, rtol=1e-3, atol=1e-4)
    assert same == (stride_in == "1x1")


def test_dilation_that_is_not_the_stride_is_refused():
    trunk = SmallResNet(strides=(2, 2, 2, 2, 1))
    with pytest.raises(ValueError, match="dilation must be"):
        built(C5(trunk=trunk, dilation=2))


def test_c4_reads_res4():
    found = built(C4(trunk=TINY))(image())
    assert found.strides == (16,)
    assert found.maps[0].shape == (1, 12, 4, 6)
    assert found.roi_levels == 1


def their_pyramid(ours, channels, norm):
    """torchvision's pyramid with our weights, on the maps of our trunk."""
    theirs = FeaturePyramidNetwork(channels, 16, norm_layer=norm).eval()
    for inner, outer, lateral, output in zip(
        theirs.inner_blocks, theirs.layer_blocks, ours.laterals, ours.outputs, strict=True
    ):
        for to, part in ((inner, lateral), (outer, output)):
            (to if norm else to[0]).load_state_dict(part.state_dict())
    return theirs


@pytest.mark.parametrize("kind", ["none", "batch"])
def test_pyramid_with_and_without_norms_is_torchvisions(kind):
    """FPN.norm: "none" as in v1, "batch" as in v2, whose convolutions have no bias."""
    ours = built(FPN(trunk=TINY, channels=16, norm=kind))
    norm = nn.BatchNorm2d if kind == "batch" else None
    theirs = their_pyramid(ours, [8, 8, 12, 16], norm)
    stages = ours.trunk(image())[1:]
    expected = list(theirs({str(i): stage for i, stage in enumerate(stages)}).values())
    found = ours(image()).maps
    assert len(found) == 5
    for mine, other in zip(found, expected, strict=False):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "batch", "group", "sync", "frozen"])
def test_pyramid_norms_by_name(kind):
    """FPN.norm: no norm leaves the parameter names of old files."""
    names = set(built(FPN(trunk=TINY, channels=16, norm=kind)).state_dict())
    assert ("laterals.0.bias" in names) == (kind == "none")
    assert ("laterals.0.1.weight" in names) == (kind != "none")
    assert "laterals.0.0.bias" not in names


def top_down_by_two(ours, pixels):
    """The pyramid as Detectron, detectron2 and Matterport enlarge: each pixel becomes four."""
    stages = ours.trunk(pixels)
    merged = [conv(stages[i]) for conv, i in zip(ours.laterals, ours.stages, strict=True)]
    for i in reversed(range(len(merged) - 1)):
        coarse = merged[i + 1].repeat_interleave(2, -1).repeat_interleave(2, -2)
        merged[i] = merged[i] + coarse
    return [conv(one) for conv, one in zip(ours.outputs, merged, strict=True)]


def test_enlarging_by_two_is_the_same_on_padded_images():
    """Top-down to the finer size, or by a factor of two: equal where sides divide by 32, and where
    they do not, the factor of two gives sizes that cannot be added.
    """
    ours = built(FPN(trunk=TINY, channels=16))
    found, other = ours(image()).maps, top_down_by_two(ours, image())
    assert all(torch.equal(a, b) for a, b in zip(found, other, strict=False))
    assert ours(image(64, 72)).maps[1].shape[-1] == 9
    with pytest.raises(RuntimeError, match="size"):
        top_down_by_two(ours, image(64, 72))


def test_the_extra_level_is_every_second_pixel():
    """FPN.extra_level: Detectron's, detectron2's, mmdetection's and Matterport's pooling, window 1;
    it is for the RPN alone. Without it there are as many levels as strides.
    """
    found = built(FPN(trunk=TINY, channels=16))(image())
    assert torch.equal(found.maps[4], found.maps[3][..., ::2, ::2])
    assert torch.equal(found.maps[4], F.max_pool2d(found.maps[3], 1, 2))
    assert (len(found.maps), found.roi_levels) == (5, 4)
    without = built(FPN(trunk=TINY, channels=16, extra_level=False))(image())
    assert len(without.maps) == without.roi_levels == 4


def test_pyramid_strides_must_be_the_trunks():
    with pytest.raises(ValueError, match="strides"):
        built(FPN(trunk=SmallResNet(strides=(2, 2, 2, 1, 2)), strides=(4, 64)))
    with pytest.raises(ValueError, match="positive"):
        FPN(channels=0)
    assert built(FPN(trunk=TINY)).stages[2] == RES4
