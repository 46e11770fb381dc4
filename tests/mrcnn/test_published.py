"""Whether a run met what was published, and when nothing can be said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mrcnn.config import BodyWeights
from mrcnn.data.coco import CocoFolder
from mrcnn.presets import PRESETS
from mrcnn.published import PUBLISHED, VAL_2017_ANNOTATIONS, is_val2017, verdict
from mrcnn.spec import vary

BODY = BodyWeights(file="resnet50.pth", sha256="0" * 64)
RUN = replace(PRESETS["r50_c4"], body=BODY, seed=3)
MET = {"mask AP": 30.0, "mask AP50": 51.0, "mask AP75": 31.5}


def a_folder(root, images=5000, classes=80, annotations=VAL_2017_ANNOTATIONS):
    """A COCO folder of such counts, without pictures."""
    note = {"image_id": 0, "bbox": [1, 1, 2, 2], "segmentation": [], "iscrowd": 0, "area": 4}
    size = {"height": 480, "width": 640}
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg", **size} for i in range(images)],
        "annotations": [{"id": i, "category_id": 1, **note} for i in range(1, annotations + 1)],
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, classes + 1)],
    }
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    (root / "annotations/instances_val2017.json").write_text(json.dumps(data))
    return CocoFolder(root=str(root)).open("val", root)


@pytest.fixture(scope="module")
def val2017(tmp_path_factory):
    return a_folder(tmp_path_factory.mktemp("coco") / "root")


def test_a_run_within_the_tolerance_reproduced(val2017):
    said = verdict("r50_c4", RUN, MET, val2017, 118_287)
    assert said.startswith("reproduced within 1.0 points: mask AP 30.0 (published 30.3), ")
    assert said.endswith("He et al. 2017, Table 2a (its RPN was trained apart)")
    assert "\n" not in said


@pytest.mark.parametrize("ap", [29.2, 31.4])
def test_a_run_outside_it_did_not(val2017, ap):
    assert verdict("r50_c4", RUN, MET | {"mask AP": ap}, val2017).startswith("not reproduced")


REFUSED = {
    "no preset": (("small_c4", RUN), "nothing is published for preset small_c4"),
    "shorter": (
        ("r50_c4", vary(RUN, "train.steps", 90_000)),
        "train.steps is 90000, in preset r50_c4 160000",
    ),
    "other rate": (("r50_c4", vary(RUN, "train.optimiser.rate", 0.01)), "train.optimiser.rate"),
    "other model": (
        ("r50_c4", vary(RUN, "model.detection.nms_iou", 0.5)),
        "model.detection.nms_iou",
    ),
    "random trunk": (("r50_c4", PRESETS["r50_c4"]), "began with random weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_not_the_published_run_is_not_comparable(val2017, name):
    (preset, trial), why = REFUSED[name]
    said = verdict(preset, trial, MET, val2017)
    assert said.startswith("not comparable: ")
    assert why in said


def test_what_may_change_does_not_matter(val2017):
    free = vary(vary(RUN, "train.accumulate", 8), "evaluate.batch_size", 4)
    free = vary(free, "data", CocoFolder(root="elsewhere"))
    assert verdict("r50_c4", free, MET, val2017).startswith("reproduced")


def test_other_data_are_not_comparable(tmp_path, val2017):
    assert "trained on 800 images" in verdict("r50_c4", RUN, MET, val2017, 800)
    for i, counts in enumerate(({"images": 100}, {"annotations": 36_335}, {"classes": 79})):
        dataset = a_folder(tmp_path / str(i), **counts)
        assert not is_val2017(dataset)
        said = verdict("r50_c4", RUN, MET, dataset)
        assert said == f"not comparable: scored on {i}/val, published on COCO val2017"


def test_a_metric_that_is_missing_is_named(val2017):
    said = verdict("r50_c4", RUN, MET | {"mask AP50": None}, val2017)
    assert said == "not comparable: mask AP50 was not measured"


def test_published_numbers_are_those_of_their_tables():
    """A few by hand, one of each source."""
    assert PUBLISHED["r50_fpn"].metrics["mask AP"] == 33.6
    assert PUBLISHED["r50_c5"].metrics["box AP75"] == 36.4
    assert PUBLISHED["detectron_fpn"].metrics == {"box AP": 37.7, "mask AP": 33.9}
    assert PUBLISHED["detectron2_fpn_3x"].metrics == {"box AP": 41.0, "mask AP": 37.2}
    assert PUBLISHED["mmdetection_fpn"].metrics == {"box AP": 38.2, "mask AP": 34.7}
    assert PUBLISHED["torchvision"].metrics == {"box AP": 37.9, "mask AP": 34.6}
    assert PUBLISHED["matterport"].metrics["mask AP"] == 29.6
    assert all(one.source and one.tolerance > 0 for one in PUBLISHED.values())


def test_whatever_is_published_is_of_a_preset_that_trains_as_long():
    for name, one in PUBLISHED.items():
        train = PRESETS[name].train
        seen = (train.steps - train.rpn_steps) * train.batch_size
        assert one.images is None or abs(seen / one.images - 1) <= 0.01, name


def test_the_papers_presets_train_on_as_many_images_as_the_paper():
    for name in ("r50_c4", "r101_c4", "r50_c5", "r50_fpn", "r101_fpn"):
        train = PRESETS[name].train
        assert (train.steps, train.batch_size, train.optimiser.rate) == (160_000, 16, 0.02)
        assert train.steps * train.batch_size == PUBLISHED[name].images


def test_the_official_layout_is_found(tmp_path):
    a_folder(tmp_path / "plain", images=1, annotations=0)
    folder = CocoFolder(root=str(tmp_path / "plain"))
    assert folder.annotation_file("val").name == "instances_val2017.json"
    assert folder.image_folder("val") == Path(folder.root) / "val2017"
    (tmp_path / "plain/images/val2017").mkdir(parents=True)
    assert folder.image_folder("val") == Path(folder.root) / "images/val2017"
