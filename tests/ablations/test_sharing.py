"""Who trains, who waits, who evaluates."""

from dataclasses import replace
from pathlib import Path

from ablations.grid import Cell, cells, named
from ablations.job import WEIGHTS
from ablations.sharing import Waiting, in_turn, trainings
from mrcnn.config import Trial
from mrcnn.provenance import code_id
from reports.record import Record


def cell(name, training=None):
    of = {"row": name, "seed": 0, "trial": Trial(), "folder": Path(name)}
    return Cell(id=name, training=training or name, **of)


def always(_):
    return True


def test_of_one_training_one_trains_and_the_others_follow():
    a, b, c = cell("a", "x"), cell("b", "x"), cell("c")
    waiting = Waiting([a, b, c], {})
    assert waiting.take(always) == a
    assert waiting.source(a) is None
    assert waiting.take(always) == c, "b waits for a, c does not"
    assert waiting.take(always) is None
    waiting.ended(a, well=True)
    assert waiting.take(always) == b
    assert waiting.source(b) == a.folder
    waiting.ended(b, well=True)
    assert waiting.source(cell("d", "x")) == a.folder, "weights are those of who trained"


def test_if_the_one_that_trains_fails_the_next_trains():
    a, b = cell("a", "x"), cell("b", "x")
    waiting = Waiting([a, b], {})
    waiting.take(always)
    waiting.ended(a, well=False)
    assert waiting.take(always) == b
    assert waiting.source(b) is None


def test_several_may_evaluate_the_same_weights_at_once():
    waiting = Waiting([cell("a", "x"), cell("b", "x")], {"x": Path("earlier")})
    assert waiting.take(always)
    assert waiting.take(always)


def test_what_does_not_fit_is_passed_over():
    a, b = cell("a"), cell("b")
    waiting = Waiting([a, b], {})
    assert waiting.take(lambda c: c is b) == b
    assert waiting.take(lambda c: c is b) is None
    assert waiting.cells == [a]


def test_the_interrupted_one_of_a_training_goes_first():
    a, b, c = cell("a"), cell("b", "x"), cell("c", "x")
    states = {"a": "to do", "b": "to do", "c": "interrupted"}
    assert in_turn([a, b, c, b], states) == [a, c, b]
    assert in_turn([a, b, c], states | {"c": "to do"}) == [a, b, c]


def test_trainings_are_found_by_their_records(tmp_path):
    def run(name, **more):
        given = {"kind": "trial", "id": name, "code_id": code_id(), "config": {}}
        record = Record(**given | {"made_by": {"training_id": f"of {name}"}} | more)
        record.save(tmp_path / name)
        (tmp_path / name / WEIGHTS).write_text("weights")

    run("whole")
    run("old", code_id="0ld")
    run("failed", error="out of memory")
    run("evaluated", trained_by="whole")
    run("unweighted")
    (tmp_path / "unweighted" / WEIGHTS).unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/record.json").write_text("{")
    found = trainings(tmp_path)
    assert found == {"of whole": tmp_path / "whole"}
    assert set(trainings(tmp_path, accept_old_code=True)) == {"of whole", "of old"}


def test_rows_of_an_ablation_that_share_a_training_are_known(tmp_path):
    grid = cells(named("mask_loss"), "smoke", 1, tmp_path)
    by_training = {}
    for one in grid:
        by_training.setdefault(one.training, []).append(one.row)
    assert sorted(map(sorted, by_training.values())) == [
        ["sigmoid"],
        ["softmax, beats background", "softmax, p >= 1/2"],
    ]
    other = replace(grid[0].trial, seed=7)
    assert other != grid[0].trial
