"""The first call is timed of every operator, by a benchmark that is there."""

from benchmarks.family import MEMBERS
from benchmarks.first_call import OPERATORS
from kernels import operators


def test_every_operator_has_its_first_call():
    assert set(OPERATORS) == set(operators())
    members = [MEMBERS[name] for name in OPERATORS.values()]
    assert [m.workload.operator for m in members] == list(OPERATORS)
    assert {(m.dtype, m.direction) for m in members} == {("float32", "forward")}
