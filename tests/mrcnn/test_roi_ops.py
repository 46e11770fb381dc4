"""RoI layers as values: drawn points, corner grids, and how a pyramid's levels are put together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mrcnn.levels import LevelRule
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.roi_ops import (
    CropAndResize,
    JitteredRoIAlign,
    PlacedRoIAlign,
    RoIAlign,
    RoIPool,
    RoIWarp,
    as_rois,
    roi_features,
)
from mrcnn.seeds import generator
from mrcnn.structures import Pyramid
from tests.mrcnn.test_model import a_batch

SIZE = 5


def features(n=2, c=3, h=16, w=20, seed=0):
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(seed))


def rois(k=12, seed=1):
    """Some reach beyond the map of 64 x 80 px, one is empty."""
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(k, 2, generator=g) * torch.tensor([70.0, 50.0]) - 8
    boxes = torch.cat([corner, corner + torch.rand(k, 2, generator=g) * 40], 1)
    boxes[0, 2:] = boxes[0, :2]
    return torch.cat([torch.arange(k)[:, None] % 2, boxes], 1)


def regular(k, ratio):
    """The places of RoIAlign's own points, the same in every bin."""
    at = (torch.arange(ratio) + 0.5) / ratio
    places = torch.cartesian_prod(at, at)[None, :, :, None, None]
    return places.expand(k, -1, -1, SIZE, SIZE)


def pooled(op, maps=None, boxes=None, scale=0.25):
    maps, boxes = features() if maps is None else maps, rois() if boxes is None else boxes
    return op(maps, boxes, output_size=SIZE, spatial_scale=scale)


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_at_regular_places_it_is_roi_align(ratio, aligned, reduce):
    """JitteredRoIAlign: with RoIAlign's points in place of drawn ones, features and gradients."""
    placed = PlacedRoIAlign(regular(12, ratio), reduce, aligned)
    align = RoIAlign(sampling_ratio=ratio, reduce=reduce, aligned=aligned)
    found, expected = [], []
    for op, to in ((placed, found), (align, expected)):
        maps = features().requires_grad_()
        out = pooled(op, maps)
        (out * torch.linspace(0, 1, out.numel()).view_as(out)).sum().backward()
        to += [out.detach(), maps.grad]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_drawn_places_are_not_regular_and_lie_in_their_bins():
    drawn = JitteredRoIAlign(points=4).drawn([12], SIZE, [generator(0)])
    assert drawn.places.shape == (12, 4, 2, SIZE, SIZE)
    assert 0 <= float(drawn.places.min()) < 0.05
    assert 0.95 < float(drawn.places.max()) < 1
    align = RoIAlign(sampling_ratio=2)
    assert not torch.allclose(pooled(drawn), pooled(align), atol=0.1)


def plane(height=16, width=20):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (3 * y - 2 * x + 1.0)[None, None]


def test_on_a_plane_a_bin_is_the_plane_at_the_mean_of_its_points():
    """Inside the map; and over many points that mean is the bin's centre, where RoIAlign is."""
    boxes = torch.tensor([[0.0, 10.0, 8, 50, 44]])
    few = JitteredRoIAlign(points=3).drawn([1], SIZE, [generator(2)])
    y, x = few.places.mean(1)[0]
    index = torch.arange(SIZE)
    y = 8 / 4 - 0.5 + (index[:, None] + y) * (36 / 4 / SIZE)
    x = 10 / 4 - 0.5 + (index[None] + x) * (40 / 4 / SIZE)
    found = pooled(few, plane(), boxes)[0, 0]
    torch.testing.assert_close(found, 3 * y - 2 * x + 1, rtol=0, atol=1e-4)
    many = JitteredRoIAlign(points=400).drawn([1], SIZE, [generator(2)])
    centre = pooled(RoIAlign(sampling_ratio=1), plane(), boxes)
    torch.testing.assert_close(pooled(many, plane(), boxes), centre, rtol=0, atol=0.35)
    assert float((pooled(few, plane(), boxes) - centre).abs().max()) > 0.7


