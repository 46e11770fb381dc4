"""What is said before anything runs."""

from dataclasses import replace

import pytest

from ablations.cost import expected_s, pretraining_s
from ablations.grid import cells, named, names
from ablations.plan import listing, planned
from mrcnn.data.shapes import Shapes
from mrcnn.presets import R50_C4, R50_FPN, R101_FPN
from mrcnn.scales import at_scale


def plan_of(tmp_path, *asked, scale="small", seeds=1):
    grids = {n: (named(n), cells(named(n), scale, seeds, tmp_path)) for n in asked}
    return list(planned(grids, jobs=2))


def test_every_ablation_is_listed_once_with_its_field():
    lines = list(listing())
    for name in names():
        assert sum(line[2:].split(" ")[0] == name for line in lines) == 1, name
    assert lines.index("Other questions") < lines.index(next(x for x in lines if "res5" in x))


def test_rows_differ_from_the_baseline_as_told(tmp_path):
    lines = plan_of(tmp_path, "roi_layer", seeds=2)
    at = next(i for i, line in enumerate(lines) if line.startswith("  RoIWarp, max: 2 to do"))
    assert lines[at + 1] == "      model.roi_op: RoIWarp(reduce='max') instead of RoIAlign()"
    assert any("RoIAlign, mean, the baseline: 2 to do" in line for line in lines)


def test_what_is_trained_once_is_told(tmp_path):
    lines = plan_of(tmp_path, "mask_loss", seeds=3)
    assert (
        "trained once, evaluated for each: softmax, p >= 1/2 | softmax, beats background" in lines
    )
    assert lines[-1].startswith("9 trials to run, 6 of them trained, about")


def test_what_several_tables_share_is_run_once(tmp_path):
    lines = plan_of(tmp_path, "roi_layer", "class_agnostic")
    shared = "roi_layer: RoIAlign, mean = class_agnostic: class-specific"
    assert f"the very same trial at this scale, run once: {shared}" in lines
    assert lines[-1].startswith("6 trials to run")


def test_rows_that_coincide_at_a_scale_are_told(tmp_path):
    lines = plan_of(tmp_path, "implementations")
    same = next(line for line in lines if line.startswith("the very same trial"))
    assert "detectron_fpn = rpn.post_nms_train = 1000" in same


def test_what_is_not_paired_is_told(tmp_path):
    assert any("not paired: the mask head's" in line for line in plan_of(tmp_path, "mask_loss"))
    assert any("not paired: nothing" in line for line in plan_of(tmp_path, "roi_layer"))


def test_time_is_told_only_where_it_was_measured(tmp_path):
    assert "no finished one" in plan_of(tmp_path, "roi_layer", scale="smoke")[-1]
    assert "about" in plan_of(tmp_path, "roi_layer")[-1]


def test_expected_times_by_hand():
    """500 steps at 250 ms, 16 s of evaluation of 400 images and 8 s to start."""
    trial = replace(at_scale(R50_C4, "small"), data=Shapes(val=400))
    trial = replace(trial, train=replace(trial.train, steps=500))
    assert expected_s(trial) == pytest.approx(125 + 16 + 8)
    assert expected_s(trial, trained=True) == pytest.approx(24)
    assert expected_s(R50_C4) is None


def test_each_trunk_is_pretrained_once():
    trials = [at_scale(t, "small") for t in (R50_C4, R50_FPN, R101_FPN)]
    one = pretraining_s(trials[:1])
    assert pretraining_s(trials[:2]) == one > 0
    assert pretraining_s(trials) == pytest.approx(3 * one)
    assert pretraining_s(trials, jobs=2) == pytest.approx(2 * one)  # the deeper one's own time
    assert pretraining_s(trials[:1], jobs=2) == one
