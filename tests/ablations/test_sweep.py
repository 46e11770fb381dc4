"""Several ablations as one grid, and more seeds only for what is undecided."""

import pytest

from ablations.budget import Budget
from ablations.paper import TABLES
from ablations.run import Outcome
from ablations.sweep import Sweep, asked, fill, seeds_of
from mrcnn.provenance import code_id
from reports.looks import LOOKS
from reports.record import Record

MEANS = {"MLP, 2 layers": 25.0, "MLP, 3 layers": 30.0, "FCN": 30.0}
NOISE = {"MLP, 3 layers": 3.0}
"""Of the table of mask heads: one published effect is plain, the other one drowns in noise."""


def sweep(tmp_path, *names, seeds="auto", **more):
    return Sweep(names or ("mask_head",), "smoke", seeds, tmp_path, **more)


class Trainer:
    """A runner that makes up records, and remembers what it was asked for."""

    def __init__(self, failing=()):
        self.failing, self.asked, self.said = failing, [], []
        self.budget, self.watch = Budget(), self

    def say(self, line):
        self.said.append(line)

    def fill(self, cells):
        todo = [cell for cell in cells if cell.state() not in ("finished",)]
        self.asked.append({(cell.row, cell.seed) for cell in todo})
        for cell in todo:
            noise = NOISE.get(cell.row, 0.1) * (-1) ** cell.seed * (1 + cell.seed / 10)
            score = MEANS.get(cell.row, 30.0) + noise
            error = "broke" if (cell.row, cell.seed) in self.failing else None
            metrics = {} if error else {"mask AP": score}
            given = {"kind": "trial", "id": cell.id, "code_id": code_id(), "config": {}}
            Record(**given, metrics=metrics, error=error).save(cell.folder)
        return Outcome(failed=[c for c in todo if (c.row, c.seed) in self.failing])


def counts(grid):
    found = {}
    for cell in grid:
        found[cell.row] = found.get(cell.row, 0) + 1
    return found


def test_only_rows_of_undecided_contrasts_get_more_seeds(tmp_path):
    """FCN - MLP 2 is decided at the first look, but FCN - MLP 3 is not, up to the last."""
    whole, trainer = sweep(tmp_path), Trainer()
    fill(whole, trainer)
    assert counts(whole.grid("mask_head")) == {"MLP, 2 layers": 3, "MLP, 3 layers": 8, "FCN": 8}
    assert [len(one) for one in trainer.asked] == [9, 4, 6]
    assert sum("undecided FCN; MLP, 3 layers" in line for line in trainer.said) == 2


def test_what_is_decided_at_once_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(MEANS, "MLP, 3 layers", 20.0)
    monkeypatch.setitem(NOISE, "MLP, 3 layers", 0.2)
    whole, trainer = sweep(tmp_path), Trainer()
    fill(whole, trainer)
    assert [len(one) for one in trainer.asked] == [9]
    assert "mask_head, 3 seeds: undecided nothing" in trainer.said


def test_the_state_is_the_records_alone(tmp_path):
    fill(sweep(tmp_path), Trainer())
    again = Trainer()
    fill(sweep(tmp_path), again)
    assert not any(again.asked)
    (some, *_) = (c for c in sweep(tmp_path).grid("mask_head") if c.seed == 4)
    (some.folder / "record.json").unlink()
    fill(sweep(tmp_path), again)
    assert set().union(*again.asked) == {(some.row, some.seed)}


def test_before_a_look_is_complete_no_more_is_wanted(tmp_path):
    whole = sweep(tmp_path)
    assert set(counts(whole.grid("mask_head")).values()) == {LOOKS[0]}
    assert whole.looks() == []


def test_a_failure_counts_once_it_was_tried_again(tmp_path):
    broken = Trainer(failing={("FCN", 1)})
    whole = sweep(tmp_path)
    outcome = fill(whole, broken)
    assert [cell.row for cell in outcome.failed] == ["FCN"]
    mended = Trainer()
    fill(sweep(tmp_path), mended)
    assert mended.asked[0] == {("FCN", 1)}, "looked on before it was tried again"


def test_records_of_other_code_do_not_count_unless_accepted(tmp_path):
    whole = sweep(tmp_path)
    for cell in whole.cells():
        given = {"kind": "trial", "id": cell.id, "code_id": "0ld", "config": {}}
        Record(**given, metrics={"mask AP": 30.0 + cell.seed}).save(cell.folder)
    assert whole.looks() == []
    assert sweep(tmp_path, accept_old_code=True).looks() != []


def test_a_study_of_looks_says_so_and_has_rows_of_different_lengths(tmp_path):
    whole = sweep(tmp_path)
    fill(whole, Trainer())
    study = whole.study("mask_head")
    assert study.looks == LOOKS
    assert {row.name: len(row.records) for row in study.rows} == counts(whole.grid("mask_head"))
    assert study.table == "Table 2e"
    assert study.paired
    assert study.command == "python -m ablations run mask_head --scale smoke --seeds auto"
    assert sweep(tmp_path, seeds=2).study("mask_head").looks == ()


def test_paper_is_all_tables_and_shared_cells_come_once(tmp_path):
    assert asked("paper") == TABLES
    assert asked("roi_layer") == ("roi_layer",)
    whole = sweep(tmp_path, *TABLES, seeds=1)
    trainer = Trainer()
    fill(whole, trainer)
    cells = whole.cells()
    assert len({c.id for c in cells}) < len(cells), "FCN, FPN and C4 stand in several tables"
    for name in TABLES:
        assert all(cell.state() == "finished" for cell in whole.grid(name))


@pytest.mark.parametrize("text", ["0", "-1", "three", "1.5", ""])
def test_what_is_no_number_of_seeds_is_refused(text):
    with pytest.raises(ValueError, match="--seeds must be at least 1, or auto"):
        seeds_of(text)
    assert seeds_of("auto") == "auto"
    assert seeds_of("12") == 12


def test_a_wrong_name_is_told_the_nearest_one_the_paper_among_them():
    assert asked("mask_head") == ("mask_head",)
    assert asked("my.toml") == ("my.toml",)
    with pytest.raises(ValueError, match="^'papr' is no ablation; did you mean 'paper'"):
        asked("papr")


def test_a_page_names_the_command_that_makes_it_again(tmp_path):
    on_gpu = sweep(tmp_path, seeds=2, changes=("train.steps=4",), device="cuda")
    assert on_gpu.study("mask_head").command == (
        "python -m ablations run mask_head --scale smoke --seeds 2 --set 'train.steps=4' "
        "--device cuda"
    )
