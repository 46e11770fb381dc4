"""Specs are varied, written down, read back and compared; mistakes are named."""

import json
from dataclasses import dataclass, field

import pytest

from mrcnn.config import Trial
from mrcnn.data.coco import CocoFolder
from mrcnn.presets import PRESETS, R50_C4, R50_FPN
from mrcnn.roi_ops import RoIAlign, RoIPool
from mrcnn.spec import NOT_IDENTITY, assign, diff, fingerprint, parse, plain, vary


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_written_is_read_back(name):
    trial = PRESETS[name]
    assert parse(json.loads(json.dumps(plain(trial))), Trial) == trial


def test_vary_changes_one_field_and_diff_finds_it():
    changed = vary(R50_C4, "model.roi_op.sampling_ratio", 4)
    assert list(diff(R50_C4, changed)) == [("model.roi_op.sampling_ratio", 2, 4)]
    assert R50_C4.model.roi_op == RoIAlign()


def test_fingerprints_change_with_every_field_but_where_data_lie():
    assert fingerprint(R50_C4) != fingerprint(vary(R50_C4, "seed", 1))
    here, there = (vary(R50_C4, "data", CocoFolder(root=root)) for root in ("here", "there"))
    assert fingerprint(here) == fingerprint(there)

    @dataclass(frozen=True)
    class Place:
        name: str
        path: str = field(default="", metadata=NOT_IDENTITY)

    assert fingerprint(Place("a", "x")) == fingerprint(Place("a", "y")) != fingerprint(Place("b"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("model.roi_op=RoIPool()", RoIPool()),
        ('model.roi_op=RoIAlign(reduce="max", sampling_ratio="adaptive")', None),
        ("train.steps=300", 300),
        ("train.optimiser.rate=1", 1.0),
        ("train.precision=bf16", "bf16"),
        ("train.clip=None", None),
        ("train.augment=(Resize(short=(400, 600)), Flip())", None),
        ("model.box_head.widths=(64,)", (64,)),
    ],
)
def test_values_as_typed(text, value):
    changed = assign(R50_FPN, [text])
    spec = changed
    for step in text.partition("=")[0].split("."):
        spec = getattr(spec, step)
    if value is not None:
        assert spec == value
    assert parse(plain(changed), Trial) == changed


MISTAKES = {
    "model.roi_opp=RoIPool()": "did you mean 'roi_op'",
    "model.roi_op=RoIPol()": "did you mean 'RoIPool'",
    "model.roi_op=RoIAlign(samples=3)": "no field of RoIAlign",
    "model.roi_op=RoIAlign(2)": "name the fields",
    "model.roi_op=7": "must be RoIPool | RoIWarp | RoIAlign",
    "train.steps=many": "must be int, got 'many'",
    "train.steps=-3": "steps",
    "train.precision=fp8": "'fp32' or 'tf32' or 'bf16' or 'fp16'",
    "train.steps": "takes path=value",
    "model.roi_op.sampling_ratio.x=1": "no fields|no field",
    "data=__import__('os')": "name the fields",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_named_in_one_line(text):
    with pytest.raises(ValueError, match=MISTAKES[text]) as caught:
        assign(R50_FPN, [text])
    assert "\n" not in str(caught.value)
