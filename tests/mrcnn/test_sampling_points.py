"""What is drawn is what is read: a plane at a bin's points, reduced, is what the layer returns."""

from dataclasses import replace

import pytest
import torch

from mrcnn.config import ModelConfig, Trial
from mrcnn.model import MaskRCNN
from mrcnn.presets import at_scale
from mrcnn.roi_ops import CropAndResize, JitteredRoIAlign, RoIAlign, RoIPool, RoIWarp
from mrcnn.sampling_points import reading, roi_grid
from mrcnn.spec import vary
from mrcnn.structures import Targets
from mrcnn.views import view

HEIGHT, WIDTH, STRIDE, BINS = 24, 30, 4, 5
OPS = {
    "align": RoIAlign(),
    "align, one": RoIAlign(sampling_ratio=1),
    "align, max": RoIAlign(sampling_ratio=3, reduce="max"),
    "adaptive": RoIAlign(sampling_ratio="adaptive"),
    "legacy": RoIAlign(aligned=False),
    "pool": RoIPool(),
    "warp": RoIWarp(),
    "warp, max": RoIWarp(reduce="max"),
    "warp, plain": RoIWarp(box="plain"),
    "warp, mnc": RoIWarp(sampling="mnc"),
    "jittered": JitteredRoIAlign(points=3),
    "jittered legacy": JitteredRoIAlign(points=2, aligned=False, reduce="max"),
    "crop": CropAndResize(),
}
BOX = torch.tensor([13.3, 17.9, 88.2, 61.7], dtype=torch.float64)


def plane(x, y):
    """A function of feature cells; a feature lies at the centre of its cell."""
    return 2 + 0.5 * x - 0.25 * y


def by_layer(op, box):
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    rois = torch.cat([box.new_zeros(1), box])[None]
    layer = op.drawn([1], BINS, None) if isinstance(op, JitteredRoIAlign) else op
    maps = plane(x, y)[None, None].double()
    return layer(maps, rois, output_size=BINS, spatial_scale=1 / STRIDE)[0, 0]


def by_points(op, box):
    found = reading(op, box, output_size=BINS, spatial_scale=1 / STRIDE, size=(HEIGHT, WIDTH))
    reduce = max if isinstance(op, RoIPool) or getattr(op, "reduce", "") == "max" else mean
    bins = [
        [reduce([plane(x, y) for x, y in found.points(i, j)]) for j in range(BINS)]
        for i in range(BINS)
    ]
    return torch.tensor(bins, dtype=torch.float64)


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
@pytest.mark.parametrize("shift", [0.0, 1.45, 2.0])
def test_a_plane_at_the_points_is_what_the_layer_reads(op, shift):
    torch.testing.assert_close(
        by_points(op, BOX + shift), by_layer(op, BOX + shift), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("drawn", "read"),
    [("align", "legacy"), ("pool", "warp, max"), ("warp", "warp, plain"), ("warp", "align")],
)
def test_the_points_of_another_layer_are_caught(drawn, read):
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            by_points(OPS[drawn], BOX), by_layer(OPS[read], BOX), rtol=0, atol=1e-3
        )


def test_rounding_by_hand():
    """9 .. 23 at stride 8 is 1.125 .. 2.875 cells: pooled as cells 1 to 3, aligned as it is."""
    box = torch.tensor([9.0, 9.0, 23.0, 23.0])
    options = {"output_size": 1, "spatial_scale": 1 / 8, "size": (8, 8)}
    pooled = reading(RoIPool(), box, **options)
    assert pooled.columns == ((1.0, 4.0),)
    assert pooled.x == ((1.5, 2.5, 3.5),)
    assert reading(RoIAlign(), box, **options).columns == ((1.125, 2.875),)
    assert reading(RoIAlign(sampling_ratio=1), box, **options).x == ((2.0,),)


def test_a_pooled_box_beyond_the_map_keeps_its_bins_and_reads_what_there_is():
    """9 .. 23 at stride 8 is pooled as cells 1 to 3, of which this map has the first two."""
    box = torch.tensor([9.0, 9.0, 23.0, 23.0])
    found = reading(RoIPool(), box, output_size=3, spatial_scale=1 / 8, size=(3, 3))
    assert found.columns == ((1.0, 2.0), (2.0, 3.0), (3.0, 4.0))
    assert found.x == ((1.5,), (2.5,), ())


@pytest.mark.parametrize("bins", [2, 5])
def test_pooled_bins_hold_their_cells(bins):
    found = reading(RoIPool(), BOX, output_size=bins, spatial_scale=0.25, size=(HEIGHT, WIDTH))
    for (low, high), cells in zip(found.columns, found.x, strict=True):
        assert (low, high) == (cells[0] - 0.5, cells[-1] + 0.5)


def a_model(roi_op):
    trial = vary(at_scale(Trial(model=ModelConfig()), "smoke"), "model.roi_op", roi_op)
    return MaskRCNN(trial.model)


def objects(*boxes):
    boxes = torch.tensor(boxes).reshape(-1, 4)
    return Targets(
        boxes, torch.ones(len(boxes), dtype=torch.long), torch.ones(len(boxes), 64, 96).bool()
    )


def test_the_grid_of_an_image_is_in_its_own_pixels():
    """Padded and half as large in the view: columns end where the box does all the same."""
    image = torch.zeros(3, 64, 96)
    targets = objects([10.0, 12.0, 50.0, 60.0], [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 96.0, 64.0])
    seen = replace(view(image, ()), image=torch.zeros(3, 40, 60), frame=(8.0, 4.0, 56.0, 36.0))
    grid = roi_grid(a_model(RoIAlign()), targets, seen)
    assert grid["object"] == 0
    assert [grid["columns"][0][0], grid["columns"][-1][1]] == [10.0, 50.0]
    assert [grid["rows"][0][0], grid["rows"][-1][1]] == [12.0, 60.0]
    assert grid["origin"] == [-16.0, -8.0]
    assert grid["stride"][0] == grid["stride"][1]
    assert len(grid["x"]) == len(grid["columns"]) == 14
    assert all(10 < x < 50 for points in grid["x"] for x in points)


def test_drawn_points_are_listed_and_no_objects_give_no_grid():
    seen = view(torch.zeros(3, 64, 96), ())
    grid = roi_grid(a_model(JitteredRoIAlign(points=2)), objects([10.0, 12.0, 50.0, 60.0]), seen)
    assert len(grid["points"]) == 14 * 14 * 2
    assert "x" not in grid
    assert roi_grid(a_model(RoIPool()), objects(), seen) is None
