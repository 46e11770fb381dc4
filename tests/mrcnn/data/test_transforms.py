"""Transforms keep image, boxes, masks and keypoints in agreement."""

from dataclasses import replace

import pytest
import torch

from mrcnn.data import transforms
from mrcnn.data.dataset import Example
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import (
    Dihedral,
    Flip,
    LargeScaleJitter,
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
from mrcnn.structures import Targets

ALL = {
    "resize": Resize(short=(50,), long=200),
    "several": Resize(short=(40, 50, 90), long=95),
    "range": ResizeRange(low=40, high=90, long=200),
    "square": SquarePad(size=160, shorter=100),
    "flip": Flip(probability=1.0),
    "dihedral": Dihedral(),
    "crop": RandomCrop(size=48),
    "large crop": RandomCrop(size=150),
    "detectron2": Resize(short=(90,), rule="detectron2"),
    "jitter crop": LargeScaleJitter(size=64, tight=True),
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
        allowed = max(max(height, width) / 64, 4) if name not in ("crop", "large crop") else 1e-4
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


def test_boxes_of_masks_by_hand():
    """The smallest around what is set, holes and all; zeros for an empty mask."""
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1, 2] = masks[0, 3, 5] = masks[2, 0, 0] = True
    assert boxes_of(masks).tolist() == [[2, 1, 6, 4], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert boxes_of(masks[:0]).shape == (0, 4)


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


def test_several_sides_are_all_drawn(examples):
    """Resize.short: detectron2's choice of sides at training; one side is no draw."""
    several = Resize(short=(40, 50, 90), long=200)
    drawn = {min(several(examples[0], generator(i)).image.shape[1:]) for i in range(40)}
    assert drawn == {40, 50, 90}
    draw, untouched = generator(0), generator(0)
    Resize(short=(40,))(examples[0], draw)
    assert torch.equal(torch.rand(1, generator=draw), torch.rand(1, generator=untouched))


@pytest.mark.parametrize("rule", ["torchvision", "detectron", "detectron2", "mmdetection"])
def test_each_rule_of_resize_has_its_sides(examples, rule):
    """Resize.rule: 427 x 640 to a longer side of 800 is 533.75 high; see test_sizes."""
    wide = replace(examples[0], image=torch.zeros(3, 427, 640, dtype=torch.uint8))
    wide = replace(wide, targets=wide.targets[torch.zeros(0, dtype=torch.long)])
    wide = replace(wide, targets=replace(wide.targets, masks=torch.zeros(0, 427, 640).bool()))
    found = Resize(short=(534,), long=800, rule=rule)(wide, generator(0))
    assert found.image.shape[1:] == ((533, 800) if rule == "torchvision" else (534, 800))


def blank(height, width, value=200):
    """An image of one colour with one object that covers it."""
    targets = Targets(
        torch.tensor([[0.0, 0, width, height]]),
        torch.ones(1, dtype=torch.long),
        torch.ones(1, height, width, dtype=torch.bool),
    )
    return Example(torch.full((3, height, width), value, dtype=torch.uint8), targets, 0, "")


@pytest.mark.parametrize(
    ("sides", "inside"),
    [
        ((400, 600), (683, 1024)),  # 2 x would be 1200 wide: 1024 / 600
        ((500, 500), (800, 800)),
        ((900, 1000), (900, 1000)),  # never made smaller than it is if it fits
        ((2000, 1500), (1024, 768)),
        ((333, 801), (426, 1024)),  # 425.7 is rounded up
    ],
)
def test_square_padding_as_in_matterport(sides, inside):
    """SquarePad: a scale of at least 1, sides to the nearest, half of the padding on each side."""
    found = SquarePad()(blank(*sides), generator(0))
    assert found.image.shape == (3, 1024, 1024)
    x1, y1, x2, y2 = found.targets.boxes[0].tolist()
    assert (y2 - y1, x2 - x1) == pytest.approx(inside)
    assert (y1, x1) == ((1024 - inside[0]) // 2, (1024 - inside[1]) // 2)
    assert int((found.image[0] == 200).sum()) == inside[0] * inside[1]
    assert int(found.image[0].sum()) == 200 * inside[0] * inside[1]


def test_square_padding_cuts_levels():
    """Matterport makes 8 bits of what it interpolated by cutting, torchvision by rounding."""
    image = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 50, 25)
    example = replace(blank(50, 50), image=image)
    found = SquarePad(size=64, shorter=64)(example, generator(0)).image.float()
    kept = transforms.interpolated(image.float(), (64, 64))
    gap = kept - found
    assert -1e-2 <= float(gap.min()) < float(gap.max()) < 1
    assert float(gap.max()) > 0.9


def test_large_scale_jitter_crops_and_pads():
    """LargeScaleJitter: 0.1 to 2 times the image that fits; large ones cropped, small ones padded
    with the fill on the right and below.
    """
    jitter = LargeScaleJitter(size=64)
    shares = []
    for seed in range(60):
        found = jitter(blank(40, 80), generator(seed))
        assert found.image.shape == (3, 64, 64)
        inside = (found.image == 200).all(0)
        height, width = int(inside[:, 0].sum()), int(inside[0].sum())
        assert int(inside.sum()) == height * width
        assert found.targets.boxes[0].tolist() == pytest.approx([0, 0, width, height])
        outside = found.image[:, ~inside]
        fill = torch.tensor([123, 117, 104], dtype=torch.uint8)[:, None]
        assert torch.equal(outside, fill.expand_as(outside))
        shares.append(width / 64)
        assert height == min(64, max(1, height))
    assert min(shares) < 0.2
    assert 0.3 < sum(s == 1 for s in shares) / 60 < 0.7


@pytest.mark.parametrize(("rule", "side"), [("torchvision", 33), ("detectron2", 34)])
def test_large_scale_jitter_rounds_as_its_peer(rule, side):
    """LargeScaleJitter.rule: 67 of 100 px at half the size of 100 is 33.5: down, or to even."""
    half = LargeScaleJitter(size=100, low=0.5, high=0.5, rule=rule, fill=(0.0, 0.0, 0.0))
    found = half(blank(67, 100), generator(0))
    assert found.targets.boxes[0].tolist() == pytest.approx([0, 0, 50, side])


@pytest.mark.parametrize("tight", [False, True])
def test_the_box_of_an_object_that_is_cut(tight):
    """LargeScaleJitter.tight: torchvision cuts the box, detectron2 draws it around what is left."""
    example = blank(64, 64)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 20:40, 4:10] = mask[0, 10:50, 50:60] = True
    targets = replace(example.targets, masks=mask, boxes=torch.tensor([[4.0, 10, 60, 50]]))
    found = transforms.window(replace(example, targets=targets), 0, 8, 32, tight=tight)
    wanted = [0, 20, 2, 32] if tight else [0, 10, 32, 32]
    assert found.targets.boxes[0].tolist() == wanted


def test_one_number_places_row_and_column():
    """LargeScaleJitter: the crop of a square lies on its diagonal, as in both peers."""
    twice = LargeScaleJitter(size=32, low=2.0, high=2.0)
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    example = replace(blank(32, 32), image=torch.stack([y * 8, x * 8, x]).to(torch.uint8))
    corners = [twice(example, generator(i)).image[:2, 0, 0].tolist() for i in range(8)]
    assert all(row == column for row, column in corners)
    assert len({row for row, _ in corners}) > 4


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Resize(short=()),
        lambda: Resize(long=0),
        lambda: ResizeRange(low=9, high=8),
        lambda: SquarePad(size=10, shorter=20),
        lambda: Flip(probability=2.0),
        lambda: RandomCrop(size=0),
        lambda: LargeScaleJitter(low=0.0),
        lambda: LargeScaleJitter(low=2.0, high=1.0),
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
