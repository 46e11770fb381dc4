"""Our own networks as files."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mrcnn.checkpoint import load_model, save_model
from mrcnn.config import BodyWeights
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, at_scale
from mrcnn.spec import fingerprint


def test_what_is_saved_is_loaded(tmp_path):
    trial = at_scale(R50_C4, "smoke")
    model = MaskRCNN(trial.model, seed=3)
    save_model(model, trial, tmp_path / "m.safetensors", tuple("abcdefgh"))
    again, same, classes = load_model(tmp_path / "m.safetensors")
    assert same == trial
    assert classes == tuple("abcdefgh")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


def test_weights_of_another_project_are_not_taken_for_ours(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a model of this project"):
        load_model(tmp_path / "other.safetensors")


def test_a_body_and_pretraining_exclude_each_other():
    body = BodyWeights(file="x.pth", sha256="0")
    with pytest.raises(ValueError, match="exclude each other"):
        replace(at_scale(R50_C4, "small"), body=body)
    assert fingerprint(replace(R50_C4, body=body)) == fingerprint(
        replace(R50_C4, body=replace(body, file="elsewhere.pth"))
    )
