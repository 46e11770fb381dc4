"""What is planted slows operators down by the share that was asked for, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gate.planted import plant

ROOT = Path(__file__).resolve().parents[3]
# The clock is counted, not read: a microsecond a look, and what the kernel says that it took. A
# busy machine cannot lengthen it.
MEASURE = """
import sys
sys.path.insert(0, sys.argv[1])
import time

now = 0


def passed(nanoseconds=1_000):
    global now
    now += nanoseconds
    return now


time.perf_counter_ns = passed
import torch, kernels
from kernels import op
assert op.__file__.startswith(sys.argv[1])
kernels.roi_align  # the public name stays


def forward(a, b):
    passed(5_000_000)
    return torch.zeros(len(a), len(b))


kernels.operators()["box_iou"].backends["slow"] = op.Backend(forward=forward)
boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
start = now
kernels.box_iou(boxes, boxes, backend="slow")
print((now - start) / 5_000_000)
"""


def longer(folder):
    """How many times as long as its kernel an operator takes."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURE, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_an_operator_takes_the_share_longer(tmp_path):
    assert longer(plant(ROOT, tmp_path / "S50", 0.5)) == pytest.approx(1.5, rel=0.001)


def test_a_copy_with_nothing_planted_is_the_same(tmp_path):
    copied = plant(ROOT, tmp_path / "A1", 0.0)
    assert longer(copied) == 1.0
    for name in ("kernels/op.py", "mrcnn/model.py", "benchmarks/gate/planted.py"):
        assert (copied / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (copied / "reports" / "runs").exists()


def test_what_cannot_be_planted_is_said(tmp_path):
    with pytest.raises(ValueError, match="already there"):
        plant(ROOT, tmp_path, 0.1)
    with pytest.raises(ValueError, match="has no kernels/op.py"):
        plant(tmp_path, tmp_path / "x", 0.1)
    with pytest.raises(ValueError, match="a share of 0 or more"):
        plant(ROOT, tmp_path / "x", -0.1)
