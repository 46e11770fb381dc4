"""Ours against what detectron2 and mmdetection computed, with weights made by a rule.

A reduced set lies in tests/golden, so that parity runs for everyone; with --fixtures-dir the whole
files are compared, those of C4 in slow tests: res5 runs on each proposal. Each planted mistake
loads without an error and must make a stage fail.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from mrcnn.backbone import Res5
from mrcnn.boxes import BoxCoder
from mrcnn.golden import made_weight, made_weights, read_golden, reduce_golden
from mrcnn.model import MaskRCNN
from mrcnn.parity import STAGES, Run
from mrcnn.roi_ops import RoIAlign
from mrcnn.spec import vary
from mrcnn.weights import detectron2
from mrcnn.weights.converting import LAYOUTS, convert

REDUCED = Path(__file__).resolve().parents[1] / "golden"
FPN = ("detectron2_R_50_FPN", "mmdetection_R_50_FPN")
C4 = ("detectron2_R_50_C4", "mmdetection_R_50_C4")
QUICK = [stage for stage in STAGES if stage != "end to end"]


@cache
def run(folder, name, rows=None):
    """A network with a golden file's weights, converted as a checkpoint of the peer would be."""
    golden = read_golden(folder, name)
    golden = replace(golden, rows=rows or golden.rows)
    return Run(convert(made_weights(golden)).model, golden)


def check(run, stage):
    with torch.no_grad():
        found = STAGES[stage](run)
    assert found.agrees, f"{run.golden.name}, {stage}: {found}"
    return found


@cache
def agreed(name, stage):
    """The reduced set's network, whose stage agrees."""
    sound = run(REDUCED, name)
    check(sound, stage)
    return sound


@pytest.mark.parametrize("stage", QUICK)
@pytest.mark.parametrize("name", [*FPN, *C4])
def test_each_stage_from_the_peers_stage_before_reduced(name, stage):
    agreed(name, stage)


@pytest.mark.parametrize("stage", QUICK)
@pytest.mark.parametrize("name", [*FPN, *(pytest.param(n, marks=pytest.mark.slow) for n in C4)])
def test_each_stage_from_the_peers_stage_before(fixtures, name, stage):
    """All of it but the heads of C4, which run res5 on each of the first 100 proposals only."""
    check(run(fixtures / "golden", name, 100 if name in C4 else None), stage)


@pytest.mark.parametrize("name", FPN)
def test_from_the_image_to_pasted_masks(fixtures, name):
    check(run(fixtures / "golden", name), "end to end")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["class logits", "box deltas", "end to end"])
@pytest.mark.parametrize("name", C4)
def test_c4_on_all_proposals_and_from_the_image(fixtures, name, stage):
    check(run(fixtures / "golden", name), stage)


@pytest.mark.parametrize("name", [*FPN, *C4])
def test_the_case_is_worth_comparing(name):
    """detectron2's FPN file has three classes; with mmdetection's there are ten."""
    found = read_golden(REDUCED, name).found
    assert len(found) >= 50
    assert len(found.labels.unique()) >= (3 if name == FPN[0] else 5)


@pytest.mark.parametrize("name", [*FPN, *C4])
def test_the_reduced_set_is_the_whole_one_reduced(fixtures, name, tmp_path):
    reduce_golden(fixtures / "golden", name, tmp_path)
    assert (tmp_path / f"{name}.json").read_text() == (REDUCED / f"{name}.json").read_text()
    mine, theirs = read_golden(tmp_path, name), read_golden(REDUCED, name)
    for field in ("image", "proposals", "class_logits", "deltas", "final_masks"):
        assert torch.equal(getattr(mine, field), getattr(theirs, field))
    assert sum(path.stat().st_size for path in REDUCED.iterdir()) <= 5 * 2**20


def test_weights_follow_the_rule_as_its_author_wrote_it():
    """First values from the "weight_check_first_values" of the mmdetection files."""
    gains = {"backbone.conv1": 80.0, "rpn_cls": 1.0}
    stem = made_weight("backbone.conv1.weight", (64, 3, 7, 7), gains).flatten()[:2].tolist()
    assert stem == pytest.approx([4.133358955383301, -9.567523002624512])
    scale = made_weight("backbone.bn1.weight", (64,), gains)[0]
    assert float(scale) == pytest.approx(0.40739449858665466)
    assert float(made_weight("backbone.bn1.running_var", (64,), gains)[0]) == pytest.approx(
        1.0134016275405884
    )
    score = made_weight("rpn_head.rpn_cls.weight", (3, 256, 1, 1), gains).flatten()[0]
    assert float(score) == pytest.approx(0.03933190926909447)


