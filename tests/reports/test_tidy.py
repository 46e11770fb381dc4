"""Records as one long table, with the rows they are in."""

import io

import pandas as pd
import pytest

from reports import load, tidy
from tests.reports import made
from tests.reports.made import record, study


def some(folder):
    rows = {
        "pool": [record("pool", 0, 22.0), record("pool", 1, 0, error="crash")],
        "align": [record("align", 0, 41.0), None],
    }
    return study(folder, rows)


def test_every_record_and_number_has_a_line(tmp_path):
    some(tmp_path)
    frame = load(tmp_path)
    metrics = frame[frame.group == "metric"]
    assert len(metrics) == 2 * len(made.METRICS) + 1
    assert metrics[(metrics.id == "pool0") & (metrics.metric == "mask AP50")].value.tolist() == [32]
    assert frame[(frame.id == "align0") & (frame.metric == "total_s")].value.tolist() == [90]
    failed = frame[frame.error.notna()]
    assert failed.id.tolist() == ["pool1"]
    assert failed.value.isna().all()
    assert frame.row.isna().all()


def test_the_rows_of_the_pages_below_are_named(tmp_path):
    one = some(tmp_path / "runs")
    for page in ("layers-small", "again-small"):
        (tmp_path / "runs/pages" / page).mkdir(parents=True)
        one.save(tmp_path / "runs/pages" / page)
    frame = load(tmp_path / "runs")
    picked = frame[(frame.page == "layers-small") & (frame.metric == "mask AP")]
    assert dict(zip(picked.row, picked.value, strict=True)) == {"pool": 22.0, "align": 41.0}
    assert picked.seed.tolist() == [0, 0]
    assert set(frame.page) == {"layers-small", "again-small"}


def test_a_study_is_the_same_table(tmp_path):
    one = some(tmp_path / "runs")
    (tmp_path / "runs/pages/layers-small").mkdir(parents=True)
    one.save(tmp_path / "runs/pages/layers-small")
    order = ["id", "group", "metric"]
    ours = tidy.tidy(one, "layers-small").sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(ours, load(tmp_path).sort_values(order, ignore_index=True))


def test_parquet_is_the_table_and_repeats_to_the_byte(tmp_path):
    pytest.importorskip("pyarrow")
    frame = tidy.tidy(some(tmp_path), "layers-small")
    packed = tidy.parquet(frame)
    assert packed == tidy.parquet(tidy.tidy(some(tmp_path), "layers-small"))
    back = pd.read_parquet(io.BytesIO(packed))
    assert back.value.dropna().tolist() == frame.value.dropna().tolist()
    assert back.row.tolist() == frame.row.tolist()


def test_without_pyarrow_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(tidy, "find_spec", lambda name: None)
    assert tidy.parquet(tidy.tidy(some(tmp_path), "x")) is None


def test_an_empty_folder_is_an_empty_table(tmp_path):
    assert load(tmp_path).empty
    assert "metric" in load(tmp_path).columns
