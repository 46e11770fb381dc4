"""Shapes: what the pictures promise."""

import numpy as np
import pytest
import torch

from mrcnn.data.annotations import encode_mask
from mrcnn.data.drawing import LEAST_VISIBLE, OUTLINES, Shape, draw
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import boxes_of

PICTURES = [draw(96, 0.4, np.random.default_rng([7, i])) for i in range(150)]
SPEC = Shapes(size=64, train=30, val=8)


def test_every_class_is_drawn_with_one_to_six_objects():
    counts = [len(p.labels) for p in PICTURES]
    assert 1 <= min(counts) <= max(counts) <= 6
    assert 2.5 < sum(counts) / len(counts) < 4
    assert {int(label) for p in PICTURES for label in p.labels} == set(range(1, 9))


def test_masks_are_modal_and_every_object_is_seen():
    for picture in PICTURES:
        seen = np.bincount(picture.owner.ravel(), minlength=len(picture.labels) + 1)[1:]
        assert len(seen) == len(picture.labels)
        assert (seen >= 12 * LEAST_VISIBLE).all()


def test_colour_says_nothing_of_class():
    """The mean colour of a class differs from that of all by what chance allows, no more."""
    colours, labels = [], []
    for picture in PICTURES:
        for i, label in enumerate(picture.labels, start=1):
            colours.append(picture.image[picture.owner == i].mean(0))
            labels.append(label)
    colours, labels = np.array(colours), np.array(labels)
    for label in range(1, 9):
        some = colours[labels == label]
        error = colours.std(0) / len(some) ** 0.5
        assert (abs(some.mean(0) - colours.mean(0)) < 4.5 * error).all()


@pytest.mark.parametrize("label", range(1, 9))
def test_a_point_and_its_local_coordinates(label):
    shape = Shape(label, 30.0, 40.0, 20.0, 0.7, 0.8, 0.5)
    x, y = shape.place(0.3, -0.4)
    u, v = shape.local(np.array([x]), np.array([y]))
    assert (float(u[0]), float(v[0])) == pytest.approx((0.3, -0.4))


def test_holes_are_holes():
    zero = np.zeros(1)
    empty = {name for name, inside in OUTLINES.items() if not inside(zero, zero, 0.5)[0]}
    assert empty == {"ring", "gear", "crescent"}


def test_the_same_seed_draws_the_same_and_another_does_not(tmp_path):
    one = SPEC.open("train", tmp_path / "a").example(5)
    two = SPEC.open("train", tmp_path / "b").example(5)
    assert torch.equal(one.image, two.image)
    other = Shapes(size=64, train=30, val=8, seed=1)
    assert not torch.equal(other.open("train", tmp_path / "a").example(5).image, one.image)
    assert not torch.equal(SPEC.open("val", tmp_path / "a").example(5).image, one.image)
    assert SPEC.hash(tmp_path) != other.hash(tmp_path)


def test_targets_agree_with_ground_truth(cache):
    dataset = SPEC.open("val", cache)
    truth = dataset.ground_truth()
    for index in range(len(dataset)):
        example = dataset.example(index)
        torch.testing.assert_close(boxes_of(example.targets.masks), example.targets.boxes)
        assert int(example.targets.masks.sum(0).max()) <= 1
        known = truth.imgToAnns[example.image_id]
        assert [a["category_id"] for a in known] == example.targets.labels.tolist()
        assert [a["segmentation"] for a in known] == [encode_mask(m) for m in example.targets.masks]


def test_keypoints_are_seen_where_nothing_is_in_front():
    for picture in PICTURES:
        for i, points in enumerate(picture.keypoints, start=1):
            for x, y, seen in points:
                if seen == 2:
                    assert picture.owner[int(y), int(x)] <= i
                if seen == 1:
                    assert picture.owner[int(y), int(x)] > i


def test_sizes_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="size >= 32"):
        Shapes(size=8)
