"""What bfloat16 costs: said in quantiles; a network put beside itself loses nothing."""

import pytest

from benchmarks.detector.agreement import Agreement
from benchmarks.detector.low_precision import average_precision, moved, precision_in_words, summary
from benchmarks.detector.peer_network import SMALL
from mrcnn.checkpoint import save_model
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale


def test_float32_beside_itself_is_the_same():
    found = moved("fp32", SMALL, images=1)
    assert (found["matched"], found["alone"]) == (32, [0, 0])
    assert found["box_px"] == found["score"] == [0, 0, 0]
    assert found["mask_iou"] == [1, 1, 1]


def test_bf16_is_another_network_but_not_quite():
    found = moved("bf16", SMALL, images=1)
    assert found["matched"] >= 8
    assert 0 < found["box_px"][0] <= found["box_px"][1] <= found["box_px"][2]


def test_quantiles_are_those_of_the_bad_end():
    values = tuple(float(v) for v in range(101))
    found = summary(Agreement(alone=(1, 2), box_px=values, score=values, mask_iou=values))
    assert found["matched"] == 101
    assert found["alone"] == [1, 2]
    assert found["box_px"] == [50, 95, 100]
    assert found["mask_iou"] == [50, 5, 0]
    row = {"model": "m", "precision": "bf16", **found}
    assert precision_in_words(row) == (
        "bf16 beside fp32, m: 101 detections matched, 1 and 2 alone; medians: boxes 50 px apart, "
        "scores 50, mask IoU 50.000"
    )
    nothing = {"model": "m", "precision": "bf16", "matched": 0, "alone": [3, 0]}
    assert precision_in_words(nothing).endswith("0 detections matched, 3 and 0 alone")


def test_average_precision_of_a_network_of_ours(tmp_path):
    trial = at_scale(R50_FPN, "smoke")
    model = MaskRCNN(trial.model)
    save_model(model, trial, tmp_path / "model.safetensors", tuple("abcdefgh"))
    found = average_precision(tmp_path / "model.safetensors", limit=4)
    assert found["fp32"].keys() == {"mask AP", "box AP", "ms_per_image"}
    assert found["bf16"].keys() == found["fp32"].keys()
    assert "; fp32: mask AP " in precision_in_words(found)
    with pytest.raises(ValueError, match=r"nonesuch"):
        average_precision(tmp_path / "nonesuch.safetensors")
