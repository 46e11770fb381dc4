"""Each paste method on a case computed by hand, and against its peer's steps written out."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from mrcnn.paste import Paste

ONES = torch.ones(1, 2, 2)
BOX = torch.tensor([[2.0, 2, 6, 6]])


def square(first, last, side=10):
    """Pixels first .. last of both axes."""
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, first : last + 1, first : last + 1] = True
    return mask


def without_corners(mask):
    rows, columns = mask[0].any(1).nonzero()[:, 0], mask[0].any(0).nonzero()[:, 0]
    mask = mask.clone()
    for y in (rows[0], rows[-1]):
        for x in (columns[0], columns[-1]):
            mask[0, y, x] = False
    return mask


def test_exact_by_hand():
    """Pixel 2 reads the mask at 0.5 / 4 * 2 - 0.5 = -0.25: 0.75, and 0.5625 in the corner."""
    assert torch.equal(Paste(method="exact")(ONES, BOX, (10, 10)), square(2, 5))
    high = Paste(method="exact", threshold=0.6)(ONES, BOX, (10, 10))
    assert torch.equal(high, without_corners(square(2, 5)))


def test_grown_by_hand():
    """Sides 4 (2 + 2) / 2 = 8 about 4: 0 to 8, nine pixels, of which 2 and 6 read 0.61."""
    expected = without_corners(square(2, 6))
    assert torch.equal(Paste(method="grown")(ONES, BOX, (10, 10)), expected)


def test_inclusive_by_hand():
    """The last pixel is 5: sides 3 (2 + 2) / 2 about 3.5 are 0.5 to 6.5, cut to 0 .. 6; 2 reads
    2.5 * 4 / 7 - 0.5 = 0.93, and 1 reads 0.36."""
    assert torch.equal(Paste(method="inclusive")(ONES, BOX, (10, 10)), square(2, 4))


def test_inclusive_sets_a_pixel_above_the_threshold_and_grown_at_it():
    """Pixel 4 of 3 .. 5 is the centre of a mask of a single half."""
    half, corners = torch.full((1, 1, 1), 0.5), torch.tensor([[4.1, 4.1, 4.9, 4.9]])
    continuous = corners + torch.tensor([0.0, 0, 1, 1])
    assert torch.equal(Paste(method="grown")(half, corners, (10, 10)), square(4, 4))
    assert not Paste(method="inclusive")(half, continuous, (10, 10)).any()
    assert torch.equal(Paste(method="inclusive")(half + 1e-6, continuous, (10, 10)), square(4, 4))


def test_whole_by_hand():
    """1.5 rounds to 2 (halves to even), 5.4 to 5; pixel 2 reads 0.5 * 2 / 3 - 0.5: 0.83."""
    box = torch.tensor([[1.5, 1.6, 5.4, 5.4]])
    assert torch.equal(Paste(method="whole")(ONES, box, (10, 10)), square(2, 4))
    exact = Paste(method="exact")(ONES, box, (10, 10))
    assert not torch.equal(exact, square(2, 4))
    low = Paste(method="whole", threshold=0.05)(ONES, box, (10, 10))
    assert torch.equal(low, square(2, 4))  # nothing outside the box, whatever the threshold


def cases(n=40, m=7):
    g = torch.Generator().manual_seed(0)
    corner, side = torch.rand(n, 2, generator=g) * 30, torch.rand(n, 2, generator=g) * 20 + 1
    boxes = torch.cat([corner, corner + side], 1)
    return torch.rand(n, m, m, generator=g), boxes.clamp(0, 40)


def detectron(mask, box, size):
    """segm_results of Detectron's core/test.py, step by step, its box x2 - 1, y2 - 1."""
    m = len(mask)
    x1, y1, x2, y2 = box[0], box[1], box[2] - 1, box[3] - 1
    half, centre = (x2 - x1) * 0.5 * (m + 2) / m, (x2 + x1) * 0.5
    left, right = int(centre - half), int(centre + half)
    half, centre = (y2 - y1) * 0.5 * (m + 2) / m, (y2 + y1) * 0.5
    top, bottom = int(centre - half), int(centre + half)
    width, height = max(right - left + 1, 1), max(bottom - top + 1, 1)
    padded = F.pad(mask, (1, 1, 1, 1))[None, None]
    drawn = F.interpolate(padded, (height, width), mode="bilinear", align_corners=False)[0, 0] > 0.5
    canvas = torch.zeros(size, dtype=torch.bool)
    x0, x3, y0, y3 = max(left, 0), min(right + 1, size[1]), max(top, 0), min(bottom + 1, size[0])
    canvas[y0:y3, x0:x3] = drawn[y0 - top : y3 - top, x0 - left : x3 - left]
    return canvas


