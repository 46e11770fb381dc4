"""Box coding and the rest of the box functions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kernels
from mrcnn import boxes as functions
from mrcnn.boxes import BOX_HEAD_CODER, BoxCoder, area, clip, corners, inside, large_enough
from tests.strategies import boxes

CODERS = st.sampled_from([BoxCoder(), BOX_HEAD_CODER, BoxCoder(growth_limit="none")])


@given(a=boxes(least=1), coder=CODERS, seed=st.integers(0, 99))
def test_decode_undoes_encode(a, coder, seed):
    b = a[torch.randperm(len(a), generator=torch.Generator().manual_seed(seed))]
    torch.testing.assert_close(coder.decode(coder.encode(a, b), b), a, rtol=0, atol=1e-3)


def test_encode_by_hand():
    """Girshick et al. 2014, appendix C: a 10 x 20 anchor at (5, 10), a 20 x 20 box at (15, 15)."""
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 5, 25, 25]])
    expected = torch.tensor([[1.0, 0.25, math.log(2), 0.0]])
    torch.testing.assert_close(BoxCoder().encode(box, anchor), expected)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1.0, 1.0, 1.0, 1.0), [1.0, 0.25, math.log(2), 0.0]),
        ((10.0, 10.0, 5.0, 5.0), [10.0, 2.5, 5 * math.log(2), 0.0]),
    ],
)
def test_coder_weights(weights, expected):
    """Fast R-CNN's targets of unit variance: ten times dx and dy, five times dw and dh."""
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 5, 25, 25]])
    coder = BoxCoder(weights=weights)
    torch.testing.assert_close(coder.encode(box, anchor), torch.tensor([expected]))
    torch.testing.assert_close(coder.decode(torch.tensor([expected]), anchor), box)


@pytest.mark.parametrize(
    ("limit", "width", "height"),
    [
        ("above", 1000, 16 * math.exp(-12)),  # Detectron, detectron2, torchvision
        ("both", 1000, 16 * 16 / 1000),  # mmdetection
        ("none", 16 * math.exp(12), 16 * math.exp(-12)),  # Matterport, the papers
    ],
)
def test_growth_limit(limit, width, height):
    """A 16 px anchor with dw = 12 and dh = -12: never wider than 1000 px, or not so."""
    anchor, deltas = torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 12, -12]])
    box = BoxCoder(growth_limit=limit).decode(deltas, anchor).double()[0]
    assert float(box[2] - box[0]) == pytest.approx(width, rel=1e-5)
    assert float(box[3] - box[1]) == pytest.approx(height, abs=2e-6)


def test_one_delta_per_class_gives_one_box_per_class():
    anchors, deltas = torch.rand(5, 4) + torch.tensor([0, 0, 2.0, 2]), torch.randn(5, 3, 4)
    every = BoxCoder().decode(deltas, anchors)
    torch.testing.assert_close(every[:, 1], BoxCoder().decode(deltas[:, 1], anchors))


@pytest.mark.parametrize("bad", [dict(weights=(1.0, 1.0, 0.0, 1.0))])
def test_a_coder_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match="weights"):
        BoxCoder(**bad)


@given(a=boxes(), height=st.integers(1, 100), width=st.integers(1, 100))
def test_clipping_stays_inside_and_is_idempotent(a, height, width):
    found = clip(a, (height, width))
    assert bool(((found >= 0) & (found <= torch.tensor([width, height] * 2))).all())
    assert torch.equal(clip(found, (height, width)), found)
    assert bool((area(found) <= area(a) + 1e-3).all())


def test_empty_boxes_are_never_large_enough():
    some = torch.tensor([[0.0, 0, 0, 5], [3, 3, 2, 9], [0, 0, 1, 1]])
    assert large_enough(some).tolist() == [False, False, True]
    assert large_enough(some, 1.0).tolist() == [False, False, True]
    assert large_enough(some, 1.5).tolist() == [False, False, False]


# The convention "inclusive", in Detectron's own terms: corners are pixels, width = x2 - x1 + 1


def inclusive_encode(box, anchor):
    """R-CNN's targets with + 1 in both widths, one box at a time."""
    w, h = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
    bw, bh = box[2] - box[0] + 1, box[3] - box[1] + 1
    dx = (box[0] + bw / 2 - anchor[0] - w / 2) / w
    dy = (box[1] + bh / 2 - anchor[1] - h / 2) / h
    return [dx, dy, math.log(bw / w), math.log(bh / h)]


