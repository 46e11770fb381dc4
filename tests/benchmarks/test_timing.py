"""Benchmarks time right answers, in turn, and say how far ratios spread."""

from dataclasses import replace

import pytest
import torch

from benchmarks import timing
from benchmarks.cases import CASES
from benchmarks.timing import Timing, backends_of, measure
from kernels import Backend
from kernels.nms import NMS


@pytest.mark.parametrize("case", CASES)
def test_inputs_are_fresh_and_depend_on_the_seed_alone(case):
    backend = backends_of(case)[0]
    one, again, other = (CASES[case].run(seed)(backend) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert one.shape != other.shape or not torch.equal(one, other)


def test_every_sample_is_kept():
    found = measure("NMS of 1000 boxes", ["reference", "torchvision"], rounds=4)
    assert {len(samples) for samples in found.samples_ms.values()} == {4}


def test_a_wrong_answer_is_not_timed(monkeypatch):
    wrong = {**NMS.backends, "torchvision": Backend(forward=lambda **k: NMS.reference(**k).flip(0))}
    monkeypatch.setattr(timing.kernels, "nms", wrong_nms(wrong))
    with pytest.raises(AssertionError, match="torchvision is wrong, so it is not timed"):
        measure("NMS of 1000 boxes", ["torchvision"], rounds=3)


def wrong_nms(backends):
    return lambda boxes, scores, iou_threshold, backend: backends[backend](
        boxes=boxes, scores=scores, iou_threshold=iou_threshold
    )


def test_ratios_are_paired_by_round():
    """The machine slows down by 10 in the second half: the ratio in each round is still 2."""
    peer = [2.0] * 10 + [20.0] * 10
    found = Timing(case="x", samples_ms={"ours": [t / 2 for t in peer], "peer": peer})
    assert found.ratio("ours", "peer") == (2.0, 2.0, 2.0)
    slower = replace(found, samples_ms={**found.samples_ms, "ours": peer})
    assert slower.ratio("ours", "peer")[0] == 1.0
