"""Box coding and the rest of the box functions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrcnn import boxes as functions
from mrcnn.boxes import area, clip, decode, encode, large_enough
from tests.strategies import boxes

WEIGHTS = st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])


@given(a=boxes(least=1), weights=WEIGHTS, seed=st.integers(0, 99))
def test_decode_undoes_encode(a, weights, seed):
    b = a[torch.randperm(len(a), generator=torch.Generator().manual_seed(seed))]
    torch.testing.assert_close(decode(encode(a, b, weights), b, weights), a, rtol=0, atol=1e-3)


def test_encode_by_hand():
    """Girshick et al. 2014, appendix C: a 10 x 20 anchor at (5, 10), a 20 x 20 box at (15, 15)."""
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 5, 25, 25]])
    expected = torch.tensor([[1.0, 0.25, 2.0, 1.0]]).log()
    expected[0, :2] = torch.tensor([1.0, 0.25])
    torch.testing.assert_close(encode(box, anchor), expected)


def test_growth_is_clamped_from_above_only():
    anchor, deltas = torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 99, -99]])
    box = decode(deltas, anchor)[0]
    assert float(box[2] - box[0]) == pytest.approx(1000, rel=1e-5)
    assert float(box[3] - box[1]) == pytest.approx(0, abs=1e-6)


def test_one_delta_per_class_gives_one_box_per_class():
    anchors, deltas = torch.rand(5, 4) + torch.tensor([0, 0, 2.0, 2]), torch.randn(5, 3, 4)
    every = decode(deltas, anchors)
    torch.testing.assert_close(every[:, 1], decode(deltas[:, 1], anchors))


@given(a=boxes(), height=st.integers(1, 100), width=st.integers(1, 100))
def test_clipping_stays_inside_and_is_idempotent(a, height, width):
    inside = clip(a, (height, width))
    assert bool(((inside >= 0) & (inside <= torch.tensor([width, height] * 2))).all())
    assert torch.equal(clip(inside, (height, width)), inside)
    assert bool((area(inside) <= area(a) + 1e-3).all())


def test_empty_boxes_are_never_large_enough():
    some = torch.tensor([[0.0, 0, 0, 5], [3, 3, 2, 9], [0, 0, 1, 1]])
    assert large_enough(some).tolist() == [False, False, True]
    assert large_enough(some, 1.0).tolist() == [False, False, True]
    assert large_enough(some, 1.5).tolist() == [False, False, False]


def test_a_plus_one_in_the_width_is_seen(monkeypatch):
    honest = functions.sides
    monkeypatch.setattr(functions, "sides", lambda b: tuple(s + 1 for s in honest(b)))
    with pytest.raises(AssertionError):
        test_encode_by_hand()