def pyramid(generators=None):
    maps = tuple(features(2, 3, 64 // s, 80 // s, seed=s) for s in (4, 8, 16))
    return Pyramid(maps, (4, 8, 16), 3, (64, 80), generators)


def boxes():
    found = rois()[:, 1:]
    found[3, 2:] = found[3, :2] + 60
    return [found[:5], found[5:]]


def from_pyramid(op, generators=None, rule=LevelRule(), side=32.0):  # noqa: B008
    return roi_features(pyramid(generators), boxes(), op, SIZE, side, rule)


@pytest.mark.parametrize(
    "op", [RoIPool(), RoIWarp(), RoIAlign(), CropAndResize(), JitteredRoIAlign()], ids=repr
)
def test_each_roi_is_read_from_its_own_level_in_order(op):
    """Every layer: the whole equals each RoI alone on its level's map."""
    found = from_pyramid(op)
    every = as_rois(boxes())
    levels = LevelRule()(every[:, 1:], [4, 8, 16], 32.0, (64, 80))
    assert set(levels.tolist()) == {0, 1, 2}
    layer = op.drawn([5, 7], SIZE, None) if isinstance(op, JitteredRoIAlign) else op
    for row, level in enumerate(levels.tolist()):
        one = layer
        if isinstance(op, JitteredRoIAlign):
            one = replace(layer, places=layer.places[row : row + 1])
        scale = 1 / (4, 8, 16)[level]
        alone = pooled(one, pyramid().maps[level], every[row : row + 1], scale)
        torch.testing.assert_close(found[row : row + 1], alone, rtol=1e-5, atol=1e-5)


def test_the_level_rule_reaches_the_features():
    """FPN.levels: another rule reads other levels."""
    nearest = from_pyramid(RoIAlign(), rule=LevelRule(rounding="nearest"))
    assert not torch.equal(nearest, from_pyramid(RoIAlign()))


def test_points_are_drawn_by_image():
    """Training draws from each image's generator; predicting from the seed, the same each time."""
    op = JitteredRoIAlign()
    one = from_pyramid(op, [generator(1), generator(2)])
    two = from_pyramid(op, [generator(1), generator(3)])
    assert torch.equal(one[:5], two[:5])
    assert not torch.equal(one[5:], two[5:])
    assert torch.equal(from_pyramid(op), from_pyramid(op))
    assert not torch.equal(from_pyramid(op), from_pyramid(replace(op, seed=1)))


def test_a_network_with_drawn_points_trains_and_repeats_its_predictions():
    model = MaskRCNN(replace(at_scale(R50_FPN, "smoke").model, roi_op=JitteredRoIAlign()))
    images, targets = a_batch(model)

    def total(*seeds):
        return sum(model.losses(images, targets, [generator(s) for s in seeds]).values())

    assert torch.equal(total(1, 2), total(1, 2))
    assert not torch.equal(total(1, 2), total(1, 3))
    total(1, 2).backward()
    assert float(model.backbone.outputs[0].weight.grad.abs().max()) > 0
    model.eval()
    once, again = model.predict(images), model.predict(images)
    assert torch.equal(once[0].boxes, again[0].boxes)
    assert torch.equal(once[0].mask_probabilities, again[0].mask_probabilities)


def matterports_samples(plane, box, height, width):
    """Its normalised box, then TensorFlow's grid, written out with numpy."""
    x1, y1, x2, y2 = box
    ends_y = np.array([y1, y2 - 1]) / (height - 1) * (plane.shape[0] - 1)
    ends_x = np.array([x1, x2 - 1]) / (width - 1) * (plane.shape[1] - 1)
    rows, columns = np.linspace(*ends_y, SIZE), np.linspace(*ends_x, SIZE)
    out = np.zeros((SIZE, SIZE))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            top, left = int(y), int(x)
            below, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
            upper = plane[top, left] * (left + 1 - x) + plane[top, right] * (x - left)
            lower = plane[below, left] * (left + 1 - x) + plane[below, right] * (x - left)
            out[i, j] = upper * (top + 1 - y) + lower * (y - top)
    return out


def test_crop_and_resize_reads_the_corners():
    """roi_op CropAndResize: Matterport's, from its own coordinates; RoIAlign is another."""
    box, maps = [9.0, 6, 71, 55], features()
    found = pooled(CropAndResize(), maps, torch.tensor([[1.0, *box]]))[0, 2]
    expected = matterports_samples(maps[1, 2].numpy().astype(float), box, 64, 80)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    align = pooled(RoIAlign(sampling_ratio=1), maps, torch.tensor([[1.0, *box]]))[0, 2]
    assert not np.allclose(align.numpy(), expected, atol=0.1)


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="points"):
        JitteredRoIAlign(points=0)
