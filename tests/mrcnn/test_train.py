"""One trial from end to end, interrupted and not, and a loss that breaks."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kernels import operators
from mrcnn.data.loader import Batches
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.progress import Progress
from mrcnn.seeds import generator
from mrcnn.spec import plain, vary
from mrcnn.train import Runtime, run_trial

ROOT = Path(__file__).resolve().parents[2]
STEPS = 80  # enough for three signals to find it at work
TRIAL = vary(at_scale(R50_FPN, "smoke"), "train.steps", STEPS)


def start(trial, runs, out):
    (runs / "trial.json").write_text(json.dumps(plain(trial)))
    places = ["--trial", str(runs / "trial.json"), "--runs", str(runs), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "mrcnn", "train", *places, "--threads", "1"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    process = start(TRIAL, runs, runs / "whole")
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    return runs


def step_of(out):
    """The last step that was noted; -1 before the first."""
    try:
        return Progress(out / "progress.jsonl").history("train")[-1]["step"]
    except (OSError, IndexError):
        return -1


def interrupted(runs, out, number):
    """The exit code and words of a run that a signal meets when it is further than ever."""
    begun = step_of(out)
    process = start(TRIAL, runs, out)
    deadline = time.monotonic() + 60
    while step_of(out) <= max(begun, 1) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert not (out / "result.json").exists(), f"{number} came too late"
    return process.returncode, error


def test_interrupted_and_resumed_is_bitwise_the_uninterrupted(whole, tmp_path):
    """By each signal in turn: by SIGKILL before any state was kept, and by one with a state."""
    out = tmp_path / "out"
    assert interrupted(whole, out, signal.SIGKILL)[0] == -signal.SIGKILL
    kept = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        code, error = interrupted(whole, out, number)
        assert code == 130, error
        before, kept = kept, torch.load(out / "resume.pt", weights_only=True)["step"]
        assert before < kept < STEPS
    process = start(TRIAL, whole, out)
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    for file in ("model.safetensors", "predictions.json"):
        assert (out / file).read_bytes() == (whole / "whole" / file).read_bytes(), file
    one, two = (json.loads((f / "result.json").read_text()) for f in (out, whole / "whole"))
    assert one["metrics"] == two["metrics"]
    assert not (out / "resume.pt").exists()


def test_the_record_of_a_trial_is_its_birth_certificate(whole):
    result = json.loads((whole / "whole/result.json").read_text())
    assert {"commit", "dirty", "code_id", "torch", "device", "threads"} <= set(result["made_by"])
    assert result["made_by"]["threads"] == 1
    assert result["made_by"]["kernels"]["roi_align"] == "numba"
    assert set(result["made_by"]["kernels"]) == set(operators())
    assert result["cost"]["parameters"] > 1000
    assert result["history"][-1]["step"] == STEPS
    assert result["history"][0]["loss"] > result["history"][-1]["loss"]


def test_a_loss_that_is_not_a_number_names_the_images(whole, monkeypatch, tmp_path):
    from mrcnn import model

    honest = model.MaskRCNN.losses
    calls = []

    def broken(self, *arguments):
        calls.append(1)
        losses = honest(self, *arguments)
        return losses | {"mask": losses["mask"] * float("nan")} if len(calls) == 3 else losses

    monkeypatch.setattr(model.MaskRCNN, "losses", broken)
    with pytest.raises(FloatingPointError, match=r"step 2: the mask loss is nan; .*shapes/train/"):
        run_trial(TRIAL, tmp_path / "out", whole, Runtime(threads=1))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_every_precision_trains(whole, tmp_path, precision):
    trial = replace(TRIAL, train=replace(TRIAL.train, precision=precision, steps=3))
    runtime = Runtime(threads=1)
    assert run_trial(trial, tmp_path / precision, whole, runtime)["history"]


def test_accumulated_parts_train(whole, tmp_path):
    trial = replace(TRIAL, train=replace(TRIAL.train, accumulate=2, steps=2))
    assert run_trial(trial, tmp_path / "out", whole, Runtime(threads=1))["history"]


SEPARATE = replace(
    vary(TRIAL, "model.rpn_features", "separate"), train=replace(TRIAL.train, steps=6, rpn_steps=3)
)
DETECTOR = ("backbone.", "box_head.", "mask_head.")


def a_batch(trial, runs):
    """A model, and what its losses are of."""
    model = MaskRCNN(trial.model)
    examples = Batches(trial.data.open("train", runs / "data"), 2, 0, ())[0]
    images = model.images([e.image for e in examples])
    return model, images, [e.targets for e in examples], [generator(i) for i in range(2)]


def moved_by(model, losses, names):
    """The names of the parameters that these terms have a gradient for."""
    model.zero_grad(set_to_none=True)
    torch.stack([losses[name] for name in names]).sum().backward(retain_graph=True)
    return [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()]


def test_separate_rpn_features_get_no_gradient_from_the_detector_nor_give_it_one(whole):
    model, *given = a_batch(SEPARATE, whole)
    losses = model.losses(*given)
    of_rpn = moved_by(model, losses, ["objectness", "proposal box"])
    of_rois = moved_by(model, losses, ["class", "box", "mask"])
    assert {n.split(".")[0] for n in of_rpn} == {"rpn", "rpn_backbone"}
    assert {n.split(".")[0] for n in of_rois} == {"backbone", "box_head", "mask_head"}


def test_shared_rpn_features_get_both(whole):
    model, *given = a_batch(TRIAL, whole)
    losses = model.losses(*given)
    assert not hasattr(model.rpn_backbone, "trunk")
    for names in (["objectness", "proposal box"], ["class", "box", "mask"]):
        assert any(n.startswith("backbone.trunk") for n in moved_by(model, losses, names))


@pytest.mark.parametrize("features", ["separate", "shared"])
def test_proposals_depend_on_the_rpns_own_part_alone_where_it_has_one(whole, features):
    model, images, *_ = a_batch(vary(TRIAL, "model.rpn_features", features), whole)
    _, before = model.eval().proposed(images)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(DETECTOR):
                parameter.mul_(-1.7)
    _, after = model.proposed(images)
    same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert same == (features == "separate")


def test_both_trunks_start_from_the_weights_given(whole):
    weights = SEPARATE.model.backbone.trunk.build().state_dict()
    given = MaskRCNN(SEPARATE.model, 0, weights)
    drawn = MaskRCNN(SEPARATE.model, 0)
    for trunk in (given.backbone.trunk, given.rpn_backbone.trunk):
        assert all(torch.equal(t, weights[name]) for name, t in trunk.state_dict().items())
    first = "stages.0.0.weight"
    own, other = drawn.rpn_backbone.trunk.state_dict(), drawn.backbone.trunk.state_dict()
    assert not torch.equal(own[first], other[first])


def test_rpn_steps_train_the_rpn_first_and_then_leave_it_as_it_is(whole, tmp_path, monkeypatch):
    from mrcnn import model as module

    honest, states = module.MaskRCNN.losses, []

    def noting(self, *given):
        states.append({name: t.clone() for name, t in self.state_dict().items()})
        return honest(self, *given)

    monkeypatch.setattr(module.MaskRCNN, "losses", noting)
    result = run_trial(SEPARATE, tmp_path / "out", whole, Runtime(threads=1))
    assert set(result["history"][-1]["losses"]) == {"class", "box", "mask"}

    def changed(a, b):
        moved = (n for n, t in states[a].items() if not torch.equal(t, states[b][n]))
        return {name.split(".")[0] for name in moved}

    assert changed(0, 2) == {"rpn", "rpn_backbone"}
    assert changed(3, 5) == {"backbone", "box_head", "mask_head"}


def test_rpn_steps_need_features_of_its_own():
    with pytest.raises(ValueError, match=r"rpn_steps must be 0 with model.rpn_features='shared'"):
        vary(TRIAL, "train.rpn_steps", 3)


def test_aspect_groups_and_normaliser_train(whole, tmp_path):
    spec = replace(TRIAL.train, aspect_groups=(1.0,), normaliser="per_rank", steps=2)
    out = tmp_path / "out"
    assert run_trial(replace(TRIAL, train=spec), out, whole, Runtime(threads=1))["history"]


@pytest.mark.slow
def test_a_small_network_learns_eight_real_images_by_heart(fixtures, tmp_path):
    """Overfitting: mask AP50 of at least 80 on the images trained on. Takes minutes."""
    from mrcnn.data.coco import CocoFolder
    from mrcnn.presets import PRESETS
    from tests.mrcnn.data.subset import eight_images

    folder = eight_images(fixtures / "data" / "coco_mini", tmp_path / "eight")
    trial = vary(PRESETS["by_heart"], "data", CocoFolder(root=str(folder)))
    runtime = Runtime()
    result = run_trial(trial, tmp_path / "out", tmp_path, runtime)
    assert result["metrics"]["mask AP50"] >= 80
