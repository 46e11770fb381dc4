"""Benchmarks time right answers, in turn, and say how far ratios spread."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binom

from benchmarks.detector import choice, share
from benchmarks.timing import Timing, interval_of_median, measure, touched, verify
from benchmarks.workloads import WORKLOADS, Place

SMALL = {"nms of 1,000": 1, "paste_masks": 1, "multilevel_roi_align, masks": 1}


@pytest.mark.parametrize("name", WORKLOADS)
def test_inputs_depend_on_the_seed_alone_and_the_peer_takes_them(name):
    workload = WORKLOADS[name]
    one, again, other = (workload.arguments(Place(), seed, few=True) for seed in (1, 1, 2))
    first = {n: v for n, v in one.items() if isinstance(v, torch.Tensor)}
    assert all(torch.equal(v, again[n]) for n, v in first.items())
    assert any(not torch.equal(v, other[n]) for n, v in first.items())
    ours, theirs = (workload.run(f, one) for f in (workload.ours("numba"), workload.peer))
    assert [t.shape for t in ours] == [t.shape for t in theirs] or "nms" in name
    verify(workload, "numba", Place(), 1)


@pytest.mark.parametrize("name", SMALL)
def test_every_sample_is_kept(name):
    found = measure(name, "numba", Place(), rounds=4)
    assert len(found.ours_ms) == len(found.peer_ms) == 4
    assert min(found.ours_ms + found.peer_ms) > 0


def test_a_wrong_answer_is_not_timed(monkeypatch):
    right = WORKLOADS["nms of 1,000"]

    def ours(backend):
        return lambda **k: right.ours(backend)(**k).flip(0 if backend == "numba" else ())

    wrong = replace(right)
    object.__setattr__(wrong, "ours", ours)
    monkeypatch.setitem(WORKLOADS, "nms of 1,000", wrong)
    with pytest.raises(AssertionError, match="numba is wrong, so it is not timed"):
        measure("nms of 1,000", "numba", Place(), rounds=3)


def test_ratios_are_paired_by_round():
    """The machine slows down by 10 in the second half: the ratio in each round is still 2."""
    peer = (2.0,) * 10 + (20.0,) * 10
    ours = tuple(t / 2 for t in peer)
    found = Timing(workload="x", backend="b", place=Place(), ours_ms=ours, peer_ms=peer)
    assert found.ratio == (2.0, 2.0, 2.0)
    assert replace(found, ours_ms=peer).ratio == (1.0, 1.0, 1.0)
    assert replace(found, peer_ms=()).ratio is None


@pytest.mark.parametrize("count", [6, 20, 21, 50])
def test_the_interval_holds_the_median_as_often_as_it_says(count):
    values = [float(v) for v in range(count)]
    _, low, high = interval_of_median(values)
    outside = binom.cdf(low, count, 0.5) * 2  # fewer than low + 1 values below the true median
    narrower = binom.cdf(low + 1, count, 0.5) * 2
    assert high == count - 1 - low
    assert outside <= 0.05 < narrower


def test_bytes_are_those_of_the_pixels_that_are_read():
    workload = WORKLOADS["roi_align"]
    arguments = workload.arguments(Place(), 1)
    one = {**arguments, "rois": torch.tensor([[0.0, 8.0, 8.0, 36.0, 36.0]])}
    pixels = 8 * 8  # samples from 1.75 + 0.25 to 8.5 - 0.25, read between pixels 1 and 9
    assert touched(workload, one) == pytest.approx((pixels + 49) * 256 * 4, rel=0.2)
    assert touched(WORKLOADS["nms of 1,000"], {}) is None


def test_the_detector_is_timed_with_one_backend_and_the_other():
    assert choice("cpu", "numba")["roi_align"] == "numba"
    assert "crop_and_resize" not in choice("cpu", "torchvision")
    found = share("training step, small FPN", "cpu", 1, 3)
    assert len(found.ours_ms) == len(found.peer_ms) == 3
