"""Between two implementations there is a row for each field, and nothing else moves."""

import pytest

from ablations.implementations import ABLATION, between
from mrcnn.model import MaskRCNN
from mrcnn.presets import PRESETS, at_scale
from mrcnn.spec import diff


def test_each_row_is_the_first_with_one_field_of_the_second():
    base, goal = PRESETS["detectron_fpn"].model, PRESETS["detectron2_fpn"].model
    rows = dict(ABLATION.values)
    assert rows.pop("detectron_fpn") == base
    assert rows.pop("detectron2_fpn") == goal
    pixels = rows.pop("pixel order, range, mean and padding")
    assert {path for path, _, _ in diff(base, pixels)} == {"pixel_mean"}
    wanted = {path: value for path, _, value in diff(base, goal)}
    for name, model in rows.items():
        ((path, _, value),) = diff(base, model)
        assert name.startswith(path)
        assert wanted.pop(path) == value
    assert set(wanted) == {"pixel_mean", "keypoint_loss.rois", "keypoint_decode.score"}


def test_every_row_is_a_network_at_every_scale():
    for _, trial in ABLATION.rows():
        MaskRCNN(at_scale(trial, "smoke").model)
        at_scale(trial, "small")


def test_what_is_no_network_alone_is_named():
    found = between("detectron2_fpn", "detectron2_c4")
    assert "Not networks alone, and left out: backbone, roi_trunk, box_head" in found.question
    assert "rpn.pre_nms_test = 6000" in found.values


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("torchvison", "matterport"), "did you mean 'torchvision'"),
        (("torchvision", "torchvision"), "do not differ"),
    ],
)
def test_presets_that_cannot_be_compared_are_named(pair, said):
    with pytest.raises(ValueError, match=said):
        between(*pair)
