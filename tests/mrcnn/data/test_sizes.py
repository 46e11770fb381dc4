"""Size rules against each peer's formula in its own words, and their pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from mrcnn.data.sizes import fitted, interpolated, whole

RULES = ("torchvision", "detectron", "detectron2", "mmdetection")
SIDES = st.integers(20, 900)


def sides(h, w, short, long, rule):
    return fitted(torch.zeros(3, 1, 1).expand(3, h, w), short, long, rule)


@given(h=SIDES, w=SIDES)
def test_sides_as_torchvision_computes_them(h, w):
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    theirs = GeneralizedRCNNTransform(200, 333, [0.0] * 3, [1.0] * 3, size_divisible=1)
    expected = theirs([torch.zeros(3, h, w)])[0].image_sizes[0]
    assert sides(h, w, 200, 333, "torchvision") == tuple(expected)


def in_words(h, w, short, long):
    """The other peers' formulas, each as its source reads: (height, width) by rule."""
    scale = short / min(h, w)
    high, wide = (short, scale * w) if h < w else (scale * h, short)
    if max(high, wide) > long:
        high, wide = (side * (long / max(high, wide)) for side in (high, wide))
    found = {"detectron2": (int(high + 0.5), int(wide + 0.5))}
    scale = min(long / max(h, w), short / min(h, w))
    found["mmdetection"] = (int(h * scale + 0.5), int(w * scale + 0.5))
    scale = short / min(h, w)
    if np.round(scale * max(h, w)) > long:
        scale = long / max(h, w)
    found["detectron"] = (int(np.rint(h * scale)), int(np.rint(w * scale)))
    return found


@given(h=SIDES, w=SIDES, short=st.integers(50, 900), long=st.integers(100, 1400))
def test_sides_as_the_others_compute_them(h, w, short, long):
    for rule, wanted in in_words(h, w, short, long).items():
        assert sides(h, w, short, long, rule) == tuple(max(side, 1) for side in wanted)


@pytest.mark.parametrize(
    ("given", "asked", "wanted"),
    [
        ((100, 201), (50, 500), [(50, 100), (50, 100), (50, 101), (50, 101)]),  # 100.5 wide
        ((100, 203), (50, 500), [(50, 101), (50, 102), (50, 102), (50, 102)]),  # 101.5 wide
        # 133.33 wide and no more than 133: to Detectron that is 133, to the others a third too much
        ((300, 800), (50, 133), [(49, 133), (50, 133), (50, 133), (50, 133)]),
        ((333, 888), (500, 1333), [(499, 1333), (500, 1333), (500, 1333), (500, 1333)]),
    ],
)
def test_where_the_rules_differ(given, asked, wanted):
    """Resize.rule, by hand: halves go down, to even, up and up."""
    assert [sides(*given, *asked, rule) for rule in RULES] == wanted


@pytest.mark.parametrize("rule", RULES)
def test_no_side_vanishes(rule):
    assert whole(0.2, rule) == 1


def noise(h=31, w=45):
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, h, w), generator=g).to(torch.uint8)


@pytest.mark.parametrize("size", [(62, 80), (15, 20)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_detectron2_pixels_are_pillows(size, dtype):
    """rule "detectron2": bit for bit, for 8 bits and for floating point that holds them."""
    image = noise()
    theirs = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
    found = interpolated(image.to(dtype), size, "detectron2")
    assert found.dtype == dtype
    assert torch.equal(found.to(torch.uint8), torch.tensor(np.array(theirs)).permute(2, 0, 1))


def half_pixel(image, size):
    """Bilinear by the formula: source = (i + 0.5) * old / new - 0.5, cut at the border."""
    out = image.double()
    for axis, new in ((1, size[0]), (2, size[1])):
        old = out.shape[axis]
        at = ((torch.arange(new) + 0.5) * old / new - 0.5).clamp(0, old - 1).double()
        low = at.floor().long()
        high = (low + 1).clamp(max=old - 1)
        share = (at - low).view([-1 if i == axis else 1 for i in range(3)])
        out = out.index_select(axis, low) * (1 - share) + out.index_select(axis, high) * share
    return out


@pytest.mark.parametrize("size", [(62, 80), (15, 20)])
def test_mmdetection_and_torchvision_pixels_are_bilinear_at_half_pixels(size):
    """rule "mmdetection": cv2's map, rounded to levels; "torchvision": the same, not rounded."""
    image = noise()
    exact = half_pixel(image, size)
    rounded = interpolated(image.float(), size, "mmdetection")
    plain = interpolated(image.float(), size, "torchvision")
    assert float((plain - exact).abs().max()) < 1e-2
    assert float((rounded - exact).abs().max()) <= 0.501
    assert torch.equal(rounded, rounded.round())
    assert not torch.equal(plain, plain.round())
    gap = interpolated(image, size, "mmdetection").float() - rounded
    assert float(gap.abs().max()) <= 1


def test_only_an_antialiased_reduction_reads_every_pixel():
    """antialias, and Pillow: a reduction by 5 averages; without, most pixels do not count."""
    image = noise(50, 50)
    mean = F.avg_pool2d(image.float()[None], 5)[0]
    gaps = {
        name: float((found.float() - mean).abs().mean())
        for name, found in {
            "plain": interpolated(image, (10, 10)),
            "antialias": interpolated(image, (10, 10), antialias=True),
            "detectron2": interpolated(image, (10, 10), "detectron2"),
        }.items()
    }
    assert gaps["plain"] > 3 * gaps["antialias"]
    assert abs(gaps["antialias"] - gaps["detectron2"]) < 0.1 * gaps["detectron2"]
