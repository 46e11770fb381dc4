"""What is published is whole, renders again, and holds no picture that is not ours."""

from dataclasses import replace

import pytest

from reports.page import render
from reports.publish import publish
from reports.study import load_study
from tests.reports.made import record, study


def rows(name):
    of = {n: record(n, 0, ap) for n, ap in (("pool", 22.0), ("align", 41.0))}
    return {n: [replace(r, data={"name": name})] for n, r in of.items()}


def test_a_published_page_renders_again_from_its_own_records(tmp_path):
    publish(study(tmp_path / "runs", rows("Shapes, 128 px")), tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()}
    assert "pictures.png" in before
    (tmp_path / "runs").rename(tmp_path / "gone")
    render(load_study(tmp_path / "out"), tmp_path / "out")
    after = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()}
    assert after == before


def test_pictures_of_other_data_stay_behind(tmp_path):
    publish(study(tmp_path / "runs", rows("nuclei/train")), tmp_path / "out")
    assert not list((tmp_path / "out").glob("**/gallery.json"))
    assert not (tmp_path / "out/pictures.png").exists()
    assert (tmp_path / "out/effects.png").exists()


def test_half_a_study_is_not_published(tmp_path):
    some = {**rows("Shapes"), "align": [None]}
    with pytest.raises(ValueError, match="align: not all runs are finished"):
        publish(study(tmp_path / "runs", some), tmp_path / "out")
