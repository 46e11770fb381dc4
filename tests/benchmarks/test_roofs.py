"""Ceilings are measured, and what is held against them is held against the right one."""

import time

import pytest
import torch

from benchmarks import roofs as module
from benchmarks.roofs import Roofs, best_s, between, caches, copy_rate, matmul_rate, roofs, state

MADE_UP = Roofs(
    device="cpu",
    threads=1,
    copy=((1000, 80.0), (10_000, 90.0), (1_000_000, 10.0)),
    matmul={"float32": 200.0, "bfloat16": 900.0},
    caches={"L2": 2000, "L3": 20_000},
)


def test_cold_calls_are_held_against_memory():
    assert MADE_UP.bytes_per_s(10) == MADE_UP.bytes_per_s(10**9) == 10.0


@pytest.mark.parametrize(
    ("size", "rate"), [(10, 90.0), (5000, 90.0), (20_000, 10.0), (10**9, 10.0)]
)
def test_hot_calls_are_held_against_the_best_copy_that_is_no_smaller(size, rate):
    assert MADE_UP.bytes_per_s(size, "hot") == rate


def test_the_bound_is_the_later_of_moving_and_computing():
    assert MADE_UP.least_s(1000, 100) == 100.0
    assert MADE_UP.least_s(10, 1000) == 5.0
    assert MADE_UP.operations_per_s("bfloat16") == 900.0
    assert MADE_UP.operations_per_s("float16") == 200.0


def test_the_best_try_counts():
    """Slow at first, as before caches and clocks are warm; and counted per call."""
    calls = []

    def run():
        calls.append(1)
        time.sleep(0.02 if len(calls) < 4 else 0.002)

    assert 0.002 <= best_s(run, "cpu") < 0.01


def test_a_copy_counts_what_is_read_and_what_is_written(monkeypatch):
    monkeypatch.setattr(module, "best_s", lambda run, device: run() is None or 0.5)
    assert copy_rate("cpu", 4096) == 4096 / 0.5


def test_a_product_counts_multiplications_and_additions(monkeypatch):
    monkeypatch.setattr(module, "best_s", lambda run, device: run() is None or 0.5)
    monkeypatch.setitem(module.MATRIX, "cpu", 8)
    assert matmul_rate("cpu", "float32") == 2 * 8**3 / 0.5


def test_the_ceilings_of_this_machine(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.02)
    monkeypatch.setattr(module, "MEMORY", 2**24)
    monkeypatch.setattr(module, "caches", lambda device: {"L1d": 2**15, "L2": 2**20, "L3": 2**23})
    roofs.cache_clear()
    threads = torch.get_num_threads()
    found = roofs("cpu", 1)
    roofs.cache_clear()
    assert torch.get_num_threads() == threads
    assert all(rate > 1e8 for _, rate in found.copy)
    assert all(rate > 1e8 for rate in found.matmul.values())
    assert [size for size, _ in found.copy] == [2**19, 2**22, 2**25]  # the last is in no cache
    assert found.record()["threads"] == 1


def test_caches_are_named_and_grow(tmp_path, monkeypatch):
    sizes = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K")]
    sizes += [("3", "Unified", "32M")]
    for i, one in enumerate(sizes):
        folder = tmp_path / f"cpu0/cache/index{i}"
        folder.mkdir(parents=True)
        for name, text in zip(("level", "type", "size"), one, strict=True):
            (folder / name).write_text(text + "\n")
    monkeypatch.setattr(module, "PROCESSORS", tmp_path)
    caches.cache_clear()
    assert caches("cpu") == {"L1d": 48 * 2**10, "L2": 2**20, "L3": 32 * 2**20}
    caches.cache_clear()
    monkeypatch.setattr(module, "PROCESSORS", tmp_path / "nothing")
    assert caches("cpu") == {}
    caches.cache_clear()


def test_what_the_hypervisor_took_is_a_share_of_the_time_that_passed():
    before = {"load": 1.0, "ticks": 1000.0, "stolen": 10.0, "throttled": 3.0, "mhz": 2000.0}
    after = {"load": 2.0, "ticks": 1200.0, "stolen": 60.0, "throttled": 5.0, "mhz": 1500.0}
    found = between(before, after)
    assert found == {"load": 2.0, "mhz": 1500.0, "throttled": 2.0, "stolen": 0.25}
    assert "stolen" not in between(after, after)


def test_the_state_of_this_machine_is_read():
    one = state("cpu")
    assert one["load"] >= 0
    assert set(between(one, state("cpu"))) <= {"load", "mhz", "stolen", "throttled"}
