"""Anchors against tables worked out by hand."""

import pytest
import torch

from mrcnn.anchors import Anchors
from mrcnn.boxes import corners
from mrcnn.structures import Pyramid


def pyramid(*levels):
    maps = tuple(torch.zeros(1, 1, h, w) for h, w, _ in levels)
    height, width, stride = levels[0]
    return Pyramid(maps, tuple(s for *_, s in levels), 1, (height * stride, width * stride))


def test_one_cell_by_hand():
    """Area 32 x 32 at ratios 1/2, 1, 2: widths 32 sqrt 2, 32, 32 / sqrt 2."""
    found = Anchors(sizes=((32.0,),))(pyramid((1, 1, 4)))[0]
    w, h = torch.tensor([45.2548, 32.0, 22.6274]), torch.tensor([22.6274, 32.0, 45.2548])
    expected = torch.stack([-w, -h, w, h], 1) / 2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_rounding_is_that_of_the_peers():
    found = Anchors(sizes=((32.0,),), rounded=True)(pyramid((1, 1, 4)))[0]
    assert found.tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]


@pytest.mark.parametrize(("offset", "first"), [(0.0, 0.0), (0.5, 8.0)])
def test_centres_go_row_by_row(offset, first):
    spec = Anchors(sizes=((16.0,),), ratios=(1.0,), offset=offset)
    found = spec(pyramid((2, 3, 16)))[0]
    centres = ((found[:, :2] + found[:, 2:]) / 2).tolist()
    assert centres == [[first + x, first + y] for y in (0, 16) for x in (0, 16, 32)]


def test_ratio_is_outer_and_size_inner():
    spec = Anchors(sizes=((8.0, 16.0),), ratios=(1.0, 4.0))
    found = spec(pyramid((1, 1, 4)))[0]
    sides = (found[:, 2:] - found[:, :2]).tolist()
    assert sides == [[8, 8], [16, 16], [4, 16], [8, 32]]


def test_the_table_of_the_fpn_paper_covers_each_level():
    levels = [(2**k, 2**k, 2 ** (8 - k)) for k in range(6, 1, -1)]
    found = Anchors()(pyramid(*levels))
    assert [len(level) for level in found] == [3 * 4**k for k in range(6, 1, -1)]
    areas = [(a[:, 2:] - a[:, :2]).prod(1).sqrt().mean() for a in found]
    torch.testing.assert_close(torch.stack(areas), torch.tensor([32.0, 64, 128, 256, 512]))


def test_spacing_by_size_is_torchvisions():
    """A map of 4 rows over 224 pixels: 56 apart, though its stride is 64; 64 apart in 5 columns."""
    spec = Anchors(sizes=((8.0,),), ratios=(1.0,), spacing="size")
    made = Pyramid((torch.zeros(1, 1, 4, 5),), (64,), 1, (224, 320))
    found = spec(made)[0]
    assert (found[:, :2] + 4).tolist() == [[64 * x, 56 * y] for y in range(4) for x in range(5)]


@pytest.mark.parametrize(
    "bad",
    [dict(sizes=()), dict(ratios=()), dict(sizes=((-1.0,),)), dict(sizes=((1.0,), (1.0, 2.0)))],
)
def test_tables_that_make_no_anchors_are_refused(bad):
    with pytest.raises(ValueError, match="anchor"):
        Anchors(**bad)


def test_a_table_for_another_pyramid_is_refused():
    with pytest.raises(ValueError, match="2 levels"):
        Anchors()(pyramid((2, 2, 4), (1, 1, 8)))


CLASSIC = [
    [-84, -40, 99, 55],
    [-176, -88, 191, 103],
    [-360, -184, 375, 199],
    [-56, -56, 71, 71],
    [-120, -120, 135, 135],
    [-248, -248, 263, 263],
    [-36, -80, 51, 95],
    [-80, -168, 95, 183],
    [-168, -344, 183, 359],
]
"""Faster R-CNN's nine anchors at stride 16, sizes 128, 256 and 512, as first and last pixels.

By hand: the window 0 .. 15 has area 256 and centre 7.5. Ratio 1/2: width round(sqrt 512) = 23,
height round(11.5) = 12; eight times that is 184 x 96, and 7.5 - 183 / 2 = -84, 7.5 - 95 / 2 = -40.
Ratio 2: width round(sqrt 128) = 11, height 22, so 88 x 176 for size 128.
"""


def test_anchors_rounded_by_sides_are_detectrons():
    spec = Anchors(sizes=((128.0, 256.0, 512.0),), rounded="sides", offset=0.5)
    found = spec(pyramid((1, 2, 16)))[0]
    assert corners(found, "inclusive")[:9].tolist() == CLASSIC
    assert torch.equal(found[9:], found[:9] + torch.tensor([16.0, 0, 16, 0]))


@pytest.mark.parametrize(
    ("rounded", "sides"),
    [
        (False, [128 * 2**0.5, 128 / 2**0.5]),  # 181.02 x 90.51: detectron2, mmdetection
        (True, [182, 90]),  # +-90.51 to +-91, +-45.25 to +-45: torchvision
        ("sides", [184, 96]),  # Detectron
    ],
)
def test_the_three_ways_of_rounding_an_anchor(rounded, sides):
    found = Anchors(sizes=((128.0,),), ratios=(0.5,), rounded=rounded)(pyramid((1, 1, 16)))[0][0]
    assert (found[2:] - found[:2]).tolist() == pytest.approx(sides)


def test_detectrons_fpn_anchors_depend_on_the_stride():
    """32 px at stride 4, ratio 1/2: width round(sqrt 32) = 6, height 3, so 48 x 24."""
    spec = Anchors(sizes=((32.0,),), ratios=(0.5,), rounded="sides")
    found = spec(pyramid((1, 1, 4)))[0][0]
    assert (found[2:] - found[:2]).tolist() == [48, 24]
