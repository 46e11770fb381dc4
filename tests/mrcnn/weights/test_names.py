"""Tables of names, in both directions, and what each parameter of a network does."""

import pytest

from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, R50_FPN, at_scale
from mrcnn.weights import detectron2, mmdetection, torchvision
from mrcnn.weights.names import renamed, renamed_back, roles

TABLE = (
    ("fpn_lateral{i+2}.*", "lateral{i}.conv.*"),
    ("head.{n-1}.0.*", "box.conv{n}.*"),
    ("old.{n}.*", "box.conv{n}.*"),
)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("fpn_lateral2.weight", "lateral0.conv.weight"),
        ("fpn_lateral5.bias", "lateral3.conv.bias"),
        ("head.0.0.weight", "box.conv1.weight"),
    ],
)
def test_a_row_renames_both_ways(theirs, ours):
    assert renamed(theirs, TABLE) == ours
    assert renamed_back(ours, TABLE) == theirs


def test_the_first_row_that_fits_counts():
    assert renamed("old.3.weight", TABLE) == "box.conv3.weight"
    assert renamed_back("box.conv3.weight", TABLE) == "head.2.0.weight"
    assert renamed("fpn_lateralx.weight", TABLE) is None


@pytest.mark.parametrize("trial", [R50_FPN, R50_C4])
def test_every_parameter_of_a_network_does_one_thing(trial):
    model = MaskRCNN(at_scale(trial, "smoke").model)
    places = roles(model)
    assert sorted(places.values()) == sorted(model.state_dict())
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    "table", [torchvision.V1, torchvision.V2, detectron2.FPN, detectron2.C4, mmdetection.FPN]
)
def test_no_two_names_of_a_peer_do_the_same(table):
    """Where a table can be read back, the name found is the one that was looked up."""
    for role in ("stem.conv.weight", "stage4.0.conv2.weight", "rpn.conv1.bias", "box.deltas.bias"):
        name = renamed_back(role, table)
        assert name is not None
        assert renamed(name, table) == role
