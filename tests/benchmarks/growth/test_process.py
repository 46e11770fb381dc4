"""One size in a process of its own: what it takes is measured, and what goes wrong is said."""

import ctypes
import errno
import os
import time
from functools import partial

import pytest
import torch

from benchmarks.benchmark import Ready
from benchmarks.growth.process import GIB, SHORTEST_MS, Law, available, enough, processed

MIB = 2**20


def nothing():
    """No answer to be checked."""


def work(run, check=nothing):
    return Ready(run=run, check=check, renew=lambda seed: None)


def asleep(ms):
    return work(lambda: time.sleep(ms / 1e3))


def hungry(megabytes):
    return work(lambda: torch.ones(megabytes * MIB // 4).sum())


def wrong_at_last(calls, *, of):
    """Its answer is right until it was called so often."""
    count = [0]

    def run():
        count[0] += 1

    def check():
        assert count[0] < of, "the answer is wrong"

    return work(run, check)


def breaks(value, *, how):
    return work((lambda: None) if value == 1 else how)


def crash():
    ctypes.string_at(0)


def raises():
    raise RuntimeError("no such luck\nand more lines")


def leave():
    os._exit(3)


def law(prepare, *values, **more):
    return Law(what="test", variable="size", values=values, prepare=prepare, **more)


def measured(one, value, limit=0, longest_s=30.0, **more):
    return processed(one, value, limit=limit, longest_s=longest_s, **more)


def test_time_and_memory_are_those_of_the_work():
    slept = measured(law(asleep, 1, 40), 40)
    assert slept.end == "measured"
    assert 40 <= slept.middle < 60
    assert len(slept.ms) >= 4
    assert slept.peak_mb < 20
    ate = measured(law(hungry, 1, 400), 400)
    assert ate.peak_mb == pytest.approx(400 * MIB / 1e6, rel=0.1)


def test_the_smallest_size_is_no_part_of_the_memory():
    """It runs first: with more memory than the size that is asked for."""
    found = measured(law(hungry, 600, 20), 20)
    assert 19 <= found.peak_mb < 60


def test_short_calls_are_timed_in_loops():
    found = measured(law(partial(breaks, how=nothing), 1, 2), 2, sample_s=0.05)
    assert found.end == "measured"
    assert found.middle < 0.1 * SHORTEST_MS


def test_a_size_that_does_not_fit_ends_its_process_alone():
    one = law(hungry, 1, 100, 900)
    assert measured(one, 100, limit=256 * MIB).end == "measured"
    found = measured(one, 900, limit=256 * MIB)
    assert found.end == "memory"
    assert "allocate" in found.said
    assert measured(one, 900, limit=2 * GIB).end == "measured"


def refused():
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.parametrize(
    ("how", "end", "said"),
    [
        (refused, "memory", "OSError: [Errno 12] Cannot allocate memory"),
        (crash, "failed", "the process ended with code -11"),
        (leave, "failed", "the process ended with code 3"),
        (raises, "failed", "RuntimeError: no such luck"),
        (partial(time.sleep, 60), "time", "not done after 3 s"),
    ],
    ids=["refused", "crash", "exit", "exception", "hang"],
)
def test_what_goes_wrong_is_said_in_one_line(how, end, said):
    began = time.monotonic()
    found = measured(law(partial(breaks, how=how), 1, 2), 2, longest_s=3.0)
    assert (found.end, found.said) == (end, said)
    assert found.ms == ()
    assert time.monotonic() - began < 20


def test_a_wrong_answer_is_not_a_time():
    found = measured(law(partial(wrong_at_last, of=3), 1, 2), 2)
    assert found.end == "wrong"
    assert "the answer is wrong" in found.said
    assert found.ms == ()


def test_the_machine_is_not_driven_out_of_memory():
    free = available()
    enough(0)
    with pytest.raises(ValueError, match=r"give a lower --limit-gib"):
        enough(free)


def test_threads_are_the_value_of_a_law_of_threads():
    assert law(asleep, 1, threads=3).threads_at(7) == 3
    assert Law(what="t", variable="threads", values=(1,), prepare=asleep).threads_at(7) == 7
