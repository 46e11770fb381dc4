"""What losses are divided by, with several processes and with one."""

from dataclasses import dataclass

import pytest
import torch

from mrcnn.averages import average, counted
from mrcnn.ranks import ALONE, Ranks


@dataclass(frozen=True, kw_only=True)
class Rehearsed(Ranks):
    """A rank whose only companion counts `other` each time."""

    other: float = 0.0
    of: int = 2

    def table(self, numbers):
        return [numbers, [self.other, *numbers[1:]]]


def of(total, count):
    return float(average(torch.tensor(total), count))


def test_one_process_divides_by_its_count_or_by_one():
    assert of(6.0, 3) == 2
    assert of(0.0, 0) == 0
    for normaliser in ("global", "per_rank"):
        with counted(ALONE, normaliser):
            assert of(6.0, 3) == 2


def test_global_normaliser_makes_the_mean_over_ranks_the_average_of_all():
    """3 things that sum to 6 here, 1 that is 2 there: 8 / 4."""
    with counted(Rehearsed(other=1.0), "global"):
        here = of(6.0, 3)
    with counted(Rehearsed(other=3.0), "global"):
        there = of(2.0, 1)
    assert (here + there) / 2 == pytest.approx(8 / 4)


def test_per_rank_normaliser_weighs_ranks_alike_however_much_they_have():
    with counted(Rehearsed(other=1.0), "per_rank"):
        here = of(6.0, 3)
    with counted(Rehearsed(other=3.0), "per_rank"):
        there = of(4.0, 1)
    assert (here + there) / 2 == pytest.approx((6 / 3 + 4 / 1) / 2)


def test_the_block_ends_with_an_error_too():
    with pytest.raises(KeyError), counted(Rehearsed(other=9.0), "global"):
        raise KeyError
    assert of(6.0, 3) == 2
