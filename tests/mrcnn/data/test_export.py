"""A data set written in COCO's format is the same data set."""

import json

import pytest
import torch

from mrcnn.data.check import check
from mrcnn.data.coco import CocoFolder
from mrcnn.data.export import export
from mrcnn.data.shapes import Shapes
from mrcnn.progress import silent


@pytest.fixture(scope="module")
def exported(cache):
    spec, folder = Shapes(size=64, train=4, val=3), cache / "exported"
    for split in ("train", "val"):
        export(spec.open(split, cache), folder, split, silent)
    return spec, CocoFolder(root=str(folder))


@pytest.mark.parametrize("split", ["train", "val"])
def test_reading_it_back_gives_the_same_examples(exported, split, cache):
    ours, theirs = (spec.open(split, cache) for spec in exported)
    assert len(ours) == len(theirs)
    assert ours.classes == theirs.classes
    for one, two in zip(map(ours.example, range(3)), map(theirs.example, range(3)), strict=True):
        assert torch.equal(one.image, two.image)
        for name, tensor in vars(one.targets).items():
            torch.testing.assert_close(getattr(two.targets, name), tensor, msg=name)


def test_nothing_in_it_would_break_training(exported):
    assert check(exported[1], "train") == check(exported[1], "val") == []


def test_keypoints_are_named(exported):
    data = json.loads(exported[1].annotation_file("val").read_text())
    assert data["categories"][0]["keypoints"] == ["centre", "tip", "tail"]
    assert all(len(a["keypoints"]) == 9 for a in data["annotations"])


def test_nothing_is_overwritten(exported, cache):
    spec, folder = exported
    with pytest.raises(ValueError, match=r"instances_val\.json is there already"):
        export(spec.open("val", cache), cache / "exported", "val", silent)
