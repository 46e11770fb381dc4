"""What a RoI's mask should be: each kind of target by hand, and against its peer's steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from scipy import ndimage

from mrcnn.data.transforms import boxes_of
from mrcnn.mask_targets import MaskTargets, MiniMaskTargets, PolygonTargets, mini_masks
from mrcnn.model import MaskRCNN
from mrcnn.paste import Paste
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.seeds import generator
from mrcnn.structures import Targets

FIRST = torch.tensor([0])


def polygon(*corners):
    return torch.tensor(corners, dtype=torch.float64)


def rectangle(x1, y1, x2, y2):
    return polygon((x1, y1), (x2, y1), (x2, y2), (x1, y2))


def target_of(masks, polygons=None, boxes=None):
    n = len(masks)
    boxes = torch.zeros(n, 4) if boxes is None else boxes
    return Targets(boxes, torch.ones(n, dtype=torch.long), masks, polygons=polygons)


def drawn(polygons, size):
    """A target whose bitmaps are its polygons, drawn at the size of the image."""
    height, width = size
    rows = [[p.flatten().tolist() for p in one] for one in polygons]
    masks = [
        coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(r, height, width))) for r in rows
    ]
    return target_of(torch.from_numpy(np.stack(masks)).bool(), polygons)


def test_bitmap_targets_show_the_object_through_the_roi():
    """A left half-plane seen through a RoI that starts at its edge minus a quarter of the RoI."""
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[1, :, :8] = True
    roi = torch.tensor([[4.0, 0, 12, 16]])
    seen = MaskTargets()(target_of(masks), torch.tensor([1]), roi, 8)
    assert seen[0].unique(dim=0).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_soft_targets_keep_the_share_of_a_mask_pixel():
    """Half a pixel further right, the fourth pixel of the mask is half object."""
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, :, :8] = True
    roi = torch.tensor([[4.5, 0, 12.5, 16]])
    hard, soft = (
        MaskTargets(threshold=t)(target_of(masks), FIRST, roi, 8)[0, 0] for t in (0.5, None)
    )
    assert 0 < float(soft[3]) < 1
    assert set(hard.tolist()) == {0.0, 1.0}


def test_targets_without_the_half_pixel_are_shifted():
    """aligned=False, torchvision's: everything is read half a pixel further right and down."""
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, :, :8] = True
    roi = torch.tensor([[0.0, 0, 16, 16]])
    aligned, legacy = (
        MaskTargets(threshold=None, aligned=a)(target_of(masks), FIRST, roi, 16)[0, 0]
        for a in (True, False)
    )
    assert aligned.tolist() == [1.0] * 8 + [0.0] * 8
    assert legacy.tolist() == [1.0] * 7 + [0.5] + [0.0] * 8


def test_a_target_pasted_back_is_the_object():
    """Mask target and paste are each other's inverse up to the mask's resolution."""
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 10:50, 20:44] = True
    masks[0, 20:30, 30:40] = False
    box = torch.tensor([[20.0, 10, 44, 50]])
    back = Paste()(MaskTargets()(target_of(masks), FIRST, box, 28), box, (64, 64))
    union, shared = (back | masks).sum(), (back & masks).sum()
    assert float(shared / union) > 0.95


def test_polygon_targets_by_hand():
    """A square of 4 .. 12 in a RoI of 16 on a grid of 8 is 2 .. 6; a second polygon is added."""
    target = drawn(((rectangle(4, 4, 12, 12), rectangle(14, 0, 16, 16)),), (16, 16))
    seen = PolygonTargets()(target, FIRST, torch.tensor([[0.0, 0, 16, 16]]), 8)
    expected = torch.zeros(8, 8)
    expected[2:6, 2:6] = 1
    expected[:, 7] = 1
    assert torch.equal(seen[0], expected)


def test_polygons_have_no_pixels_and_bitmaps_do():
    """A polygon over a third of a one-pixel RoI fills a third of the mask; its bitmap is empty."""
    target = drawn(((rectangle(4, 4, 4.33, 5),),), (16, 16))
    roi = torch.tensor([[4.0, 4, 5, 5]])
    seen = PolygonTargets()(target, FIRST, roi, 28)
    assert float(seen.mean()) == pytest.approx(9 / 28, abs=0.02)
    assert float(MaskTargets()(target, FIRST, roi, 28).mean()) != pytest.approx(9 / 28, abs=0.02)


def blob(centre, g, radius=20.0, corners=24):
    angles = torch.arange(corners) * (2 * torch.pi / corners)
    reach = radius * (0.6 + 0.4 * torch.rand(corners, generator=g))
    return (centre + reach[:, None] * torch.stack([angles.cos(), angles.sin()], 1)).double()


def detectron2(polygons, box, size):
    """rasterize_polygons_within_box of detectron2, step by step."""
    width, height = box[2] - box[0], box[3] - box[1]
    moved = [(p - torch.tensor([box[0], box[1]])).clone() for p in polygons]
    for p in moved:
        p[:, 0] *= size / max(width, 0.1)
        p[:, 1] *= size / max(height, 0.1)
    rles = coco_mask.frPyObjects([p.flatten().tolist() for p in moved], size, size)
    return torch.from_numpy(coco_mask.decode(coco_mask.merge(rles))).float()


