"""Polygons: read from annotations, carried through transforms, indexed and sent to workers."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from mrcnn.data.annotations import polygons_of
from mrcnn.data.dataset import Example
from mrcnn.data.transforms import (
    Dihedral,
    Flip,
    LargeScaleJitter,
    RandomCrop,
    Resize,
    ResizeRange,
    SquarePad,
    apply,
)
from mrcnn.seeds import generator
from mrcnn.structures import Targets
from tests.mrcnn.data.test_coco import SQUARE, folder, note

ALL = {
    "resize": (Resize(short=(90,), long=300),),
    "range": (ResizeRange(low=50, high=130, long=300),),
    "square": (SquarePad(size=160, shorter=100),),
    "flip": (Flip(probability=1.0),),
    "dihedral": (Dihedral(),),
    "crop": (RandomCrop(size=48),),
    "jitter": (LargeScaleJitter(size=80, low=0.8, high=1.5),),
    "crop and flip": (RandomCrop(size=40), Flip(probability=1.0), Resize(short=(80,))),
}


def drawn(polygons, height, width):
    rows = [p.flatten().tolist() for p in polygons]
    bits = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rows, height, width)))
    return torch.from_numpy(bits).bool()


def an_example():
    """Two objects: a triangle, and a square with a part of its own."""
    polygons = (
        (torch.tensor([[10.0, 8], [50, 20], [22, 52]], dtype=torch.float64),),
        (
            torch.tensor([[40.0, 30], [70, 30], [70, 60], [40, 60]], dtype=torch.float64),
            torch.tensor([[4.0, 55], [20, 55], [20, 70], [4, 70]], dtype=torch.float64),
        ),
    )
    masks = torch.stack([drawn(one, 75, 80) for one in polygons])
    boxes = torch.tensor([[10.0, 8, 50, 52], [4, 30, 70, 70]])
    targets = Targets(boxes, torch.tensor([1, 2]), masks, polygons=polygons)
    return Example(torch.zeros(3, 75, 80), targets, 0, "")


def overlap(one, two):
    return float((one & two).sum() / (one | two).sum())


@pytest.mark.parametrize("name", ALL)
def test_polygons_follow_their_masks(name):
    """Drawn in the new image they are the new masks; left where they were, they are not."""
    worst = []
    for seed in range(6):
        example = an_example()
        out = apply(ALL[name], example, generator(seed)).targets
        height, width = out.masks.shape[1:]
        assert len(out.polygons) == len(out)
        for mask, corners, label in zip(out.masks, out.polygons, out.labels, strict=True):
            if mask.sum() < 100:
                continue
            assert overlap(drawn(corners, height, width), mask) > 0.88
            before = example.targets.polygons[int(label) - 1]
            worst.append(overlap(drawn(before, height, width), mask))
    assert min(worst) < 0.8


def test_transforms_need_no_polygons():
    example = an_example()
    example = replace(example, targets=replace(example.targets, polygons=None))
    for transforms in ALL.values():
        assert apply(transforms, example, generator(0)).targets.polygons is None


def test_polygons_of_annotations(tmp_path):
    """Run lengths have none, and polygons of fewer than three corners are left out."""
    targets = folder(tmp_path).open("train", tmp_path).example(0).targets
    assert targets.polygons[0][0].tolist() == [[2, 2], [12, 2], [12, 10], [2, 10]]
    assert targets.polygons[1] == ()
    assert len(polygons_of([*SQUARE, [1, 1, 5, 5], [1, 1, 5, 1, 5]])) == 1
    assert polygons_of({"size": [2, 2], "counts": [4]}) == ()


def test_data_without_polygons_has_none(tmp_path):
    def only_run_lengths(data):
        runs = data["annotations"][1]["segmentation"]
        data["annotations"] = [note(1, 1, 3, runs, bbox=[2, 0, 2, 8])]

    dataset = folder(tmp_path, only_run_lengths).open("train", tmp_path)
    assert dataset.example(0).targets.polygons is None
    assert dataset.example(1).targets.polygons is None  # an image without objects


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (torch.tensor([1, 0, 1]), [1, 0, 1]),
        (torch.tensor([False, True]), [1]),
        (torch.zeros(0, dtype=torch.long), []),
    ],
)
def test_indexed_targets_keep_the_polygons_of_their_objects(index, kept):
    targets = an_example().targets
    assert targets[index].polygons == tuple(targets.polygons[i] for i in kept)
    assert targets[index].labels.tolist() == [i + 1 for i in kept]


def test_polygons_survive_a_change_of_device_and_a_worker_process():
    """As arrays, so that no file handle is needed for each of them."""
    targets = an_example().targets
    assert targets.to("cpu").polygons is targets.polygons
    state = targets.__getstate__()
    assert isinstance(state["polygons"][1][1], np.ndarray)
    back = pickle.loads(pickle.dumps(targets))
    for one, two in zip(back.polygons, targets.polygons, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(back.masks, targets.masks)
    none = pickle.loads(pickle.dumps(replace(targets, polygons=None)))
    assert none.polygons is None


def test_lvis_size_categories_are_labels_by_ascending_id(tmp_path):
    """1,203 categories with gaps between their ids, two of them used."""

    def lvis(data):
        ids = [2 * i + 1 for i in range(1203)][::-1]
        data["categories"] = [{"id": i, "name": f"thing {i}"} for i in ids]
        data["annotations"] = [note(1, 1, 2405, SQUARE), note(2, 1, 1, SQUARE)]

    dataset = folder(tmp_path, lvis).open("train", tmp_path)
    assert len(dataset.classes) == 1203
    assert dataset.example(0).targets.labels.tolist() == [1203, 1]
    assert dataset.category_ids[1202] == 2405
