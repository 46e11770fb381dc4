"""Records are there whole or not at all."""

import json
import math
import os

import pytest

from reports.record import FILE, load_record
from tests.reports.made import record


def test_what_is_saved_is_loaded(tmp_path):
    one = record("pool", 0, 20.0)
    assert load_record(one.save(tmp_path)) == one


def test_what_was_not_measured_is_null_and_comes_back_as_nan(tmp_path):
    path = record("pool", 0, float("nan")).save(tmp_path)
    assert json.loads(path.read_text())["metrics"]["mask AP"] is None
    assert math.isnan(load_record(path).metrics["mask AP"])


def test_a_crash_while_writing_leaves_the_old_record(tmp_path, monkeypatch):
    old = record("pool", 0, 20.0)
    old.save(tmp_path)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        record("pool", 0, 30.0).save(tmp_path)
    assert load_record(tmp_path / FILE) == old
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "trial", "metrics": {}}'])
def test_a_broken_record_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match=f"{FILE}: not a record"):
        load_record(tmp_path / FILE)