def test_polygon_targets_are_those_of_detectron2_and_close_to_bitmaps():
    g = torch.Generator().manual_seed(0)
    polygons = tuple((blob(torch.rand(2, generator=g) * 40 + 30, g),) for _ in range(8))
    target = drawn(polygons, (100, 100))
    index = torch.arange(8)
    centre = torch.stack([one[0].mean(0) for one in polygons]).float()
    reach = torch.rand(8, 2, generator=g) * 15 + 10
    rois = torch.cat([centre - reach, centre + reach], 1)
    found = PolygonTargets()(target, index, rois, 28)
    theirs = torch.stack([detectron2(polygons[i], rois[i].double().tolist(), 28) for i in range(8)])
    assert torch.equal(found, theirs)
    bitmaps = MaskTargets()(target, index, rois, 28)
    shifted = PolygonTargets()(target, index, rois + 1.0, 28)
    assert float((found != bitmaps).float().mean()) < 0.03
    assert float((found != shifted).float().mean()) > 0.03


def test_least_side_of_a_polygon_target():
    """A RoI of half a pixel, all object: Detectron scales it as a whole pixel, detectron2 not."""
    target = drawn(((rectangle(4, 4, 4.5, 4.5),),), (16, 16))
    roi = torch.tensor([[4.0, 4, 4.5, 4.5]])
    assert float(PolygonTargets()(target, FIRST, roi, 8).mean()) == 1
    detectron = PolygonTargets(least_side=1.0)(target, FIRST, roi, 8)
    assert float(detectron.mean()) == 0.25
    assert float(detectron[0, :4, :4].mean()) == 1


def test_detectron_chooses_the_object_by_the_boxes_of_polygons():
    """Object 0's annotated box is wrong: the RoI matched to it lies on object 1's polygon."""
    target = drawn(((rectangle(0, 0, 6, 6),), (rectangle(8, 8, 16, 16),)), (20, 20))
    roi = torch.tensor([[8.0, 8, 16, 16]])
    matched = PolygonTargets(choose="match")(target, FIRST, roi, 8)
    overlapping = PolygonTargets(choose="overlap")(target, FIRST, roi, 8)
    assert float(matched.mean()) == 0
    assert float(overlapping.mean()) == 1
    assert torch.equal(PolygonTargets(choose="match")(target, FIRST + 1, roi, 8), overlapping)


@pytest.mark.parametrize("choose", ["match", "overlap"])
def test_an_object_without_polygons_is_named(choose):
    target = drawn(((rectangle(0, 0, 6, 6),), (rectangle(8, 8, 16, 16),)), (20, 20))
    roi, targets = torch.tensor([[8.0, 8, 16, 16]]), PolygonTargets(choose=choose)
    lacking = replace(target, polygons=(target.polygons[0], ()))
    with pytest.raises(ValueError, match="object 1 has no polygons"):
        targets(lacking, torch.tensor([1]), roi, 8)
    with pytest.raises(ValueError, match="object 0 has no polygons"):
        targets(replace(target, polygons=None), torch.tensor([0]), roi, 8)


def test_bad_fields_are_refused():
    with pytest.raises(ValueError, match="least_side must be above 0 pixels, got 0"):
        PolygonTargets(least_side=0.0)
    with pytest.raises(ValueError, match="mini_size must be at least 1 or None, got 0"):
        MiniMaskTargets(mini_size=0)


def square(x1, y1, x2, y2):
    masks = torch.zeros(1, 24, 24, dtype=torch.bool)
    masks[0, y1:y2, x1:x2] = True
    return target_of(masks)


