"""What tells most goes first, and what would not end in time does not start."""

from dataclasses import replace
from pathlib import Path

import pytest

from ablations.budget import Budget, Times, estimate, most_telling_first, share, time_left
from ablations.grid import cells, named
from kernels.command import seconds
from mrcnn.provenance import code_id
from reports.record import Record


@pytest.mark.parametrize(
    ("text", "wanted"), [("90s", 90), ("30m", 1800), ("2h", 7200), (" 1.5m ", 90)]
)
def test_times_are_read(text, wanted):
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "0s", "3 d", "half an hour"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="--budget must be a time such as 90s"):
        seconds(text)


def test_first_seeds_then_published_rows_then_the_baseline(tmp_path):
    ablation = named("mask_loss")
    grid = cells(ablation, "smoke", 2, tmp_path)
    order = [(c.seed, c.row) for c in most_telling_first([(ablation, grid)])]
    rows = ["sigmoid", "softmax, p >= 1/2", "softmax, beats background"]
    assert order == [(seed, row) for seed in (0, 1) for row in rows]


def test_a_trial_of_two_tables_comes_once_and_as_early_as_either_wants(tmp_path):
    ablation = named("mask_loss")
    grid = cells(ablation, "smoke", 1, tmp_path)
    last = next(c for c in grid if c.row == "softmax, beats background")
    other = replace(
        ablation,
        published={last.row: (1.0,), "sigmoid": (2.0,)},
        contrasts=((last.row, "sigmoid"),),
    )
    order = most_telling_first([(ablation, grid), (other, grid)])
    assert len(order) == len(grid)
    assert order.index(last) <= 2
    alone = [c.row for c in most_telling_first([(other, grid)])]
    assert alone == ["sigmoid", last.row, "softmax, p >= 1/2"]


def took(total, train):
    given = {"kind": "trial", "id": "x", "code_id": "y", "config": {}}
    return Record(**given, cost={"total_s": total, "train_s": train})


def test_times_come_from_other_seeds_else_from_other_rows(tmp_path):
    grid = cells(named("mask_loss"), "smoke", 2, tmp_path)
    one, other = grid[0], grid[2]
    times = Times()
    assert times.expected(one, trained=False) is None
    times.note(one, took(20, 15))
    again = next(c for c in grid if c.row == one.row and c.seed == 1)
    times.note(other, took(40, 15))
    assert times.expected(again, trained=False) == pytest.approx(24)
    assert times.expected(again, trained=True) == pytest.approx(9)
    assert times.expected(grid[1], trained=False) == pytest.approx(34)
    times.note(other, replace(took(400, 15), error="killed"))
    assert times.expected(grid[1], trained=False) == pytest.approx(34), "a failure counted"


def test_half_of_an_interrupted_trial_needs_half_the_time(tmp_path):
    (one, *_) = cells(named("mask_loss"), "smoke", 1, tmp_path)
    times = Times()
    times.note(one, took(96, 80))
    one.folder.mkdir()
    (one.folder / "progress.jsonl").write_text('{"phase": "train", "step": 5, "of": 10}\n')
    assert times.expected(one, trained=False) == pytest.approx(100), "no saved state"
    (one.folder / "resume.pt").write_text("state")
    assert times.expected(one, trained=False) == pytest.approx(57.5)


def test_a_budget_ends():
    assert Budget().allows(1e9)
    assert not Budget().over
    assert Budget.of("1h").allows(3000)
    assert not Budget.of("1h").allows(3700)
    assert Budget.of("1h").allows(None), "unknown: tried"
    assert not Budget(0.0).allows(None)
    assert Budget(0.0).over


def test_the_estimate_counts_a_shared_training_once(tmp_path):
    grid = cells(named("mask_loss"), "smoke", 1, tmp_path)
    assert "no finished one" in estimate(grid, 2)
    whole = cells(named("mask_loss"), "smoke", 2, tmp_path)
    first = whole[0]
    replace(took(356, 240), code_id=code_id()).save(Path(first.folder))
    said = estimate(whole, 1)
    # of 360 s: the row's other seed, twice sigmoid; of 120 s: twice the row that only evaluates
    assert "5 trials to run, about 22 min with 1 at a time" in said


def test_the_time_left_counts_both_phases_of_a_trial():
    def note(phase, step):
        return {"phase": phase, "step": step, "of": 10}

    halves = [share(note("train", 5)), share(note("train", 10)), share(note("evaluate", 5))]
    assert 0 < halves[0] < halves[1] < halves[2] < share(note("evaluate", 10)) == 1
    assert share({}) == 0
    assert time_left(0.0, 0.1, 10) == ""
    assert "left" in time_left(0.0, 5.0, 10)
