"""Level rules: each peer's formula against cases worked out by hand, near their thresholds."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mrcnn.levels import LevelRule

TORCHVISION = LevelRule()
DETECTRON = LevelRule(epsilon_in="quotient", side_growth=1.0)
DETECTRON2 = LevelRule(epsilon=1e-8, epsilon_in="quotient")
MMDETECTION = LevelRule(epsilon_in="quotient", counted_from="finest")
MATTERPORT = LevelRule(epsilon=0.0, rounding="nearest", side_growth=-1.0, by_image=True)
RULES = {
    "torchvision": TORCHVISION,
    "detectron": DETECTRON,
    "detectron2": DETECTRON2,
    "mmdetection": MMDETECTION,
    "matterport": MATTERPORT,
}
STRIDES = [4, 8, 16, 32]
SIZE = (1024, 1024)


def levels(rule, *sides):
    """P2 .. P5 of square boxes whose corner is at 0, so that their sides are exact in float32."""
    side = torch.tensor(sides, dtype=torch.float32)
    boxes = torch.stack([0 * side, 0 * side, side, side], 1)
    return (rule(boxes, STRIDES, 224.0, SIZE) + 2).tolist()


def just_below(value, steps):
    """The float32 so many steps under a value."""
    for _ in range(steps):
        value = np.nextafter(np.float32(value), np.float32(0))
    return float(value)


@pytest.mark.parametrize("name", ["torchvision", "detectron2", "mmdetection"])
def test_levels_by_the_formula_of_the_fpn_paper(name):
    """k = floor(4 + log2(sqrt(wh) / 224)): 224 to P4, just below to P3, 112 to P3, 448 to P5."""
    sides = [10.0, 111.9, 112, 223.9, 224, 447.9, 448, 5000, 0]
    assert levels(RULES[name], *sides) == [2, 2, 3, 3, 4, 4, 5, 5, 2]


def test_the_area_decides_not_the_longer_side():
    boxes = torch.tensor([[0.0, 0, 448, 112], [0, 0, 448, 111], [9, 9, 9, 400]])
    assert TORCHVISION(boxes, STRIDES, 224.0, SIZE).tolist() == [2, 1, 0]


def test_where_the_epsilon_stands_decides_near_a_threshold():
    """Short of 224 by 1.2e-4, 2.0e-4 and 3.2e-4 px the quotient is short of 1 by 5.4e-7, 8.9e-7
    and 1.4e-6, its logarithm of 0 by 7.9e-7, 1.3e-6 and 2.1e-6: + 1e-6 inside lifts two of them,
    outside one. 1e-8 lifts none: near 1, float32 numbers are 6e-8 apart.
    """
    sides = [just_below(224, n) for n in (8, 13, 21)]
    assert [224 - s for s in sides] == pytest.approx([1.22e-4, 1.98e-4, 3.20e-4], rel=0.01)
    assert levels(LevelRule(epsilon_in="quotient"), *sides) == [4, 4, 3]
    assert levels(TORCHVISION, *sides) == [4, 3, 3]
    assert levels(DETECTRON2, *sides) == [3, 3, 3]


def test_each_peers_formula_as_written_in_its_source():
    """Every float32 side up to 21 steps short of a threshold, the formulas in their own words."""
    side = torch.tensor([just_below(s, n) for s in (112, 224, 448) for n in range(22)])
    written = {
        "detectron": torch.floor(4 + torch.log2(side / 224 + 1e-6)),
        "detectron2": torch.floor(4 + torch.log2(side / 224 + 1e-8)),
        "mmdetection": torch.floor(torch.log2(side / 56 + 1e-6)) + 2,
        "torchvision": torch.floor(4 + torch.log2(side / 224) + torch.tensor(1e-6)),
    }
    for name, wanted in written.items():
        rule = replace(RULES[name], side_growth=0.0)  # side - 1 + 1 would be rounded
        boxes = torch.stack([0 * side, 0 * side, side, side], 1)
        found = rule(boxes, STRIDES, 224.0, SIZE) + 2
        assert torch.equal(found.float(), wanted), name
    assert len({tuple(w.tolist()) for w in written.values()}) == 4


def test_detectron2s_epsilon_only_guards_boxes_without_area():
    """epsilon 1e-8 and 0 give the same level to any float32 side from a pixel up."""
    sides = [1.0, *(just_below(s, n) for s in (112, 224, 448) for n in range(4))]
    none = LevelRule(epsilon=0.0, epsilon_in="quotient")
    assert levels(DETECTRON2, *sides) == levels(none, *sides)


def test_counted_from_the_finest_an_almost_reached_level_is_not_rounded_up():
    """One float32 step under 224, log2 is -8.6e-8: below 0, but 4 + that is 4 in float32."""
    side = just_below(224, 1)
    from_canonical = LevelRule(epsilon=0.0)
    from_finest = LevelRule(epsilon=0.0, counted_from="finest")
    assert levels(from_canonical, side, 224.0) == [4, 4]
    assert levels(from_finest, side, 224.0) == [3, 4]


def test_mmdetections_epsilon_is_a_quarter_of_detectrons_in_pixels():
    """1e-6 of side / 56 is 5.6e-5 px, of side / 224 it is 2.24e-4 px."""
    sides = just_below(224, 2), just_below(224, 6)  # 3.1e-5 and 9.2e-5 px short
    assert levels(MMDETECTION, *sides) == [4, 3]
    assert levels(LevelRule(epsilon_in="quotient"), *sides) == [4, 4]


def test_detectrons_sides_are_a_pixel_longer():
    """Area (x2 - x1 + 1) (y2 - y1 + 1): 223 px is enough for P4."""
    assert levels(DETECTRON, 222.9, 223, 447) == [3, 4, 5]
    assert levels(TORCHVISION, 222.9, 223, 447) == [3, 3, 4]


def test_matterport_rounds_so_that_thresholds_lie_at_the_root_of_a_half():
    """4 + round(log2): from 224 / sqrt(2) = 158.4 to P4, from 316.8 to P5, up to 79.2 P2."""
    image = math.sqrt(1024 * 1024 / (1023 * 1023))
    border = 224 / math.sqrt(2) / image + 1  # + 1: its boxes span a pixel less
    assert levels(MATTERPORT, border - 0.01, border + 0.01) == [3, 4]
    assert levels(MATTERPORT, 2 * border - 1.1, 2 * border - 0.9) == [4, 5]
    assert levels(TORCHVISION, border + 0.01, 2 * border) == [3, 4]
    assert levels(MATTERPORT, 0.5, 0.0) == [2, 2]


def test_matterports_normalised_boxes():
    """Its own formula, in its own coordinates: a random box of an image that is not square."""
    height, width, g = 640, 1024, torch.Generator().manual_seed(0)
    boxes = torch.rand(200, 2, generator=g) * torch.tensor([500.0, 300.0])
    boxes = torch.cat([boxes, boxes + 20 + torch.rand(200, 2, generator=g) * 300], 1)
    x1, y1, x2, y2 = boxes.double().unbind(1)
    h, w = (y2 - 1 - y1) / (height - 1), (x2 - 1 - x1) / (width - 1)
    wanted = 4 + torch.log2((h * w).sqrt() / (224 / math.sqrt(height * width))).round()
    found = MATTERPORT(boxes, STRIDES, 224.0, (height, width)) + 2
    assert torch.equal(found.double(), wanted.clamp(2, 5))
    floor = LevelRule(epsilon=0.0)(boxes, STRIDES, 224.0, (height, width)) + 2
    assert not torch.equal(found, floor)


def test_the_canonical_side_moves_every_threshold():
    boxes = torch.tensor([[0.0, 0, 56, 56], [0, 0, 55, 55]])
    for rule in (TORCHVISION, MMDETECTION):
        assert rule(boxes, [4, 8, 16], 56.0, SIZE).tolist() == [2, 1]


def test_an_epsilon_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="epsilon"):
        LevelRule(epsilon=-1.0)