def test_a_golden_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="nothing: no golden file"):
        read_golden(tmp_path, "nothing")


def changed(path, value):
    """The same weights in a network with one other choice."""

    def plant(sound):
        with torch.device("meta"):
            model = MaskRCNN(vary(sound.model.config, path, value))
        model.load_state_dict(sound.model.state_dict(), assign=True)
        return Run(model.eval(), sound.golden)

    return plant


def unpermuted(sound):
    """detectron2's anchors taken for ratio by ratio."""
    peer = replace(detectron2.PEER, layout=replace(detectron2.PEER.layout, sizes_outside=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LAYOUTS, "detectron2", peer)
        return Run(convert(made_weights(sound.golden)).model, sound.golden)


def wrongly_permuted(sound):
    """mmdetection's anchors taken for size by size."""
    mmdetection = LAYOUTS["mmdetection"]
    peer = replace(mmdetection, layout=replace(mmdetection.layout, sizes_outside=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LAYOUTS, "mmdetection", peer)
        return Run(convert(made_weights(sound.golden)).model, sound.golden)


def first_for_last(sound):
    """The background taken for the first row of the class logits."""
    peer = replace(detectron2.PEER, layout=replace(detectron2.PEER.layout, background_first=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LAYOUTS, "detectron2", peer)
        return Run(convert(made_weights(sound.golden)).model, sound.golden)


TRUNK = "backbone.trunk"
CODER = "box_head.coder"
UNWEIGHTED = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
MISTAKES = {
    "stride in the 3x3 (detectron2)": (FPN[0], "features", changed(f"{TRUNK}.stride_in", "3x3")),
    "stride in the 1x1 (mmdetection)": (FPN[1], "features", changed(f"{TRUNK}.stride_in", "1x1")),
    "stride in the 3x3 (C4)": (C4[1], "features", changed(f"{TRUNK}.stride_in", "3x3")),
    "stride in the 3x3 of C4's res5": (C4[0], "class logits", changed(f"{TRUNK}.stride_in", "3x3")),
    "C4 anchors not permuted": (C4[0], "proposals", unpermuted),
    "C4 anchors permuted where they are not": (C4[1], "proposals", wrongly_permuted),
    "eps 0": (FPN[0], "features", changed(f"{TRUNK}.norm_eps", 0.0)),
    "eps 1e-3": (FPN[0], "features", changed(f"{TRUNK}.norm_eps", 1e-3)),
    "eps 0 (C4)": (C4[0], "features", changed(f"{TRUNK}.norm_eps", 0.0)),
    "eps 1e-3 (C4)": (C4[1], "features", changed(f"{TRUNK}.norm_eps", 1e-3)),
    "colours as RGB": (FPN[0], "features", changed("pixel_order", "rgb")),
    "colours as BGR": (FPN[1], "features", changed("pixel_order", "bgr")),
    "pixels of 0 .. 1": (C4[0], "features", changed("pixel_range", 1)),
    "half a pixel": (FPN[0], "RoI features", changed("roi_op.aligned", False)),
    "half a pixel in the logits": (FPN[1], "class logits", changed("roi_op.aligned", False)),
    "two samples a bin": (FPN[0], "RoI features", changed("roi_op", RoIAlign(sampling_ratio=2))),
    "deltas without weights": (FPN[0], "final boxes", changed(CODER, UNWEIGHTED)),
    "deltas without weights (C4)": (C4[1], "final boxes", changed(CODER, UNWEIGHTED)),
    "weights on the RPN's deltas": (
        FPN[1],
        "proposals",
        changed("rpn.coder.weights", (10.0, 10.0, 5.0, 5.0)),
    ),
    "anchors rounded": (FPN[0], "proposals", changed("rpn.anchors.rounded", True)),
    "anchors at cell centres": (C4[0], "proposals", changed("rpn.anchors.offset", 0.5)),
    "levels by another rule": (FPN[0], "class logits", changed("backbone.canonical_side", 80.0)),
    "background first": (FPN[0], "class logits", first_for_last),
    "NMS at 0.3": (FPN[1], "final boxes", changed("detection.nms_iou", 0.3)),
    "pasted as torchvision does": (FPN[0], "pasted masks", changed("paste.method", "grown")),
    "res5 on 7 x 7": (C4[0], "class logits", changed("roi_trunk", Res5())),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_that_loads_without_an_error_is_seen(mistake):
    name, stage, plant = MISTAKES[mistake]
    with pytest.raises(AssertionError):
        check(plant(agreed(name, stage)), stage)
