"""Trials that differ only in how a trained network predicts have one training."""

import json
from dataclasses import replace

import pytest

from mrcnn.mask_head import SoftmaxMaskLoss
from mrcnn.paste import Paste
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.provenance import training_id, trial_id
from mrcnn.spec import vary
from mrcnn.train import Runtime, run_trial
from mrcnn.trained import load_training

TRIAL = vary(
    vary(at_scale(R50_FPN, "smoke"), "model.mask_loss", SoftmaxMaskLoss()), "train.steps", 4
)
OTHERS = {
    "model.mask_loss.decode": "beats background",
    "model.paste": Paste(threshold=0.3),
    "model.detection.nms_iou": 0.3,
    "evaluate.max_detections": 10,
}
"""How a trained network predicts."""
RUNTIME = Runtime(threads=1)


@pytest.mark.parametrize("path", OTHERS)
def test_how_a_network_predicts_is_identity_but_not_training(path):
    other = vary(TRIAL, path, OTHERS[path])
    assert training_id(other, "data") == training_id(TRIAL, "data")
    assert trial_id(other, "data") != trial_id(TRIAL, "data")


@pytest.mark.parametrize(
    ("path", "value"),
    [("seed", 1), ("train.steps", 5), ("model.rois_per_image", 7), ("data.seed", 9)],
)
def test_all_else_decides_the_training(path, value):
    assert training_id(vary(TRIAL, path, value), "data") != training_id(TRIAL, "data")
    assert training_id(TRIAL, "other data") != training_id(TRIAL, "data")


@pytest.fixture(scope="module")
def own(cache):
    """The trial as it trains itself, and another way to predict that trained itself too."""
    other = TRIAL
    for path, value in OTHERS.items():
        other = vary(other, path, value)
    for name, trial in (("first", TRIAL), ("other", other)):
        run_trial(trial, cache / name, cache, RUNTIME)
    return cache, other


def test_what_is_evaluated_alone_is_bitwise_what_trained_itself(own, tmp_path):
    runs, other = own
    file = runs / "first/model.safetensors"
    result = run_trial(other, tmp_path, runs, RUNTIME, trained=file)
    itself, first = (json.loads((runs / n / "result.json").read_text()) for n in ("other", "first"))
    assert result["metrics"] == itself["metrics"]
    for name in ("predictions.json", "gallery.json"):
        assert (tmp_path / name).read_bytes() == (runs / "other" / name).read_bytes()
    assert not (tmp_path / "model.safetensors").exists()
    assert result["trained_by"] == trial_id(TRIAL, TRIAL.data.hash(runs / "data"))
    assert itself["trained_by"] is None
    for name in ("train_s", "ms_per_step", "peak_memory_mb"):
        assert result["cost"][name] == first["cost"][name]
    assert result["history"] == first["history"]
    assert result["cost"]["total_s"] > result["cost"]["train_s"] + result["cost"]["evaluate_s"]


def test_the_ways_to_predict_are_seen_in_the_results(own):
    """Else the sameness above would say nothing."""
    runs, _ = own
    one, other = ((runs / n / "predictions.json").read_bytes() for n in ("first", "other"))
    assert one != other


def test_another_training_is_refused_by_the_field_that_differs(own):
    runs, other = own
    file = runs / "first/model.safetensors"
    wanted = replace(vary(other, "train.steps", 9), seed=3)
    with pytest.raises(ValueError, match=r"trained with train.steps = 4, the trial has 9"):
        load_training(file, wanted, "data")


def test_a_training_without_its_result_is_refused_by_name(own, tmp_path):
    runs, other = own
    file = tmp_path / "model.safetensors"
    file.write_bytes((runs / "first/model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="result.json: not the result of a training"):
        load_training(file, other, "data")
