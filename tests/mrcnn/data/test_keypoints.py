"""Annotated keypoints: both readings of their coordinates, what is completed and refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.cocoeval import COCOeval

from mrcnn.data.check import check
from mrcnn.data.coco import CocoFolder
from mrcnn.data.keypoints import SIGMA, annotated, flip_pairs, names_of, sigmas

NAMES = ["nose", "left_eye", "right_eye"]
SQUARE = [[2, 2, 12, 2, 12, 10, 2, 10]]


def folder(tmp_path, change=lambda data: None, **fields):
    """Two images: one with a person of two annotated keypoints and a tree, one with a person of
    whom no keypoint is annotated.
    """
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for i in (1, 2):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / f"images/{i}.png")
    same = {"segmentation": SQUARE, "bbox": [2, 2, 10, 8], "iscrowd": 0, "area": 80}
    data = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in (1, 2)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [4, 5, 2, 9, 6, 1, 0, 0, 0]},
            {"id": 2, "image_id": 1, "category_id": 2},
            {"id": 3, "image_id": 2, "category_id": 1},
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": NAMES},
            {"id": 2, "name": "tree"},
        ],
    }
    data["annotations"] = [{**same, **a} for a in data["annotations"]]
    change(data)
    for split in ("train", "val"):
        (tmp_path / f"annotations/instances_{split}.json").write_text(json.dumps(data))
    return CocoFolder(root=str(tmp_path), **fields)


def test_keypoints_are_points_or_pixels(tmp_path):
    """ "pixels" adds half a pixel (detectron2); what is not annotated stays at 0, 0."""
    spec = folder(tmp_path)
    points = spec.open("val", tmp_path).example(0).targets.keypoints
    assert points[0].tolist() == [[4, 5, 2], [9, 6, 1], [0, 0, 0]]
    pixels = CocoFolder(root=spec.root, keypoints_are="pixels").open("val", tmp_path)
    assert pixels.half_pixel == 0.5
    found = pixels.example(0).targets.keypoints
    assert found[0].tolist() == [[4.5, 5.5, 2], [9.5, 6.5, 1], [0, 0, 0]]


def test_objects_without_keypoints_have_unseen_ones(tmp_path):
    dataset = folder(tmp_path).open("val", tmp_path)
    assert dataset.keypoints == tuple(NAMES)
    assert dataset.flip_pairs == ((1, 2),)
    assert not dataset.example(0).targets.keypoints[1].any()
    assert dataset.example(1).targets.keypoints.shape == (1, 3, 3)
    truth = dataset.ground_truth().anns
    assert [truth[i].get("num_keypoints") for i in (1, 2, 3)] == [2, None, 0]


def test_least_keypoints_leaves_out_training_images_and_counts_them(tmp_path):
    spec = folder(tmp_path, least_keypoints=1)
    train, val = (spec.open(split, tmp_path) for split in ("train", "val"))
    assert [len(train), len(val)] == [1, 2]
    assert train.left_out == {"image with fewer than 1 keypoints": 1}
    kept = CocoFolder(root=spec.root, least_keypoints=0).open("train", tmp_path)
    assert len(kept) == 2
    with pytest.raises(ValueError, match="least_keypoints must be 0 or more, got -1"):
        CocoFolder(root=spec.root, least_keypoints=-1)


def test_a_data_set_without_keypoints_has_none(tmp_path):
    dataset = folder(
        tmp_path,
        lambda d: (
            d.update(categories=d["categories"][1:] * 1)
            or [a.update(category_id=2) or a.pop("keypoints", None) for a in d["annotations"]]
        ),
    ).open("val", tmp_path)
    assert dataset.keypoints == ()
    assert dataset.example(0).targets.keypoints is None


PROBLEMS = {
    "its keypoints are 6 numbers, not 3 for each of the category's 3": [1, 1, 2, 3, 3, 1],
    "visibility is none of 0, 1, 2": [1, 1, 5, 3, 3, 1, 0, 0, 0],
    "its keypoints are not finite": [float("nan"), 1, 2, 3, 3, 1, 0, 0, 0],
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_broken_keypoints_are_refused_and_found_by_the_check(tmp_path, problem):
    spec = folder(tmp_path, lambda d: d["annotations"][0].update(keypoints=PROBLEMS[problem]))
    with pytest.raises(ValueError, match=rf"instances_val\.json: annotation 1: .*{problem}"):
        spec.open("val", tmp_path)
    assert any(f"annotation 1: {problem}" in line or problem in line for line in check(spec, "val"))


def test_whole_keypoints_pass_the_check(tmp_path):
    assert check(folder(tmp_path), "val") == []


def test_mirrored_names():
    assert names_of([{"name": "tree"}, {"name": "person", "keypoints": NAMES}]) == tuple(NAMES)
    assert flip_pairs(["left_a", "b", "right_a", "left_c"]) == ((0, 2),)
    assert annotated([], 3, 0.5).shape == (0, 3, 3)


def test_sigmas_of_people_are_cocos_and_others_constant():
    """COCO's by their published values (cocodataset.org, keypoints-eval)."""
    thousandths = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    assert (1000 * sigmas(17)).round().tolist() == thousandths
    assert sigmas(17).tolist() == COCOeval(iouType="keypoints").params.kpt_oks_sigmas.tolist()
    assert sigmas(3).tolist() == [SIGMA] * 3


def test_coordinates_of_exported_and_drawn_shapes_agree(cache):
    from mrcnn.data.shapes import Shapes

    dataset = Shapes(size=64, train=2, val=2).open("val", cache)
    assert (dataset.keypoints, dataset.half_pixel) == (("centre", "tip", "tail"), 0.0)
    for note in dataset.ground_truth().dataset["annotations"]:
        example = dataset.example(note["image_id"] - 1)
        known = example.targets.keypoints.flatten(1).tolist()
        assert note["keypoints"] in known
        assert note["num_keypoints"] == sum(v > 0 for v in note["keypoints"][2::3])
    assert torch.tensor([a["num_keypoints"] for a in dataset.ground_truth().anns.values()]).any()
