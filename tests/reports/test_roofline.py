"""Distance from the limit, by hand."""

import pytest

from reports.performance_sections import names
from reports.roofline import bound, limit, percent, roofline, share, share_table
from tests.reports.measured import timing


def of(**more):
    """1 GB at 10 GB/s takes 100 ms, 1e9 operations at 2e10 a second 50 ms; it took 400 ms."""
    found = {"bytes": 1e9, "roof": 1e10, "operations": 1e9, "flops_roof": 2e10}
    return timing("roi_align", "P2", 2.0) | {"ours_ms": [400.0, 1.0, 900.0]} | found | more


def test_the_slower_of_two_ceilings_is_the_limit():
    assert limit(of()) == pytest.approx(100)
    assert (share(of()), bound(of())) == (pytest.approx(0.25), "memory")
    computing = of(operations=4e9)
    assert limit(computing) == pytest.approx(200)
    assert (share(computing), bound(computing)) == (pytest.approx(0.5), "arithmetic")


def test_what_was_not_counted_has_no_limit_of_ours():
    assert limit(of(bytes=None, operations=None)) is None
    assert share(of(bytes=None, operations=None, of_roof=0.3)) == 0.3
    assert share(of(bytes=None, operations=None, of_roof=None)) is None
    assert share(of(operations=None)) == pytest.approx(0.25)
    assert share(of(of_light=0.4)) == 0.4


def test_shares_by_operator_the_furthest_first():
    rows = [
        of(operator="near", name="n", ours_ms=[125.0]),
        of(operator="far", name="f1", ours_ms=[1000.0]),
        of(operator="far", name="f2", ours_ms=[2000.0]),
    ]
    table = share_table(rows, names(rows))
    far, near = table.rows
    assert (far[0], *far[4:8]) == ("far", "5 %", "f2, hot", "10 %", "memory")
    assert far[3].text == "7.5 %"
    assert near[0] == "near"
    assert percent(1.2) == "120 %"


def test_a_roofline_needs_both_ceilings():
    assert roofline([of(flops_roof=None)]) is None
    assert roofline([]) is None
    drawn = roofline([of(), of(cache="cold"), of(threads=2)])
    assert drawn.svg.count("<svg") == drawn.svg.count("roi_align") == 2
    assert "2 threads" in drawn.svg
    assert "hollow" in drawn.caption
    assert "hollow" not in roofline([of()]).caption
