"""Stages are timed on the right work: their sum stands beside the whole, answers are checked."""

import time
from dataclasses import replace
from statistics import median

import pytest
import torch

from benchmarks.detector import stages
from benchmarks.detector.peer_network import SMALL
from benchmarks.detector.stages import (
    CASES,
    REST,
    STAGES,
    WHOLE,
    Case,
    ablation_inference,
    breakdown,
    our_inference,
    our_training,
    their_inference,
)
from benchmarks.detector.steps import INFERENCE, TRAINING
from mrcnn.boxes import BoxCoder
from mrcnn.presets import R50_FPN


def asleep(seconds, **made):
    def step(seen):
        time.sleep(seconds)
        return made

    return step


def by_stage(rows):
    return {row["stage"]: row["ms"] for row in rows}


def test_what_no_stage_does_is_the_rest():
    steps = {"one": asleep(0.01, a=1), "two": asleep(0.03, b=2)}
    case = Case(model="m", task="inference", steps=steps, given={}, whole=lambda: time.sleep(0.06))
    rows = breakdown(case, rounds=4, threads=1)
    found = by_stage(rows)
    assert list(found) == ["one", "two", REST, WHOLE]
    assert all(len(ms) == 4 for ms in found.values())
    assert found["one"][0] >= 10
    assert found["two"][0] >= 30
    for one, two, rest, whole in zip(*found.values(), strict=True):
        assert one + two + rest == pytest.approx(whole)
    assert median(found[REST]) == pytest.approx(20, abs=8)
    about = {"model": "m", "pass": "inference", "threads": 1, "precision": "fp32"}
    assert all(about.items() <= row.items() for row in rows)


@pytest.mark.parametrize("make", [our_inference, their_inference, our_training])
def test_each_run_at_a_small_scale_is_the_sum_of_its_stages(make):
    case = make(SMALL)
    names = TRAINING if case.task == "training step" else INFERENCE
    found = by_stage(breakdown(case, rounds=3, threads=1))
    assert tuple(found) == (*names, REST, WHOLE)
    whole = median(found[WHOLE])
    assert abs(median(found[REST])) <= 0.2 * whole  # of a busy machine; on a quiet one 0.03


def test_a_training_step_is_timed_in_fp32_alone():
    case = Case(model="m", task="training step", steps={}, given={}, whole=lambda: None)
    with pytest.raises(ValueError, match="fp32, got 'bf16'"):
        breakdown(case, precision="bf16")


def test_bf16_is_computed_in_bf16():
    case = ablation_inference("small FPN", R50_FPN)
    seen = []

    def spy(given):
        found = case.steps["backbone"](given)
        seen.append(found["pyramid"].maps[0].dtype)
        return found

    breakdown(replace(case, steps={**case.steps, "backbone": spy}), rounds=1, precision="bf16")
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_can_be_repeated(name, tmp_path):
    assert STAGES[name].name == name
    for prepare in filter(None, (STAGES[name].prepare, STAGES[name].peer)):
        ready = prepare(tmp_path)
        ready.run()
        ready.run()
        ready.close()


@pytest.mark.parametrize("task", ["inference", "training"])
def test_a_right_answer_is_right_after_it_was_repeated_and_on_other_inputs(task, tmp_path):
    ready = STAGES[f"detector/{task}/mask head"].prepare(tmp_path)
    for seed in (1, 2):
        ready.renew(seed)
        ready.check()
        ready.run()
        ready.check()


def test_names_do_not_change():
    """Renamed, a benchmark has no past: the gate would call it gone."""
    assert len(STAGES) == len(INFERENCE) + len(TRAINING) + 2
    assert "detector/inference/RoI features, masks" in STAGES
    assert "detector/training/backbone, backward" in STAGES


def broken_proposals(monkeypatch):
    monkeypatch.setattr(
        "benchmarks.detector.steps.propose", lambda *a, **k: [torch.rand(9, 4).cumsum(1)]
    )


def broken_coder(monkeypatch):
    right = BoxCoder.decode
    monkeypatch.setattr(BoxCoder, "decode", lambda *a: right(*a) + 1.0)


def broken_losses(monkeypatch):
    right = stages.Training.box_losses
    monkeypatch.setattr(
        stages.Training,
        "box_losses",
        lambda *a: {"box_losses": {n: 1.1 * v for n, v in right(*a)["box_losses"].items()}},
    )


@pytest.mark.parametrize(
    ("name", "breaks"),
    [
        ("detector/inference/proposals", broken_proposals),
        ("detector/inference/backbone", broken_coder),
        ("detector/training/box losses", broken_losses),
        ("detector/training/the whole", broken_coder),
    ],
)
def test_a_wrong_answer_is_not_timed(name, breaks, monkeypatch, tmp_path):
    breaks(monkeypatch)
    ready = STAGES[name].prepare(tmp_path)
    with pytest.raises(AssertionError):
        ready.check()


def test_every_run_that_can_be_named_can_be_made():
    assert {"inference", "training", "inference, torchvision"} <= set(CASES)
    case = CASES["training, small C4"]()
    assert (case.images, case.task) == (8, "training step")
