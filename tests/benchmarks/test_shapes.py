"""Inputs of every operator come from a seed alone, and both sides take them."""

import pytest
import torch

from benchmarks.family import MEMBERS
from benchmarks.timing import verify
from benchmarks.workloads import PEERS, Place, few_untied
from kernels import operators

SMALL = ("P5", "masks", "1k", "800px", "28x28")
ONE_OF_EACH = {
    (member.workload.operator, member.direction): member
    for member in MEMBERS.values()
    if member.shape in SMALL and member.dtype == "float32"
}


def test_there_is_one_of_each():
    assert {operator for operator, _ in ONE_OF_EACH} == set(operators())
    assert set(operators()) - set(PEERS) == {"crop_and_resize"}
    assert len(ONE_OF_EACH) == 10 + 5


@pytest.mark.parametrize("member", ONE_OF_EACH.values(), ids=lambda m: m.name)
def test_inputs_depend_on_the_seed_alone_and_the_peer_takes_them(member):
    workload = member.workload
    one, again, other = (workload.arguments(Place(), seed, few=True) for seed in (1, 1, 2))
    first = {n: v for n, v in one.items() if isinstance(v, torch.Tensor)}
    assert all(torch.equal(v, again[n]) for n, v in first.items())
    assert any(not torch.equal(v, other[n]) for n, v in first.items())
    verify(workload, "numba", Place(), 1)
    if workload.peer is not None:
        ours, theirs = (workload.run(f, one) for f in (workload.ours("numba"), workload.peer))
        indices = "nms" in workload.operator  # whose number is a matter of rounding
        assert indices or [t.shape for t in ours] == [t.shape for t in theirs]


def test_only_the_gradient_of_a_maximum_needs_maps_without_equal_values():
    untied = {m.name for m in MEMBERS.values() if m.workload.few is few_untied}
    assert untied == {n for n in MEMBERS if n.startswith("roi_pool/") and n.endswith("_backward")}
    given = MEMBERS[min(untied)].workload.arguments(Place(dtype="float16"), 1, few=True)
    bin_of_8_by_12 = given["features"][0, 0, :8, :12].float()
    assert len(bin_of_8_by_12.unique()) == 8 * 12
