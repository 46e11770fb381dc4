"""Every disagreement has its field and its tests, and no two presets differ in anything else."""

import ast
from itertools import combinations
from pathlib import Path

import pytest

from mrcnn.choices import CHOICES
from mrcnn.config import Trial
from mrcnn.differences import ABSENT, at, left_over, shown, table
from mrcnn.peers import DETECTRON2_FPN, DETECTRON_FPN, PEERS
from mrcnn.presets import PRESETS
from mrcnn.roi_ops import RoIAlign
from mrcnn.rpn import RPN
from mrcnn.spec import vary

HERE = Path(__file__).parent
NOT_A_CHOICE = {"model.num_classes", "model.backbone", "train.accumulate", "train.precision"}
"""Classes belong to the data; which backbone is in the preset's name; the rest to the machine."""


def functions(file):
    return {n.name for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: c.name)
def test_each_choice_has_fields_and_tests_that_are_there(choice):
    for path in choice.fields:
        values = [at(trial, path) for trial in PRESETS.values()]
        assert any(value != ABSENT for value in values), f"no preset has {path}"
    assert choice.tests
    for named in choice.tests:
        place, name = named.split("::")
        folder, _, stem = place.rpartition("/")
        assert f"test_{name}" in functions(HERE / folder / f"test_{stem}.py"), named


@pytest.mark.parametrize(("a", "b"), list(combinations(PEERS, 2)), ids=str)
def test_whatever_peers_differ_in_is_a_choice(a, b):
    left = [p for p in left_over(PEERS[a], PEERS[b]) if p not in NOT_A_CHOICE]
    assert left == []


def test_a_field_that_belongs_to_no_choice_is_seen(monkeypatch):
    fewer = tuple(c for c in CHOICES if "model.paste" not in c.fields)
    monkeypatch.setattr("mrcnn.choices.CHOICES", fewer)
    assert left_over(DETECTRON_FPN, DETECTRON2_FPN) == ["model.paste.method"]


def test_a_table_has_a_row_for_each_field_that_differs():
    one = Trial()
    two = vary(vary(one, "model.roi_op.aligned", False), "model.rpn.beta", 0.0)
    rows = list(table({"one": one, "two": two}))
    assert [(field, values) for _, field, values in rows] == [
        ("model.roi_op.aligned", ("True", "False")),
        ("model.rpn.beta", ("0.111111", "0")),
    ]
    assert len(list(table({"one": one, "two": two}, every=True))) > 60


def test_a_part_that_is_another_is_shown_whole():
    assert shown(RoIAlign(aligned=False)) == "RoIAlign(aligned=False)"
    assert shown(RPN()) == "RPN()"
    rows = dict(
        (field, values)
        for _, field, values in table({n: PEERS[n] for n in ("torchvision", "matterport")})
    )
    assert rows["model.roi_op"] == ("RoIAlign(aligned=False)", "CropAndResize()")
