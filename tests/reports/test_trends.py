"""Series over time: what changed is drawn first and told with its commits."""

import pytest

from reports import trends as trends_of
from reports.trends import change_rows, changed_first, checked, trend_picture
from tests.reports.measured import series, trends


def test_the_largest_change_comes_first_in_either_direction():
    rows = trends()["series"]
    assert [one["name"] for one in changed_first(rows)] == [
        "roi_align/P2",
        "nms/1k",
        "detector/small/inference",
    ]


def test_a_change_names_the_first_commit_of_the_new_level_and_the_last_of_the_old():
    (row,) = change_rows([series("a", [(10, 1.0), (5, 1.2)])])
    assert row == ("a", "time over torchvision's", "+20 %", f"{10:012x}", "2026-01-11", f"{9:012x}")


def test_a_panel_for_each_series_but_not_for_hundreds(monkeypatch):
    assert trend_picture([]) is None
    one = trend_picture(trends()["series"])
    assert one.svg.count("time over torchvision") == 2
    assert "+15 %" in one.svg
    monkeypatch.setattr(trends_of, "PANELS", 2)
    many = trend_picture([series(f"s{i}", [(5, 1.0)]) for i in range(9)])
    assert sum(f">s{i}<" in many.svg for i in range(9)) == 2


def test_a_single_run_is_drawn():
    assert trend_picture([series("a", [(1, 1.0)])]).content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "found", [{}, [], {"series": [{"name": "a"}]}, {"series": [{"points": []}]}]
)
def test_what_are_no_trends_is_refused(found):
    with pytest.raises(ValueError, match="t.json: not trends"):
        checked(found, "t.json")


def test_a_change_outside_its_series_is_refused():
    one = series("a", [(5, 1.0)]) | {"changes": [{"index": 9, "ratio": 1.1, "p": 0.001}]}
    with pytest.raises(ValueError, match="a: a change at 9"):
        checked({"series": [one]}, "t.json")
