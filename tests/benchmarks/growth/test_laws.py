"""Each law's work is right at its smallest size, and would be refused if it were not."""

from dataclasses import replace

import pytest
import torch

import kernels
from benchmarks.growth.fit import FEWEST
from benchmarks.growth.largest import LARGEST
from benchmarks.growth.laws import LAWS, THREADS, operator_of
from benchmarks.growth.work import compare

ISSUE = {
    "RoIs": (1, 100_000),
    "boxes": (1000, 300_000),
    "image px": (256, 4096),
    "classes": (2, 1203),
}
SMALL = [law for law in LAWS if law.variable != "threads" and "inference" not in law.what]


def test_laws_have_names_of_their_own_and_enough_sizes():
    names = [(law.what, law.variable) for law in LAWS]
    assert len(set(names)) == len(names)
    for law in LAWS:
        assert list(law.values) == sorted(set(law.values))
        assert len(law.values) >= FEWEST or law.variable == "threads"
    assert THREADS[0] == 1


@pytest.mark.parametrize("variable", ISSUE)
def test_the_sizes_that_were_asked_for_are_there(variable):
    ends = {(law.values[0], law.values[-1]) for law in LAWS if law.variable == variable}
    assert ISSUE[variable] in ends


def test_every_operator_has_a_law():
    assert {operator_of(law.what) for law in LAWS} >= set(kernels.operators())


@pytest.mark.parametrize("law", SMALL, ids=lambda law: f"{law.what}/{law.variable}")
def test_the_smallest_size_is_right_and_depends_on_the_seed(law):
    ready = law.prepare(law.values[0])
    answers = []
    for seed in (1, 1, 2):
        ready.renew(seed)
        ready.check()
        answers.append(ready.run())
    assert torch.equal(answers[0], answers[1])
    assert answers[0].shape != answers[2].shape or not torch.equal(answers[0], answers[2])


def test_the_detector_runs_and_is_checked():
    law = next(
        law for law in LAWS if (law.what, law.variable) == ("inference, R50-FPN", "image px")
    )
    ready = law.prepare(64)
    ready.renew(1)
    ready.check()
    (found,) = ready.run()
    assert found.masks.shape == (100, 64, 64)


def broken(operator, how):
    """The operator with a usual backend whose result is spoilt."""
    op = kernels.operators()[operator]
    usual = op.backends[op.chosen("cpu")]

    def forward(**arguments):
        return how(usual.forward(**arguments))

    return op, {**op.backends, op.chosen("cpu"): replace(usual, forward=forward)}


@pytest.mark.parametrize(
    ("operator", "how"),
    [
        ("roi_align", lambda out: out * 1.01),
        ("nms", lambda kept: kept[1:]),
        ("batched_nms", lambda kept: kept.flip(0)),
        ("box_iou", lambda out: out.roll(1, 1)),
        ("paste_masks", lambda out: ~out),
        ("crop_masks", lambda out: out.mT.contiguous()),
    ],
)
def test_a_wrong_answer_is_refused(operator, how, monkeypatch):
    op, backends = broken(operator, how)
    law = next(law for law in LAWS if law.what == operator and law.variable != "image px")
    ready = law.prepare(law.values[1])
    ready.renew(1)
    ready.check()
    monkeypatch.setattr(type(op), "__setattr__", object.__setattr__)
    monkeypatch.setattr(op, "backends", backends)
    with pytest.raises(AssertionError, match=f"{operator} is wrong, so it is not timed"):
        ready.check()


def test_bits_may_fall_either_way_at_a_threshold_alone():
    bits = torch.zeros(100, 100, dtype=torch.bool)
    one, two = bits.clone(), bits.clone()
    one[0, 0] = True
    compare("paste_masks", one, bits)
    two[0, :2] = True
    with pytest.raises(AssertionError):
        compare("paste_masks", two, bits)
    with pytest.raises(AssertionError):
        compare("paste_masks", bits[:50], bits)


def test_limits_are_searched_for_ours_and_the_peer():
    names = [(law.what, law.variable) for law in LARGEST]
    assert len(set(names)) == len(names)
    assert ("roi_align, torchvision", "RoIs") in names
    for law in LARGEST:
        assert len(law.values) == 1
