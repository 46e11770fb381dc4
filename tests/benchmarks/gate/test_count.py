"""The lane of instructions: counts are judged without noise, and what has none is named."""

import pytest

from benchmarks.gate import count as gate_count
from benchmarks.gate.counted import Count
from benchmarks.gate.rounds import Slice
from benchmarks.gate.run import Found, Plan, code
from benchmarks.gate.sides import Side
from benchmarks.gate.verdict import exact


def test_counts_are_judged_by_what_they_are():
    assert exact([1000, 1000], [1001, 1001], 0.03).word == "SAME"
    assert exact([1000, 1001], [1100, 1101], 0.03).word == "SLOWER"
    assert exact([1100], [1000], 0.03).word == "FASTER"
    said = exact([1000, 1200], [1100, 1100], 0.03)  # calls differ by more than sides do
    assert said.word == "UNSURE"
    assert said.detectable == pytest.approx(0.2)
    assert said.low < said.ratio < said.high


def test_both_sides_are_counted_and_what_is_not_is_named(monkeypatch):
    counts = {
        "base": {"a": (100, 100), "b": (50,), "c": (70,)},
        "head": {"a": (100, 101), "b": (60,), "c": "it crashed"},
    }

    def instructions(names, side):
        made = counts[side.name]
        return {
            n: Count(name=n, side=side.name, calls=made[n]) if made[n] != "it crashed" else made[n]
            for n in names
        }

    monkeypatch.setattr(gate_count, "instructions", instructions)
    plan = Plan(sides=tuple(Side(name=n, folder=None) for n in ("base", "head")))
    found, said = Found(), []
    found.about = {n: {"operator": "", "effect": 0.03, "ahead": None} for n in "abc"}
    found.slices = {n: {"base": Slice(calls=1, samples=1, fresh=True)} for n in "abc"}
    gate_count.by_instructions(plan, found, said.append)
    assert {n: v.word for n, v in found.verdicts.items()} == {"a": "SAME", "b": "SLOWER"}
    assert found.errors == {"c": "head: it crashed"}
    assert said[-1] == "c: not measured: head: it crashed"
    assert code(plan, found) == 2