def matterport(mask, box, size):
    """unmold_mask of Matterport's utils.py; skimage resizes by this function of scipy."""
    x1, y1, x2, y2 = (int(x) for x in np.around(box.numpy()))
    canvas = torch.zeros(size, dtype=torch.bool)
    if x2 > x1 and y2 > y1:
        zoom = ((y2 - y1) / len(mask), (x2 - x1) / len(mask))
        drawn = ndimage.zoom(
            mask.double().numpy(), zoom, order=1, mode="grid-constant", grid_mode=True
        )
        canvas[y1:y2, x1:x2] = torch.from_numpy(drawn >= 0.5)
    return canvas


PEERS = {"inclusive": detectron, "whole": matterport}


@pytest.mark.parametrize("method", PEERS)
def test_peers_steps_give_the_same_bitmaps(method):
    """At most one pixel in 1,000 may differ, where a value is a half but for rounding."""
    masks, boxes = cases()
    found = Paste(method=method)(masks, boxes, (40, 40))
    theirs = torch.stack([PEERS[method](m, b, (40, 40)) for m, b in zip(masks, boxes, strict=True)])
    assert int((found ^ theirs).sum()) <= int(theirs.sum()) / 1000
    for other in {"exact", "grown", "inclusive", "whole"} - {method}:
        wrong = Paste(method=other)(masks, boxes, (40, 40))
        assert int((wrong ^ theirs).sum()) > int(theirs.sum()) / 50


def test_what_grown_adds_to_exact():
    """A full mask in 10.6 .. 30.6: exact sets the centres inside, 11.5 to 30.5; grown one more."""
    mask, box = torch.ones(1, 28, 28), torch.tensor([[10.6, 10.6, 30.6, 30.6]])
    exact, grown = (Paste(method=m)(mask, box, (40, 40))[0] for m in ("exact", "grown"))
    assert [int(exact[20].nonzero()[i]) for i in (0, -1)] == [11, 30]
    assert [int(grown[20].nonzero()[i]) for i in (0, -1)] == [10, 30]
    assert int((grown & ~exact).sum()) > 35
    assert not (exact & ~grown).any()


def test_where_each_method_puts_the_edges_of_a_mask():
    """Over many boxes: exact and whole on them, grown half a pixel outside them on all sides,
    inclusive half a pixel up and to the left."""
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(500, 2, generator=g) * 20 + 20
    boxes = torch.cat([corner, corner + torch.rand(500, 2, generator=g) * 25 + 10], 1)
    expected = {"exact": (0, 0), "whole": (0, 0), "grown": (-0.5, 0.5), "inclusive": (-0.5, -0.5)}
    for method, edges in expected.items():
        found = Paste(method=method)(torch.ones(500, 28, 28), boxes, (80, 80)).any(1).int()
        left, right = found.argmax(1) - boxes[:, 0], 80 - found.flip(1).argmax(1) - boxes[:, 2]
        assert float(left.mean()) == pytest.approx(edges[0], abs=0.12)
        assert float(right.mean()) == pytest.approx(edges[1], abs=0.12)


@pytest.mark.parametrize("method", ["exact", "grown", "inclusive", "whole"])
def test_no_masks_and_boxes_without_area(method):
    """Peers that round to pixels draw one at least, but for Matterport, which drops such boxes."""
    paste = Paste(method=method)
    assert paste(ONES[:0], BOX[:0], (5, 6)).shape == (0, 5, 6)
    flat = paste(ONES, torch.tensor([[2.0, 2, 2, 2]]), (5, 6))
    assert bool(flat.any()) == (method in ("grown", "inclusive"))
