"""Transforms keep image, boxes, masks and keypoints in agreement."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrcnn.data import transforms
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import (
    Dihedral,
    Flip,
    RandomCrop,
    Resize,
    ResizeRange,
    SquarePad,
    apply,
    boxes_of,
    mirrored,
    transposed,
)
from mrcnn.seeds import generator

ALL = {
    "resize": Resize(short=(50,), long=200),
    "several": Resize(short=(40, 50, 90), long=95),
    "range": ResizeRange(low=40, high=90, long=200),
    "square": SquarePad(size=160, shorter=100),
    "flip": Flip(probability=1.0),
    "dihedral": Dihedral(),
    "crop": RandomCrop(size=48),
    "large crop": RandomCrop(size=150),
}


@pytest.fixture(scope="module")
def examples(cache):
    dataset = Shapes(size=64, train=30, val=8).open("val", cache)
    return [dataset.example(i) for i in range(8)]


@pytest.mark.parametrize("name", ALL)
def test_boxes_follow_their_masks(examples, name):
    for example in examples:
        out = apply((ALL[name],), example, generator(name, example.image_id))
        height, width = out.image.shape[1:]
        assert out.targets.masks.shape[1:] == (height, width)
        assert out.image.dtype == example.image.dtype
        gap = (boxes_of(out.targets.masks) - out.targets.boxes).abs()
        # nearest-neighbour masks lose tips thinner than a pixel where the image shrinks
        allowed = max(max(height, width) / 64, 4) if "crop" not in name else 1e-4
        allowed = 1e-4 if name in ("flip", "dihedral") else allowed
        assert float(gap.max() if len(gap) else 0) <= allowed


@pytest.mark.parametrize("name", ALL)
def test_an_object_keeps_its_pixels(examples, name):
    """The mean colour under a mask is that of the object, before and after."""
    for example in examples:
        example = replace(example, image=example.image.float())
        out = apply((ALL[name],), example, generator(name, example.image_id))
        if len(out.targets) != len(example.targets) or "crop" in name:
            continue
        for before, after in zip(example.targets.masks, out.targets.masks, strict=True):
            if before.sum() > 150:
                one, two = example.image[:, before].mean(1), out.image[:, after].mean(1)
                assert float((one - two).abs().max()) < 25


@pytest.mark.parametrize("name", ALL)
def test_nothing_to_see_is_no_special_case(examples, name):
    none = torch.zeros(0, dtype=torch.long)
    empty = replace(examples[0], targets=examples[0].targets[none])
    assert len(apply((ALL[name],), empty, generator(0)).targets) == 0


@pytest.mark.parametrize("name", ALL)
def test_keypoints_stay_on_their_pixels(examples, name):
    for example in examples:
        out = apply((ALL[name],), example, generator(name, example.image_id))
        if len(out.targets) != len(example.targets) or "crop" in name:
            continue
        for (x, y, seen), (u, v, also) in zip(
            example.targets.keypoints.reshape(-1, 3).tolist(),
            out.targets.keypoints.reshape(-1, 3).tolist(),
            strict=True,
        ):
            assert seen == also
            row, column = min(int(v), out.image.shape[1] - 1), min(int(u), out.image.shape[2] - 1)
            if seen == 2:
                one = example.image[:, int(y), int(x)].float()
                window = out.image[
                    :, max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3
                ].flatten(1)
                assert float((window.float() - one[:, None]).abs().amax(0).min()) < 60


def test_two_mirrors_and_four_quarters_are_nothing(examples):
    def same(a, b):
        return (
            torch.equal(a.image, b.image)
            and torch.equal(a.targets.masks, b.targets.masks)
            and torch.allclose(a.targets.boxes, b.targets.boxes)
            and torch.allclose(a.targets.keypoints, b.targets.keypoints, atol=1e-4)
        )

    for example in examples:
        assert same(mirrored(mirrored(example)), example)
        assert not same(mirrored(example), example)
        turned = example
        for _ in range(4):
            turned = transposed(mirrored(turned))
        assert same(turned, example)


def test_the_eight_symmetries_are_all_drawn(examples):
    seen = {Dihedral()(examples[0], generator(i)).image.numpy().tobytes() for i in range(80)}
    assert len(seen) == 8


def test_names_swap_in_a_mirror(examples):
    paired = replace(examples[0], flip_pairs=((1, 2),))
    points = mirrored(paired).targets.keypoints[:, :, 1]
    assert torch.equal(points, examples[0].targets.keypoints[:, [0, 2, 1], 1])


@given(h=st.integers(20, 900), w=st.integers(20, 900))
def test_sides_as_torchvision_computes_them(h, w):
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    theirs = GeneralizedRCNNTransform(200, 333, [0.0] * 3, [1.0] * 3, size_divisible=1)
    expected = theirs([torch.zeros(3, h, w)])[0].image_sizes[0]
    assert transforms.fitted(torch.zeros(3, h, w), 200, 333) == tuple(expected)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Resize(short=()),
        lambda: Resize(long=0),
        lambda: ResizeRange(low=9, high=8),
        lambda: SquarePad(size=10, shorter=20),
        lambda: Flip(probability=2.0),
        lambda: RandomCrop(size=0),
    ],
)
def test_sizes_that_mean_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="needs"):
        bad()


def test_a_box_that_stays_behind_is_seen(examples, monkeypatch):
    """The first law above can fail: leave the boxes where they were."""
    honest = transforms.mirrored
    monkeypatch.setattr(
        transforms,
        "mirrored",
        lambda e: replace(honest(e), targets=replace(honest(e).targets, boxes=e.targets.boxes)),
    )
    with pytest.raises(AssertionError):
        test_boxes_follow_their_masks(examples, "flip")
