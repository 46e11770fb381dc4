"""A kernel in a process of its own: its answers come through, its crashes are findings."""

import time

import pytest
import torch

from kernels.conformance.call import Violation, rounded
from kernels.conformance.case import Case
from kernels.conformance.declaration import declared_in
from kernels.conformance.worker import Isolated

KERNELS = """
import os, signal, sys, time
import torch
from kernels.conformance import kernel

@kernel("box_iou", name="right", dtypes=["float32", "bfloat16"], grads=["a"])
def right(a, b):
    print("a kernel may print what it likes")
    return torch.ops.mrcnn_lab.box_iou(a, b, "reference")

@kernel("box_iou", name="crashes")
def crashes(a, b):
    os.kill(os.getpid(), signal.SIGSEGV)

@kernel("box_iou", name="leaves")
def leaves(a, b):
    sys.stderr.write("out of luck\\n")
    os._exit(7)

@kernel("box_iou", name="hangs")
def hangs(a, b):
    time.sleep(1000)

@kernel("box_iou", name="raises")
def raises(a, b):
    raise RuntimeError("no\\nkernel for this")

@kernel("box_iou", name="writes")
def writes(a, b):
    out = torch.ops.mrcnn_lab.box_iou(a, b, "reference")
    a += 1
    return out

@kernel("box_iou", name="tuple")
def a_tuple(a, b):
    return (a, b)
"""
CASE = Case(
    operator="box_iou",
    tensors={"a": {"values": [[0, 0, 4, 4], [1, 1, 3, 5]]}, "b": {"values": [[0, 0, 4, 2]]}},
)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    file = tmp_path_factory.mktemp("kernels") / "theirs.py"
    file.write_text(KERNELS)
    return {k.name: k for k in declared_in(file)}


def test_answers_come_through_whole(kernels):
    arguments = rounded(CASE.arguments(), "bfloat16")
    with Isolated(kernels["right"]) as call:
        answer = call(arguments, grad=torch.ones(2, 1))
        assert answer.result.tolist() == [[0.5], [pytest.approx(2 / 14, rel=1e-2)]]
        assert answer.result.dtype == torch.bfloat16
        assert answer.grads["a"].shape == (2, 4)
        assert answer.changed == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crashes", "killed by SIGSEGV"),
        ("leaves", "exit code 7: out of luck"),
        ("hangs", "hangs: no answer to a call within"),
        ("tuple", "returned a tuple, not a tensor"),
    ],
)
def test_what_ends_a_process_is_a_finding_and_the_next_call_starts_another(
    kernels, name, said, monkeypatch
):
    monkeypatch.setattr("kernels.conformance.worker.COMPILES_S", 1.0)
    with Isolated(kernels[name], patience_s=1.0) as call:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(Violation, match=said):
                call(rounded(CASE.arguments(), "float32"))
            assert time.monotonic() - began < 60


def test_an_exception_is_an_answer_in_one_line(kernels):
    with Isolated(kernels["raises"]) as call:
        answer = call(rounded(CASE.arguments(), "float32"))
    assert answer.error == "RuntimeError: no kernel for this"
    with pytest.raises(Violation, match="raised RuntimeError"):
        _ = answer.result


def test_writing_into_an_input_is_noticed(kernels):
    with Isolated(kernels["writes"]) as call:
        assert call(rounded(CASE.arguments(), "float32")).changed == ("a",)
