"""Samples are taken in turn, on inputs of their own; graphs do what calls do; ratios spread."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binom

from benchmarks import timing
from benchmarks.benchmark import Ready
from benchmarks.timing import Timing, captured, held, interval_of_median, samples
from benchmarks.workloads import Place
from tests.benchmarks.captures import Gpu


@pytest.fixture
def gpu(monkeypatch):
    found = Gpu()
    found.put_in_place(monkeypatch)
    monkeypatch.setattr(timing, "flush", lambda device: found.log.append("flush"))
    return found


def doubling(gpu, given, *, waits=False, lost=False):
    """A side that doubles what is given; it may wait for the GPU, or launch where no graph sees."""

    def run():
        out, now = torch.zeros(4), given["now"]

        def work():
            gpu.log.append(float(now[0]))
            out.copy_(2 * now)

        if waits:
            gpu.wait()
        if lost:
            work()
        else:
            gpu.launch(work)
        return [out]

    return Ready(
        run=run,
        check=lambda: None,
        renew=lambda seed: given.update(now=torch.full((4,), float(seed))),
    )


def test_each_round_has_inputs_of_its_own_and_the_order_turns_round(monkeypatch):
    order = []
    monkeypatch.setattr(timing, "flush", lambda device: order.append("flush"))

    def side(name):
        return Ready(
            run=lambda: order.append(name),
            check=lambda: None,
            renew=lambda seed: order.append((name, seed)),
        )

    found = samples([side("ours"), side("peer")], "cpu", 3, "cold")
    assert [word for word in order if word != "flush"] == [
        *(("ours", 1), "peer", "ours"),
        *(("ours", 2), "ours", "peer"),
        *(("ours", 3), "peer", "ours"),
    ]
    assert order.count("flush") == 6
    assert [len(times) for times in found] == [3, 3]
    assert min(min(times) for times in found) > 0


def test_a_gpus_clock_starts_after_the_flush_and_waits_at_the_end(gpu):
    def run():
        gpu.log.append("run")
        gpu.now += 7.0

    side = Ready(run=run, check=lambda: None, renew=lambda seed: None)
    (times,) = samples([side], "cuda", 2, "cold")
    assert gpu.log == ["flush", "event", "run", "event", "wait"] * 2
    assert times == (7.0, 7.0)


@pytest.mark.parametrize("kept", ["cold", "hot"])
def test_a_graph_is_captured_on_the_inputs_of_its_round_and_replayed(gpu, monkeypatch, kept):
    monkeypatch.setattr(timing, "calibrated", lambda run, device: 2)
    given = {"now": torch.zeros(4)}
    samples([doubling(gpu, given)], "cuda", 3, kept, graph=True)
    worked = [word for word in gpu.log if isinstance(word, float)]
    times = 1 if kept == "cold" else 3  # a call before, and two in a row
    assert worked == [1.0] * times + [2.0] * times + [3.0] * times
    assert gpu.log.count("replay") == len(worked)
    assert gpu.log.count("flush") == (3 if kept == "cold" else 0)


def test_what_waits_for_the_gpu_is_held_by_no_graph_and_the_reason_is_the_first(gpu):
    with pytest.raises(RuntimeError, match="cannot hold it: operation not permitted when stream"):
        captured(doubling(gpu, {"now": torch.ones(4)}, waits=True).run)
    assert gpu.stream == "usual"
    graph, (out,) = captured(doubling(gpu, {"now": torch.ones(4)}).run)
    assert float(out[0]) == 0.0
    graph.replay()
    assert float(out[0]) == 2.0


def test_ours_has_to_be_held_and_a_peer_need_not(gpu):
    given = {"now": torch.ones(4)}
    plain, waits = doubling(gpu, given), doubling(gpu, given, waits=True)
    assert held([plain, plain], 1e-6) == [plain, plain]
    assert held([plain, waits], 1e-6) == [plain]
    with pytest.raises(RuntimeError, match="a CUDA graph cannot hold it"):
        held([waits, plain], 1e-6)


def test_a_replay_that_does_not_do_the_work_is_not_timed(gpu):
    lost = doubling(gpu, {"now": torch.ones(4)}, lost=True)
    with pytest.raises(AssertionError, match="the replay of its CUDA graph gives another answer"):
        held([lost], 1e-6)


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
