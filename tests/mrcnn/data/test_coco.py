"""COCO folders: what is read, what is refused, and what check-data finds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mrcnn.data.check import check
from mrcnn.data.coco import CocoFolder, read_image

SQUARE = [[2, 2, 12, 2, 12, 10, 2, 10]]


def folder(tmp_path, change=lambda data: None, pixels=(20, 30)):
    """A COCO folder of two images with an object of each kind of segmentation."""
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "annotations").mkdir(exist_ok=True)
    for i in (1, 2):
        Image.fromarray(np.full((*pixels, 3), 40 * i, np.uint8)).save(tmp_path / f"images/{i}.png")
    runs = {"size": [20, 30], "counts": [40, 8, 12, 8, 532]}
    data = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in (1, 2)],
        "annotations": [
            note(1, 1, 7, SQUARE),
            note(2, 1, 3, runs, bbox=[2, 0, 2, 8]),
            note(3, 2, 7, runs, bbox=[2, 0, 2, 8], iscrowd=1),
        ],
        "categories": [{"id": 7, "name": "tree"}, {"id": 3, "name": "stone"}],
    }
    change(data)
    for split in ("train", "val"):
        (tmp_path / f"annotations/instances_{split}.json").write_text(json.dumps(data))
    return CocoFolder(root=str(tmp_path))


def note(id, image, category, segmentation, bbox=(2, 2, 10, 8), iscrowd=0):
    return {
        "id": id,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "bbox": list(bbox),
        "iscrowd": iscrowd,
        "area": 80,
    }


def test_labels_are_one_to_k_by_ascending_id(tmp_path):
    dataset = folder(tmp_path).open("train", tmp_path)
    assert dataset.classes == ("stone", "tree")
    assert dataset.category_ids == (3, 7)
    example = dataset.example(0)
    assert example.targets.labels.tolist() == [2, 1]
    assert example.targets.boxes.tolist() == [[2, 2, 12, 10], [2, 0, 4, 8]]


def test_polygons_and_run_lengths_are_masks(tmp_path):
    masks = folder(tmp_path).open("train", tmp_path).example(0).targets.masks
    assert masks[0].sum() == 80
    assert masks[0, 2:10, 2:12].all()
    assert masks[1].nonzero().tolist() == [[y, x] for y in range(8) for x in (2, 3)]


def test_crowds_are_left_out_of_training_and_counted(tmp_path):
    dataset = folder(tmp_path).open("train", tmp_path)
    assert len(dataset.example(1).targets) == 0
    assert dataset.left_out == {"crowd region": 1}
    assert len(dataset.ground_truth().anns) == 3


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 256)
    elif mode != "L":
        image = image.convert(mode)
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I;16") else "x.png")
    image.save(path)
    found = read_image(path)
    assert found.shape == (3, 10, 20)
    assert found.dtype == torch.uint8
    if mode in ("L", "I;16", "RGBA"):
        assert torch.equal(found[0], torch.from_numpy(grey))


def test_official_names_are_found(tmp_path):
    folder(tmp_path)
    (tmp_path / "images").rename(tmp_path / "train2017")
    annotations = tmp_path / "annotations"
    (annotations / "instances_train.json").rename(annotations / "instances_train2017.json")
    assert len(CocoFolder(root=str(tmp_path)).open("train", tmp_path)) == 2


def test_the_hash_is_of_what_is_there_not_where(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one, two):
        place.mkdir()
    hashes = [folder(place).hash(tmp_path) for place in (one, two)]
    assert hashes[0] == hashes[1]
    (two / "images/1.png").write_bytes(b"another image")
    assert CocoFolder(root=str(two)).hash(tmp_path) != hashes[0]


PROBLEMS = {
    "mask has no pixel": lambda d: d["annotations"].append(note(9, 1, 7, [[1, 1, 1, 1, 1, 1]])),
    "reaches outside": lambda d: d["annotations"].append(note(9, 1, 7, SQUARE, (20, 2, 30, 8))),
    "has no area": lambda d: d["annotations"].append(note(9, 1, 7, SQUARE, (2, 2, 0, 8))),
    "not finite": lambda d: d["annotations"].append(note(9, 1, 7, SQUARE, (2, 2, float("nan"), 8))),
    "annotation id 1 is there 2 times": lambda d: d["annotations"].append(note(1, 1, 7, SQUARE)),
    "image id 1 is there 2 times": lambda d: d["images"].append(d["images"][0]),
    "image 77 is not there": lambda d: d["annotations"].append(note(9, 77, 7, SQUARE)),
    "category 55 is not there": lambda d: d["annotations"].append(note(9, 1, 55, SQUARE)),
    "no such image file": lambda d: d["images"].append(
        {**d["images"][0], "id": 5, "file_name": "x"}
    ),
    "is 30 x 20 pixels, not 31 x 20": lambda d: d["images"][1].update(width=31),
    "cannot read": lambda d: d["annotations"].append(note(9, 1, 7, [[1, 2, 3]])),
    "no segmentation": lambda d: d["annotations"].append(note(9, 1, 7, [])),
    "no list 'categories'": lambda d: d.pop("categories"),
}


@pytest.mark.parametrize("said", PROBLEMS)
def test_check_names_each_problem_in_one_line(tmp_path, said):
    assert check(folder(tmp_path), "train") == []
    found = check(folder(tmp_path, PROBLEMS[said]), "train")
    assert any(said in line for line in found), found
    assert not any("\n" in line for line in found)


def test_check_finds_several_problems_at_once(tmp_path):
    def all_of_them(data):
        for said in list(PROBLEMS)[:9]:
            PROBLEMS[said](data)

    found = check(folder(tmp_path, all_of_them), "train")
    assert all(any(said in line for line in found) for said in list(PROBLEMS)[:9])


def test_check_finds_an_unreadable_image(tmp_path):
    spec = folder(tmp_path)
    (tmp_path / "images/2.png").write_bytes(b"not an image")
    assert any("2.png: not readable as an image" in line for line in check(spec, "train"))


BROKEN = {
    "no such folder": lambda path: path / "nowhere",
    "no such annotation file": lambda path: path / "images",
}


@pytest.mark.parametrize("said", BROKEN)
def test_folders_that_are_none_are_named(tmp_path, said):
    folder(tmp_path)
    with pytest.raises(ValueError, match=said):
        CocoFolder(root=str(BROKEN[said](tmp_path))).open("train", tmp_path)


@pytest.mark.parametrize("name", ["coco_mini", "nuclei"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_data_are_whole(fixtures, name, split):
    spec = CocoFolder(root=str(fixtures / "data" / name))
    dataset = spec.open(split, fixtures)
    for index in range(0, len(dataset), 5):
        example = dataset.example(index)
        assert len(example.targets.boxes) == len(example.targets.masks)
    assert check(spec, split) == []
