"""Growth: curves, exponents, largest sizes, and sizes without a number."""

from reports.growth import LINES, curve, curves, growth, law
from tests.reports.measured import curve as made
from tests.reports.measured import scaling


def test_a_curve_has_the_middle_of_processes_at_each_size_that_has_any():
    row = {"values": [100, 1, 10, 1000], "ms": [[3.0, 1.0, 2.0], [5.0], [], None]}
    assert curve(row, "ms") == [(1.0, 5.0), (100.0, 2.0)]
    assert curve({**row, "peak_mb": [2.0, 0.0, 1.0]}, "peak_mb") == [(10.0, 1.0), (100.0, 2.0)]
    assert curve(row, "peak_mb") == []


def test_a_law_in_words():
    assert law(made("a", "n", [1, 2], 1.0)) == "size to the power 1.00 (0.98 to 1.02)"
    assert law({"exponent": None}) == "no law"


def test_panels_by_variable_and_no_more_lines_than_can_be_told_apart():
    rows = [made(f"what{i}", "RoIs", [1, 10, 100], 1.0) for i in range(LINES + 1)]
    drawn = curves(rows, "ms")
    assert drawn.svg.count(">RoIs<") == 2
    assert "what5: 1.00" in drawn.svg
    assert curves([made("a", "n", [1, 2], 1.0, memory=False)], "peak_mb") is None


def test_there_is_no_section_of_nothing():
    assert growth([], []) is None
    only = growth([], scaling()["largest"])
    assert [block.name for block in only.blocks] == ["The largest that fits"]
    failed = made("a", "n", [1, 2], 1.0, error="it crashed", ms=[[], []], peak_mb=[])
    failed |= dict.fromkeys(("exponent", "low", "high", "from"))
    (table,) = growth([failed], []).blocks
    assert table.rows[0][2] == "nothing measured"
    assert table.rows[0][-1] == "it crashed"
