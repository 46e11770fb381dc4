"""The suite: names that stay, answers that are held to the reference, files of kernels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import suite
from benchmarks.benchmark import Benchmark

ROOT = Path(__file__).resolve().parents[2]
KERNELS = """
import torchvision
from kernels.conformance import kernel


@kernel("box_iou", name="mine")
def mine(a, b):
    return torchvision.ops.box_iou(a, b) {plus}


@kernel("roi_align", name="narrow", grads=["features"])
def narrow(features, rois, *, output_size, spatial_scale, sampling_ratio, aligned):
    return torchvision.ops.roi_align(
        features, rois, output_size, spatial_scale, sampling_ratio, aligned
    )


@kernel("crop_masks", name="crops", lanes=["gpu"])
def crops(**arguments):
    raise AssertionError
"""


def test_the_default_benchmarks_exist_and_are_few():
    found = suite.everything()
    assert suite.BROKEN == {}
    assert set(suite.DEFAULT) <= set(found)
    assert len(set(suite.DEFAULT)) == len(suite.DEFAULT) <= 20
    assert all(isinstance(b, Benchmark) and b.name == name for name, b in found.items())
    assert all(found[n].threads == 1 and found[n].device == "cpu" for n in suite.DEFAULT)


def test_the_names_of_another_revision_are_read_without_running_it(tmp_path):
    assert suite.promised(ROOT) == suite.DEFAULT
    assert suite.promised(tmp_path) == ()


def test_no_more_is_loaded_than_is_asked_for(monkeypatch):
    monkeypatch.setattr(suite, "SOURCES", (("pieces", "PIECES"), ("nothing_such", "X")))
    monkeypatch.setattr(suite, "AHEAD", {})
    assert list(suite.everything(["evaluation/small"])) == ["evaluation/small"]
    assert suite.BROKEN == {}


def test_what_does_not_load_is_said(monkeypatch):
    monkeypatch.setattr(suite, "SOURCES", (("pieces", "PIECES"), ("nothing_such", "X")))
    monkeypatch.setattr(suite, "BROKEN", {})
    monkeypatch.setattr(suite, "AHEAD", {})
    assert list(suite.everything()) == ["evaluation/small"]
    assert "No module named 'benchmarks.nothing_such'" in suite.BROKEN["nothing_such"]


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "mine.py"
    made.write_text(KERNELS.replace("{plus}", ""))
    return made


def test_kernels_of_a_file_are_measured_on_the_shapes_of_their_operator(file):
    found = suite.of_kernels(file)
    names = set(found)
    assert "box_iou/mine/10k/float32/contiguous/forward" in names
    assert "roi_align/narrow/P2/float32/contiguous/with_backward" in names
    assert not any("crops" in n for n in names) or torch.cuda.is_available()
    ready = found["box_iou/mine/1k/float32/contiguous/forward"].prepare(file.parent)
    ready.check()
    one = ready.run()
    ready.renew(5)
    assert not torch.equal(one[0], ready.run()[0])
    ready.renew(0)
    assert torch.equal(one[0], ready.run()[0])
    assert found["box_iou/mine/1k/float32/contiguous/forward"].peer(file.parent).run()


def test_a_wrong_kernel_fails_its_check(file):
    file.write_text(KERNELS.replace("{plus}", "+ 0.01"))
    ready = suite.of_kernels(file)["box_iou/mine/1k/float32/contiguous/forward"].prepare(
        file.parent
    )
    with pytest.raises(AssertionError, match=r"the answer is off by 0\.01"):
        ready.check()


def test_files_without_kernels_are_named(tmp_path):
    with pytest.raises(ValueError, match="no such file of kernels"):
        suite.of_kernels(tmp_path / "none.py")


def test_a_piece_is_checked_by_what_is_known_of_it(tmp_path, monkeypatch):
    from benchmarks import pieces

    ready = pieces.PIECES["evaluation/small"].prepare(tmp_path)
    ready.check()
    first = ready.run()
    ready.renew(3)
    assert ready.run() != first
    monkeypatch.setattr(
        pieces, "_moved", lambda targets, pixels, g: replace(moved(targets, 9.0, g))
    )
    with pytest.raises(AssertionError, match="of the truth is"):
        ready.check()


def moved(targets, pixels, g):
    """Detections that are never the truth."""
    from mrcnn.structures import Detections

    boxes = targets.boxes + pixels
    ones = torch.ones(len(boxes))
    return Detections(boxes=boxes, labels=targets.labels, scores=ones, masks=targets.masks)
