"""What a test checks of types while it runs: arguments, results and the shapes of both."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from kernels.box_iou import reference
from tests.typechecks import once


@jaxtyped(typechecker=once)
def rows(a: Float[Tensor, "n 4"], *, count: int = 0) -> Float[Tensor, " n"]:
    return torch.zeros(len(a) + count)


def doubled(dtype):
    @jaxtyped(typechecker=once)
    def twice(a: dtype, times: int = 2) -> dtype:
        return str(a) if a == 7 else a * times

    return twice


def test_what_fits_passes():
    assert len(rows(torch.zeros(3, 4))) == len(rows(torch.zeros(2, 4), count=0)) + 1


@pytest.mark.parametrize("wrong", [torch.zeros(3, 5), torch.zeros(3, 4, dtype=torch.long), "a"])
def test_an_argument_that_does_not_fit_is_refused(wrong):
    with pytest.raises(TypeCheckError, match="parameters"):
        rows(wrong)


def test_a_result_must_have_the_shape_that_the_argument_gave_it():
    with pytest.raises(TypeCheckError, match="return value"):
        rows(torch.zeros(3, 4), count=1)


def test_functions_inside_another_share_a_check_where_their_types_are_the_same():
    for kind, fits, wrong in ((int, 3, "3"), (str, "3", 3), (int, 4, 4.0)):
        twice = doubled(kind)
        assert twice(fits) == twice(fits, times=2)
        with pytest.raises(TypeCheckError, match="parameters"):
            twice(wrong)
    with pytest.raises(TypeCheckError, match="return value"):
        doubled(int)(7)


def test_this_projects_functions_are_checked():
    with pytest.raises(TypeCheckError):
        reference.box_iou(torch.zeros(2, 4), torch.zeros(2, 5))
