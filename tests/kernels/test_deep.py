"""Maps larger than memory: made of sparse ones, and what an index of 32 bits does to them."""

import pytest
import torch

from kernels.conformance import sparse
from kernels.conformance.case import SIDE, Case
from kernels.conformance.checks import checks_of, deep, every_check
from kernels.conformance.engine import check_kernel
from kernels.conformance.own import own

SMALL = {"kind": "windows", "shape": [2, 5, 40, 50], "at": [[0, 3, 4], [1, 20, 30]], "seed": 1}


def windows():
    """As a case makes them, in float32."""
    made = Case(operator="roi_pool", tensors={"features": SMALL}).arguments()["features"]
    return made.float()


def test_windows_are_whole_numbers_where_they_are_asked_for():
    found = windows().to_dense()
    where = torch.zeros(found.shape, dtype=torch.bool)
    where[0, ::2, 3 : 3 + SIDE, 4 : 4 + SIDE] = True
    where[1, ::2, 20 : 20 + SIDE, 30 : 30 + SIDE] = True
    assert torch.equal(found != 0, where)
    assert set(found[where].tolist()) == set(range(1, 9))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_dense_is_the_sparse_tensor_in_a_layout(layout):
    with sparse.dense(windows(), layout, "cpu") as found:
        assert torch.equal(found, windows().to_dense())
        last = layout == "channels_last"
        assert found.is_contiguous(memory_format=torch.channels_last) == last


def test_copies_are_refused_and_afterwards_allowed_again():
    with sparse.no_room_for_copies("cpu"):
        assert torch.ones(2**20).sum() == 2**20
        with pytest.raises(RuntimeError) as caught:
            torch.empty(sparse.ROOM, dtype=torch.float32)
    assert sparse.refused(str(caught.value))
    assert torch.empty(sparse.ROOM // 4 + 2**20, dtype=torch.float32).numel()


def test_it_is_run_only_when_asked_for():
    for operator in deep.OPERATORS:
        assert deep.NAME not in {check.name for check in checks_of(operator)}
        assert [check.name for check in checks_of(operator, [deep.NAME])] == [deep.NAME]
        assert deep.NAME in every_check(operator)


@pytest.mark.slow
@pytest.mark.parametrize("operator", deep.OPERATORS)
def test_numba_reads_beyond_32_bits_and_an_index_of_32_bits_is_seen(operator):
    """An outcome is "passed" only if the planted error was caught."""
    kernel = next(k for k in own() if (k.operator, k.name, k.lane) == (operator, "numba", "cpu"))
    (outcome,) = check_kernel(kernel, names=[deep.NAME], dtypes=["float32"])
    assert (outcome.verdict, outcome.reason) == ("passed", "")


@pytest.mark.slow
def test_torchvision_crashes():
    kernel = next(k for k in own() if (k.operator, k.name) == ("roi_align", "torchvision"))
    (outcome,) = check_kernel(kernel, names=[deep.NAME], dtypes=["float32"], shrink=False)
    assert outcome.reason == "crashed: killed by SIGSEGV"
