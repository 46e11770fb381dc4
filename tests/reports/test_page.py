"""Pages: a pure function of records, ours and the paper's never mixed, nothing left out."""

import csv
import io
import re

import pytest
from PIL import Image

from reports import load, pictures, plot
from reports.page import render
from reports.study import load_study
from tests.reports import made
from tests.reports.made import record, study


@pytest.fixture
def both(tmp_path):
    return study(tmp_path, {"pool": [record("pool", 0, 22.0)], "align": [record("align", 0, 41.0)]})


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_the_same_records_give_the_same_bytes(both, tmp_path):
    render(both, tmp_path / "page")
    once = contents(tmp_path / "page")
    render(both, tmp_path / "page")
    assert contents(tmp_path / "page") == once
    render(load_study(tmp_path / "page"), tmp_path / "page")
    assert contents(tmp_path / "page") == once
    assert {"report.html", "report.md", "table.csv", "effects.png", "pictures.png"} <= set(once)


def test_ours_and_the_papers_stand_under_their_own_heads(both, tmp_path):
    render(both, tmp_path / "page")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "page/table.csv").read_text())))
    pool = next(row for row in rows if row["row"] == "pool")
    assert pool["ours mask AP"] == "22.0"
    assert pool["paper mask AP"] == "26.9"
    assert "paper box AP" not in pool
    html = (tmp_path / "page/report.html").read_text()
    cells = re.findall(r'<td class="([^"]*)">([^<]*)</td>', html)
    assert {value for kind, value in cells if kind == "paper"} == {
        f"{v}" for values in made.PAPER.values() for v in values
    }
    assert "Not comparable with the published column" in html


def test_the_finding_is_computed(both, tmp_path):
    render(both, tmp_path / "page")
    said = "align − pool: +19.0 mask AP (paper +3.4) - cannot tell: one seed"
    assert said in (tmp_path / "page/report.html").read_text()
    assert said in (tmp_path / "page/report.md").read_text()


def test_failed_and_missing_runs_are_rows(tmp_path):
    rows = {
        "pool": [record("pool", 0, 22.0), record("pool", 1, 0, error="Traceback: out of memory")],
        "align": [record("align", 0, 41.0), None],
    }
    render(study(tmp_path, rows, seeds=2), tmp_path / "page")
    html = (tmp_path / "page/report.html").read_text()
    assert "1 of 2, 1 failed" in html
    assert "1 of 2, 1 missing" in html
    assert "out of memory" in html


def test_a_page_with_nothing_finished_still_says_so(tmp_path):
    rows = {"pool": [None], "align": [record("align", 0, 0, error="crash")]}
    render(study(tmp_path, rows), tmp_path / "page")
    assert "not run" in (tmp_path / "page/report.md").read_text()


def test_rows_of_different_code_are_pointed_out(tmp_path):
    rows = {
        "pool": [record("pool", 0, 22.0, code_id="0ld")],
        "align": [record("align", 0, 41.0)],
    }
    render(study(tmp_path, rows), tmp_path / "page")
    assert "made with different code_id: 0ld, c0de" in (tmp_path / "page/report.md").read_text()


def test_the_page_needs_no_network_and_names_its_pictures(both, tmp_path):
    render(both, tmp_path / "page")
    html = (tmp_path / "page/report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert all(len(alt) > 10 for alt in re.findall(r'alt="([^"]*)"', html))
    assert html.count("<img") == html.count("alt=") == 4
    assert "prefers-color-scheme: dark" in html


def test_names_are_escaped(tmp_path):
    rows = {"pool": [record("pool", 0, 22.0)], "align": [record("align", 0, 41.0)]}
    render(study(tmp_path, rows, title="<script>alert(1)</script>"), tmp_path / "page")
    assert "<script>" not in (tmp_path / "page/report.html").read_text()


def test_pictures_show_the_images_that_differ_most():
    galleries = {"good": made.pictures(0), "bad": made.pictures(8)}
    assert [pictures.quality(i) for i in galleries["good"]["images"]] == [1.0, 1.0]
    assert pictures.quality(galleries["bad"]["images"][1]) == pytest.approx(1 / 3, abs=0.01)
    one = Image.open(io.BytesIO(pictures.strip(galleries, images=1)))
    two = Image.open(io.BytesIO(pictures.strip(galleries, images=2)))
    assert two.height > 1.5 * one.height
    assert pictures.strip({}) is None


def test_a_detection_of_another_class_is_no_success():
    image = made.pictures(0)["images"][0]
    image["detections"][0]["label"] = 2
    assert pictures.quality(image) == 0


def test_records_become_a_tidy_frame(both, tmp_path):
    frame = load(tmp_path)
    assert len(frame) == 2 * len(made.METRICS)
    picked = frame[(frame.id == "pool0") & (frame.metric == "mask AP50")]
    assert picked.value.tolist() == [32.0]


def test_smoothing_by_hand():
    assert plot.smoothed([2.0, 4.0, 6.0, 8.0], 2) == [2.0, 3.0, 5.0, 7.0]
