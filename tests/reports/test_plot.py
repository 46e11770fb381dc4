"""Plots are pure, and show every row."""

from matplotlib.figure import Figure

from reports import plot
from reports.stats import paired
from tests.reports import made
from tests.reports.made import record, study


def test_smoothing_by_hand():
    assert plot.smoothed([2.0, 4.0, 6.0, 8.0], 2) == [2.0, 3.0, 5.0, 7.0]


def test_rows_differ_in_more_than_colour():
    styles = [plot.style(i) for i in range(7)]
    assert len({(s["marker"]) for s in styles}) == 7
    assert len({s["color"] for s in styles}) == 7


def test_a_forest_has_a_line_per_finding_and_says_what_was_not_run():
    shown = [
        plot.Line(label="table", ours=None, published=None, heading=True),
        plot.Line(label="a", ours=paired([3.0, 5.0], [1.0, 1.0]), published=2.0, verdict="x: y, z"),
        plot.Line(label="b", ours=None, published=1.0, verdict="not run"),
    ]
    axes = Figure().add_subplot()
    plot.forest(axes, shown, "mask AP")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["b", "a", "table"]
    assert [t.get_text() for t in axes.texts] == [" not run"]
    dots = {tuple(line.get_xdata()) for line in axes.lines if line.get_marker() in ("o", "D")}
    assert dots == {(3.0,), (2.0,), (1.0,)}


def test_costs_leave_out_runs_that_did_not_train(tmp_path):
    one = record("pool", 0, 22.0)
    rows = {"pool": [one, made.changed(one, trained_by="other", cost={"train_s": 1.0})]}
    rows["pool"][0] = made.changed(one, cost={"train_s": 120.0, "flops_g": 3.0})
    row = study(tmp_path, rows, baseline="pool", contrasts=()).rows[0]
    assert plot.cost_of(row, "train_min") == 2.0
    assert plot.cost_of(row, "flops_g") == 3.0
    assert plot.cost_of(row, "unknown") is None


def test_the_same_records_give_the_same_picture(tmp_path):
    one = made.whole_study(tmp_path)
    shown = {m: m for m in one.metrics}
    assert plot.bars(one, shown) == plot.bars(one, shown)
    assert plot.bars(one, shown) != plot.bars(one, {"mask AP": "mask AP"})
