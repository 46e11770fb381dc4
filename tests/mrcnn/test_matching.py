"""Matching and sampling."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrcnn.matching import IGNORE, Matching, sample
from mrcnn.seeds import generator

RPN = Matching(positive=0.7, negative=0.3, keep_best=True)


def test_thresholds_by_hand():
    iou = torch.tensor([[0.9, 0.7, 0.5, 0.3, 0.1]])
    match = Matching(positive=0.7, negative=0.3)(iou)
    assert match.state.tolist() == [1, 1, IGNORE, IGNORE, 0]


def test_an_object_nobody_overlaps_well_claims_its_best_anchors():
    """The second object's best is 0.2, reached by two anchors: both become positives."""
    iou = torch.tensor([[0.8, 0.1, 0.1, 0.0], [0.0, 0.2, 0.2, 0.1]])
    assert RPN(iou).state.tolist() == [1, 1, 1, 0]
    assert RPN(iou).index[:3].tolist() == [0, 1, 1]
    assert Matching(positive=0.7, negative=0.3)(iou).state.tolist() == [1, 0, 0, 0]


def test_without_objects_everything_is_background():
    match = RPN(torch.zeros(0, 5))
    assert match.state.tolist() == [0] * 5


@given(
    positives=st.integers(0, 20),
    negatives=st.integers(0, 20),
    count=st.integers(1, 16),
    fraction=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_sampling_counts(positives, negatives, count, fraction):
    state = torch.tensor([1] * positives + [0] * negatives + [IGNORE] * 3, dtype=torch.long)
    p, n = sample(state, count, fraction, generator(0))
    assert len(p) == min(positives, int(count * fraction))
    assert len(n) == min(negatives, count - len(p))
    assert bool((state[p] == 1).all())
    assert bool((state[n] == 0).all())
    assert len(p.unique()) == len(p)
    assert len(n.unique()) == len(n)


def test_sampling_is_even_and_depends_on_the_generator_alone():
    state = torch.ones(10, dtype=torch.long)
    counts = torch.zeros(10)
    for seed in range(600):
        counts[sample(state, 4, 0.5, generator(seed))[0]] += 1
    assert float((counts / 600 - 0.2).abs().max()) < 0.06  # 3.7 standard deviations
    again = [sample(state, 4, 1.0, generator(7))[0].tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_thresholds_must_be_in_order():
    with pytest.raises(ValueError, match="negative <= positive"):
        Matching(positive=0.3, negative=0.5)


def test_an_object_overlapped_too_little_may_claim_nothing():
    """mmdetection's min_pos_iou: of two objects, with best overlaps 0.25 and 0.5, one claims."""
    iou = torch.tensor([[0.25, 0.1, 0.0], [0.0, 0.1, 0.5]])
    match = Matching(positive=0.7, negative=0.3, keep_best=True)
    assert match(iou).state.tolist() == [1, 0, 1]
    assert replace(match, least_best=0.3)(iou).state.tolist() == [0, 0, 1]


@pytest.mark.parametrize(("claimed_by", "index"), [("best", [0, 0]), ("claimer", [1, 0])])
def test_whom_a_claimed_box_answers_for(claimed_by, index):
    """Box 0 overlaps object 0 by 0.9 and is the best of object 1, by 0.8; object 0 has box 1."""
    iou = torch.tensor([[0.9, 0.95], [0.8, 0.1]])
    match = Matching(positive=0.7, negative=0.3, keep_best=True, claimed_by=claimed_by)(iou)
    assert match.state.tolist() == [1, 1]
    assert match.index.tolist() == index


def test_the_last_of_several_claimers_has_a_box():
    """One box is the best of three objects; the third, whose best is under 0.3, does not claim."""
    iou = torch.tensor([[0.6, 0.0], [0.5, 0.0], [0.2, 0.0]])
    match = Matching(
        positive=0.7, negative=0.3, keep_best=True, least_best=0.3, claimed_by="claimer"
    )(iou)
    assert match.state.tolist() == [1, 0]
    assert int(match.index[0]) == 1


@pytest.mark.parametrize(
    ("positives", "fill", "expected"),
    [
        (100, True, (66, 134)),  # int(200 x 0.33), and the rest
        (100, False, (66, 134)),
        (10, True, (10, 190)),
        (10, False, (10, 20)),  # int(10 / 0.33) - 10
        (0, True, (0, 200)),
        (0, False, (0, 0)),
    ],
)
def test_negatives_fill_up_or_keep_the_fraction(positives, fill, expected):
    """Matterport's 200 RoIs, a third of them positive, among 1,000 negatives."""
    state = torch.tensor([1] * positives + [0] * 1000)
    p, n = sample(state, 200, 0.33, generator(0), fill=fill)
    assert (len(p), len(n)) == expected
