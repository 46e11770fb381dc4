"""Rows of outputs in each peer's order, brought to ours."""

import pytest
import torch

from mrcnn.weights import detectron2, torchvision
from mrcnn.weights.peer import Layout, arranged

CLASSES = 3


def outputs(background, spare, *, agnostic=False, ratios=3, sizes=1):
    """Outputs whose bias says which class a row is of: 0 is the background, 10 * class + what."""
    order = [0, *range(1, CLASSES + 1)] if background == "first" else [*range(1, CLASSES + 1), 0]
    owners = order if spare else [c for c in order if c]
    owners = [7] if agnostic else owners
    boxes = [10 * c + i for c in ([0] if agnostic and spare else []) + owners for i in range(4)]
    biases = {
        "box.classes": order,
        "box.deltas": boxes,
        "mask.logits": owners,
        "rpn.objectness": list(range(ratios * sizes)),
        "rpn.deltas": [10 * a + i for a in range(ratios * sizes) for i in range(4)],
    }
    return {
        f"{name}.{kind}": torch.tensor(rows, dtype=torch.float32)
        for name, rows in biases.items()
        for kind in ("weight", "bias")
    }


LAYOUTS = {
    "torchvision": ("first", True),
    "detectron2": ("last", False),
    "background last with spare rows": ("last", True),
    "background first, none spare": ("first", False),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_background_comes_first_and_only_once(name, kind):
    background, spare = LAYOUTS[name]
    layout = Layout(background_first=background == "first", spare_rows=spare)
    found, dropped = arranged(outputs(background, spare), layout, 1)
    assert dropped == 0
    assert found[f"box.classes.{kind}"].tolist() == [0, 1, 2, 3]
    assert found[f"mask.logits.{kind}"].tolist() == [1, 2, 3]
    wanted = [10 * c + i for c in (1, 2, 3) for i in range(4)]
    assert found[f"box.deltas.{kind}"].tolist() == wanted


@pytest.mark.parametrize("spare", [True, False])
def test_class_agnostic_rows_are_for_whatever_is_no_background(spare):
    layout = Layout(spare_rows=spare)
    found, _ = arranged(outputs("first", spare, agnostic=True), layout, 1)
    assert found["box.deltas.bias"].tolist() == [70, 71, 72, 73]
    assert found["mask.logits.bias"].tolist() == [7]


def test_classes_that_do_not_exist_are_left_out():
    layout = Layout(absent=(2,), absent_in=4)
    found, dropped = arranged(outputs("first", True), layout, 1)
    assert dropped == 1
    assert found["box.classes.bias"].tolist() == [0, 1, 3]
    assert found["mask.logits.bias"].tolist() == [1, 3]
    assert arranged(outputs("first", True), Layout(absent=(2,), absent_in=91), 1)[1] == 0
    assert len(torchvision.ABSENT_IN_COCO) == 10


def test_anchors_of_a_cell_go_from_size_by_size_to_ratio_by_ratio():
    """detectron2's channel size * 3 + ratio is ours ratio * 5 + size (facts shown by number)."""
    assert detectron2.PEER.layout.sizes_outside
    found, _ = arranged(outputs("last", False, sizes=5), detectron2.PEER.layout, 5)
    for ratio in range(3):
        for size in range(5):
            mine, theirs = ratio * 5 + size, size * 3 + ratio
            assert float(found["rpn.objectness.bias"][mine]) == theirs
            rows = found["rpn.deltas.bias"][4 * mine : 4 * mine + 4]
            assert rows.tolist() == [10 * theirs + i for i in range(4)]
