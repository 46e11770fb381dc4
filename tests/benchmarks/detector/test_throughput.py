"""Images a second: of batches as training has them, and of what an evaluation does with them."""

import time
from dataclasses import replace

import pytest
import torch

from benchmarks.detector import throughput
from benchmarks.detector.throughput import SMALL, SOURCES, encode, evaluation, found_in, loading
from benchmarks.detector.throughput import paste as pasted
from mrcnn.data.shapes import ShapesDataset


def test_the_rate_is_that_of_the_images(monkeypatch):
    """Each image takes 4 ms: no more than 250 a second can come."""
    asked, right = [], ShapesDataset.example

    def slow(self, index):
        asked.append(index)
        time.sleep(0.004)
        return right(self, index)

    monkeypatch.setattr(ShapesDataset, "example", slow)
    (found,) = loading(SOURCES["Shapes, 128 px"], workers=(0,), rounds=3)
    assert len(asked) == (1 + 1 + 3) * 8  # the first batch, one more, three rounds
    assert 5 < min(found.images_per_s) <= max(found.images_per_s) < 250
    assert found.first_s > 0.03


def test_batches_are_loaded_by_workers_too():
    trial = replace(SMALL, train=replace(SMALL.train, batch_size=2))
    source = replace(SOURCES["Shapes, 128 px"], trial=trial)
    found = loading(source, workers=(0, 1), rounds=3)
    assert [one.workers for one in found] == [0, 1]
    assert all(len(one.images_per_s) == 3 for one in found)


def test_a_coco_folder_is_read_as_the_recipe_has_it(tmp_path):
    source = SOURCES["COCO folder, 640 to 800 px"]
    dataset = source.open(tmp_path)
    assert len(dataset) == 16
    assert dataset.size(0) == (640, 640)
    first = source.trial.train.augment[0](dataset.example(0), torch.Generator())
    assert first.image.shape == (3, 800, 800)
    assert len(first.targets) >= 1


def test_an_evaluation_is_timed_in_its_three_parts():
    found = evaluation(size=64, images=2, each=5, rounds=3)
    names = [one.what.split(":")[0] for one in found]
    assert names == ["paste", "encode", "score"]
    assert all(len(one.images_per_s) == 3 and min(one.images_per_s) > 0 for one in found)


def test_what_is_scored_is_found_in_part(tmp_path):
    """Detections are of the objects, so that matching has something to match."""
    given = found_in(64, 4, 20, tmp_path)
    results = encode(given, pasted(given))
    assert len(results) == 4 * 20
    metrics = throughput.scored(given.truth, results)[0]
    assert 0 < metrics["box AP50"] < 100
    assert 0 < metrics["mask AP50"] < 100


@pytest.mark.parametrize("name", SOURCES)
def test_sources_have_names(name):
    assert SOURCES[name].name == name
