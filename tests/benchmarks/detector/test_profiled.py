"""Operators of a run, and what of it is in none of them."""

import time

import pytest
import torch

from benchmarks.detector.profiled import PYTHON, operators
from benchmarks.detector.stages import Case


def test_time_outside_operators_is_named():
    matrix = torch.rand(400, 400)

    def whole():
        matrix @ matrix
        time.sleep(0.05)

    case = Case(model="m", task="inference", steps={}, given={}, whole=whole)
    rows = {row["operator"]: row for row in operators(case, rounds=2)}
    assert rows[PYTHON]["ms"] > 45
    assert rows["aten::mm"]["calls"] == 1
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