def test_mini_mask_targets_by_hand():
    """An object of 8 .. 16 has its corner pixels at 8 and 15. A RoI of 4 .. 20 reads 4 points from
    4 to 19: 4, 9, 14, 19, of which the middle two are inside."""
    seen = MiniMaskTargets()(square(8, 8, 16, 16), FIRST, torch.tensor([[4.0, 4, 20, 20]]), 4)
    assert seen[0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_mini_masks_lose_corners_and_whole_bitmaps_do_not():
    """Enlarging 8 pixels to 56 reads 0.57 at the first, against zeros outside: 0.33 in a corner."""
    roi = torch.tensor([[8.0, 8, 16, 16]])
    mini, whole = (
        MiniMaskTargets(mini_size=size)(square(8, 8, 16, 16), FIRST, roi, 28)[0]
        for size in (56, None)
    )
    assert float(whole.mean()) == 1
    corners = mini[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert float(corners.max()) == 0
    assert float(mini[1:-1].mean()) > 0.95


def test_the_whole_bitmap_ends_where_the_image_does():
    """Without mini-masks a RoI larger than its object still sees what is around it."""
    target = square(8, 8, 16, 16)
    target.masks[0, 20:, :] = True
    roi = torch.tensor([[0.0, 0, 24, 24]])
    whole = MiniMaskTargets(mini_size=None)(target, FIRST, roi, 24)[0]
    assert torch.equal(whole, target.masks[0].float())


def matterport(mask, roi, size, mini=56):
    """minimize_mask, then detection_targets_graph, step by step in float64."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y1, y2, x1, x2 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    cut = mask[y1:y2, x1:x2].astype(float)
    zoom = mini / (y2 - y1), mini / (x2 - x1)
    small = np.around(ndimage.zoom(cut, zoom, order=1, mode="grid-constant", grid_mode=True))
    relative = (
        (roi[1] - y1) / (y2 - 1 - y1),
        (roi[3] - 1 - y1) / (y2 - 1 - y1),
        (roi[0] - x1) / (x2 - 1 - x1),
        (roi[2] - 1 - x1) / (x2 - 1 - x1),
    )
    top, bottom, left, right = (r * (mini - 1) for r in relative)
    places = np.meshgrid(
        np.linspace(top, bottom, size), np.linspace(left, right, size), indexing="ij"
    )
    seen = ndimage.map_coordinates(small, places, order=1, mode="constant")
    inside = (np.minimum(*places) >= 0) & (np.maximum(*places) <= mini - 1)
    return np.around(np.where(inside, seen, 0))


def test_mini_mask_targets_are_matterports():
    """But for pixels whose value is a half up to rounding, or which lie on the very edge."""
    g = torch.Generator().manual_seed(1)
    polygons = tuple((blob(torch.rand(2, generator=g) * 40 + 30, g),) for _ in range(8))
    target = drawn(polygons, (100, 100))
    corner, side = torch.rand(8, 2, generator=g) * 30 + 10, torch.rand(8, 2, generator=g) * 40 + 15
    rois, index = torch.cat([corner, corner + side], 1), torch.arange(8)
    found = MiniMaskTargets()(target, index, rois, 28)
    theirs = np.stack(
        [matterport(target.masks[i].numpy(), rois[i].double().numpy(), 28) for i in range(8)]
    )
    assert theirs.sum() > 1000
    assert (found.numpy() != theirs).mean() < 0.0005
    bitmaps = MaskTargets()(target, index, rois, 28)
    assert (bitmaps.numpy() != theirs).mean() > 0.005


def test_mini_masks_round_an_exact_half_down():
    """Shrinking 112 columns to 56 reads the mean of two: at the edge of the object a half."""
    masks = torch.zeros(1, 112, 112, dtype=torch.bool)
    masks[0, :, :51] = True
    small = mini_masks(masks, torch.tensor([[0.0, 0, 112, 112]]), 56)
    assert small[0, 5].tolist() == [1.0] * 25 + [0.0] * 31
    empty = mini_masks(~masks & masks, torch.zeros(1, 4), 56)
    assert float(empty.sum()) == 0


@pytest.mark.parametrize("targets", [MaskTargets(), PolygonTargets(), MiniMaskTargets()])
def test_no_positives_need_no_targets(targets):
    """Of an image with objects, and of one without any."""
    none, size = torch.zeros(0, dtype=torch.long), (16, 16)
    target = drawn(((rectangle(4, 4, 12, 12),),), size)
    for some in (target, target[none], replace(target, polygons=None)):
        assert targets(some, none, torch.zeros(0, 4), 28).shape == (0, 28, 28)


TARGETS = {
    "bitmap": MaskTargets(),
    "soft": MaskTargets(threshold=None, aligned=False),
    "polygons": PolygonTargets(),
    "overlap": PolygonTargets(least_side=1.0, choose="overlap"),
    "mini-masks": MiniMaskTargets(),
    "whole bitmaps": MiniMaskTargets(mini_size=None),
}


@pytest.mark.parametrize("name", TARGETS)
def test_every_kind_of_target_trains_a_network(name):
    """Each asks for another mask loss, of about the same size; Shapes has no polygons."""
    config = at_scale(R50_FPN, "smoke").model
    polygons = (blob(torch.tensor([30.0, 30]), generator(0)),), (rectangle(40, 8, 60, 40),)
    target = replace(drawn(polygons, (64, 64)), labels=torch.tensor([3, 8]))
    target = replace(target, boxes=boxes_of(target.masks))
    pixels = torch.randint(0, 256, (3, 64, 64), generator=generator(0)).to(torch.uint8)
    losses = {}
    for key in ("bitmap", name):
        model = MaskRCNN(replace(config, mask_targets=TARGETS[key]))
        rois, label = [target.boxes + 1.3], [target.labels]
        pyramid = model.backbone(model.images([pixels]).pixels)
        found = model.roi_losses(pyramid, rois, [torch.arange(2)], label, [target])["mask"]
        found.backward()
        losses[key] = float(found.detach())
    assert (losses[name] == losses["bitmap"]) == (name == "bitmap")
    assert losses[name] == pytest.approx(losses["bitmap"], rel=0.2)
    if isinstance(TARGETS[name], PolygonTargets):
        bare = [replace(target, polygons=None)]
        with pytest.raises(ValueError, match=r"object 0 has no polygons, which mask_targets="):
            model.roi_losses(pyramid, rois, [torch.arange(2)], label, bare)
