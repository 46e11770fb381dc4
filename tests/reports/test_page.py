"""Pages: a pure function of records, ours and the paper's never mixed, nothing left out."""

import csv
import io
import re
from dataclasses import replace

import pytest

from reports import page, tidy
from reports.page import render
from reports.study import load_study
from tests.reports import made
from tests.reports.made import record, study


@pytest.fixture
def both(tmp_path):
    return study(tmp_path, {"pool": [record("pool", 0, 22.0)], "align": [record("align", 0, 41.0)]})


@pytest.fixture
def undrawn(monkeypatch):
    """Figures cost seconds, and most tests are of words."""
    monkeypatch.setattr(page, "drawn", lambda *_: [])


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_the_same_records_give_the_same_bytes(both, tmp_path):
    render(both, tmp_path / "page")
    once = contents(tmp_path / "page")
    render(both, tmp_path / "page")
    assert contents(tmp_path / "page") == once
    render(load_study(tmp_path / "page"), tmp_path / "page")
    assert contents(tmp_path / "page") == once
    wanted = {"report.html", "report.md", "table.csv", "table.tex", "effects.png", "pictures.png"}
    assert wanted <= set(once)


@pytest.mark.usefixtures("undrawn")
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


@pytest.mark.usefixtures("undrawn")
def test_the_finding_is_computed(both, tmp_path):
    render(both, tmp_path / "page")
    said = "align − pool: +19.0 mask AP (paper +3.4) - cannot tell: one seed, it takes two or more"
    assert said in (tmp_path / "page/report.html").read_text()
    assert said in (tmp_path / "page/report.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_failed_and_missing_runs_are_rows(tmp_path):
    rows = {
        "pool": [record("pool", 0, 22.0), record("pool", 1, 0, error="Traceback: out of memory")],
        "align": [record("align", 0, 41.0), None],
    }
    render(study(tmp_path, rows), tmp_path / "page")
    html = (tmp_path / "page/report.html").read_text()
    assert "1 of 2, 1 failed" in html
    assert "1 of 2, 1 missing" in html
    assert "out of memory" in html


def test_a_page_with_nothing_finished_still_says_so(tmp_path):
    rows = {"pool": [None], "align": [record("align", 0, 0, error="crash")]}
    render(study(tmp_path, rows), tmp_path / "page")
    assert "not run" in (tmp_path / "page/report.md").read_text()


@pytest.mark.usefixtures("undrawn")
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
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert not re.findall(r"https?:|url\(|@import", html)
    assert all(len(alt) > 10 for alt in re.findall(r'alt="([^"]*)"', html))
    assert html.count("<img") == html.count("alt=") == html.count("<figcaption") == 5
    assert "prefers-color-scheme: dark" in html


def test_every_entry_of_the_contents_leads_somewhere_and_every_figure_is_in_them(tmp_path):
    render(made.whole_study(tmp_path), tmp_path / "page")
    html = (tmp_path / "page/report.html").read_text()
    ids = re.findall(r' id="([^"]+)"', html)
    wanted = re.findall(r'href="#([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(wanted) <= set(ids)
    assert set(re.findall(r'<figure id="([^"]+)"', html)) <= set(wanted)


@pytest.mark.usefixtures("undrawn")
def test_rows_may_have_different_numbers_of_seeds(tmp_path):
    rows = {
        "pool": [record("pool", s, 22.0 + s) for s in range(3)],
        "align": [record("align", s, 41.0 + s) for s in range(5)],
        "late": [],
    }
    render(study(tmp_path, rows), tmp_path / "page")
    said = (tmp_path / "page/report.md").read_text()
    assert "different numbers of seeds, as each needed: pool 3, align 5, late 0" in said
    assert "| pool | 0, 1, 2 |" in said
    assert "align − pool: +19.0" in said


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_paired_is_said_and_the_table_is_named(both, tmp_path):
    told = replace(both, table="Table 9", paired="weights of the mask head")
    render(told, tmp_path / "page")
    for name in ("report.md", "report.html"):
        said = (tmp_path / "page" / name).read_text()
        assert "Not paired across the rows: weights of the mask head." in said
        assert "Table 2c, Table 9" in said


@pytest.mark.usefixtures("undrawn")
def test_without_pyarrow_the_page_says_what_is_left_out(both, tmp_path, monkeypatch):
    monkeypatch.setattr(tidy, "find_spec", lambda name: None)
    render(both, tmp_path / "page")
    assert not (tmp_path / "page/records.parquet").exists()
    assert "Left out: records.parquet" in (tmp_path / "page/report.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_names_are_escaped(tmp_path):
    rows = {"pool": [record("pool", 0, 22.0)], "align": [record("align", 0, 41.0)]}
    render(study(tmp_path, rows, title="<script>alert(1)</script>"), tmp_path / "page")
    assert "<script>" not in (tmp_path / "page/report.html").read_text()


def test_where_nothing_is_published_nobody_is_warned_of_it(tmp_path):
    rows = {"pool": [record("pool", 0, 20.0)], "align": [record("align", 0, 30.0)]}
    for published in ({}, {"pool": (26.9,)}):
        made = study(
            tmp_path, rows, published=published, changes=(), contrasts=(), comparable=False
        )
        text = render(made, tmp_path / "page")[1].read_text()
        page = (tmp_path / "page/report.html").read_text()
        for said in ("Not comparable with the published column", "Paper"):
            assert (said in text) == (said in page) == bool(published)