def inclusive_decode(deltas, anchor):
    w, h = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
    x, y = anchor[0] + w / 2 + deltas[0] * w, anchor[1] + h / 2 + deltas[1] * h
    bw, bh = math.exp(deltas[2]) * w, math.exp(deltas[3]) * h
    return [x - bw / 2, y - bh / 2, x + bw / 2 - 1, y + bh / 2 - 1]


def inclusive_iou(a, b):
    def size(box):
        return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)

    shared = [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]
    return size(shared) / (size(a) + size(b) - size(shared))


@given(a=boxes(least=1), seed=st.integers(0, 99))
def test_inclusive_formulas_are_the_continuous_ones_one_pixel_on(a, seed):
    """With a + 1 on (x1, y1, x2 - 1, y2 - 1) and without on (x1, y1, x2, y2): the same numbers."""
    b = a[torch.randperm(len(a), generator=torch.Generator().manual_seed(seed))]
    first, second = corners(a, "inclusive").tolist(), corners(b, "inclusive").tolist()
    pairs = list(zip(first, second, strict=True))
    deltas = BoxCoder().encode(a, b)
    by_hand = torch.tensor([inclusive_encode(*pair) for pair in pairs])
    torch.testing.assert_close(deltas, by_hand, rtol=1e-4, atol=1e-4)
    decoded = corners(BoxCoder().decode(deltas, b), "inclusive")
    by_hand = [inclusive_decode(*pair) for pair in zip(deltas.tolist(), second, strict=True)]
    torch.testing.assert_close(decoded, torch.tensor(by_hand), rtol=1e-4, atol=1e-3)
    overlap = kernels.box_iou(a, b).diagonal()
    by_hand = torch.tensor([inclusive_iou(*pair) for pair in pairs])
    torch.testing.assert_close(overlap, by_hand, rtol=1e-4, atol=1e-4)


def test_inclusive_formulas_on_the_same_numbers_differ():
    """What would happen without the pixel: the laws above can fail."""
    a, b = [0.0, 0, 9, 9], [5.0, 5, 14, 14]
    assert inclusive_iou(a, b) == pytest.approx(25 / 175)
    found = float(kernels.box_iou(torch.tensor([a]), torch.tensor([b])))
    assert found == pytest.approx(16 / 146)
    assert inclusive_encode(b, a)[0] == pytest.approx(0.5)
    found = BoxCoder().encode(torch.tensor([b]), torch.tensor([a]))[0, 0]
    assert float(found) == pytest.approx(5 / 9)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("continuous", [[0, 0, 8, 6], [8, 2, 8, 4], [0, 0, 0, 0]]),
        ("inclusive", [[0, 0, 8, 6], [7, 2, 8, 4], [0, 0, 1, 1]]),
    ],
)
def test_box_convention_in_clipping(convention, expected):
    """In 8 x 6 pixels, corners go to 0 .. 8 and 0 .. 6, or, as pixels, to 0 .. 7 and 0 .. 5."""
    some = torch.tensor([[-3.0, -1, 20, 9], [9.0, 2, 12, 4], [-9.0, -9, -5, -5]])
    found = clip(some, (6, 8), convention)
    assert found.tolist() == expected
    pixels = (corners(some, "inclusive").clamp(min=0)).minimum(torch.tensor([7.0, 5, 7, 5]))
    assert (corners(found, "inclusive").tolist() == pixels.tolist()) == (convention == "inclusive")


@pytest.mark.parametrize(
    ("margin", "convention", "expected"),
    [
        (0.0, "continuous", [True, False, False, False]),
        (0.0, "inclusive", [True, True, False, False]),
        (2.0, "continuous", [True, True, True, False]),
        (2.0, "inclusive", [True, True, True, True]),
    ],
)
def test_inside_by_hand(margin, convention, expected):
    """In 8 x 6: well inside, on the far edge, 1 px over it, and 2 px over it."""
    some = torch.tensor([[0.0, 0, 7, 5], [2, 2, 8, 6], [-2, 0, 9, 5], [1, 1, 10, 4]])
    assert inside(some, (6, 8), margin, convention).tolist() == expected


def test_a_plus_one_in_the_width_is_seen(monkeypatch):
    honest = functions.sides
    monkeypatch.setattr(functions, "sides", lambda b: tuple(s + 1 for s in honest(b)))
    with pytest.raises(AssertionError):
        test_encode_by_hand()
