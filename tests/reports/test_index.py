"""The index: every page and finding is there, each run's time counts once, nothing is hidden."""

import re
from dataclasses import replace

import pytest

from reports import index
from reports.index import entries_of, minutes, render_index
from tests.reports.made import record, study


def a_page(pages, name, align=(41.0, 43.0), **changes):
    """A page folder with its study; its records lie beside the pages."""
    rows = {
        "pool": [record("pool", s, 22.0 + s) for s in range(2)],
        "align": [record("align", s, ap) if ap else None for s, ap in enumerate(align)],
    }
    one = study(pages.parent / name, rows, title=name.upper(), **changes)
    (pages / name).mkdir(parents=True)
    one.save(pages / name)


@pytest.fixture
def pages(tmp_path):
    a_page(tmp_path / "pages", "layers-small", table="Table 2c")
    a_page(tmp_path / "pages", "heads-small", align=(41.0, None), published={})
    return tmp_path / "pages"


def test_every_finding_stands_in_one_forest(pages, monkeypatch):
    seen = []
    monkeypatch.setattr(index.plot, "forest", lambda axes, shown, metric: seen.extend(shown))
    render_index(pages)
    assert [(line.heading, line.published) for line in seen] == [
        (True, None),
        (False, None),
        (True, None),
        (False, 3.4),
    ]


def test_the_page_counts_verdicts_links_pages_and_says_what_is_missing(pages):
    html = render_index(pages)[0].read_text()
    assert "<strong>1</strong> reproduced" in html
    assert "<strong>1</strong> nothing published" in html
    assert "heads-small: runs finished: 3 of 4, 1 missing." in html
    links = set(re.findall(r'href="([^"#:]+)"', html))
    assert links == {"heads-small/report.html", "layers-small/report.html"}
    assert "Table 2c" in html
    assert not re.findall(r"https?:|url\(|@import", html)


def test_twice_gives_the_same_bytes(pages):
    once = [path.read_bytes() for path in render_index(pages)]
    assert [path.read_bytes() for path in render_index(pages)] == once


def test_a_run_in_two_tables_took_its_time_once():
    one, other = record("pool", 0, 22.0), record("pool", 1, 22.0)
    assert minutes([one, other, one]) == "3.0 min"
    assert minutes([replace(one, cost={"total_s": 7200.0})]) == "2.0 h"
    assert minutes([replace(one, cost={}), other]) == "1.5 min"


def test_a_broken_page_is_named_and_does_not_hide_the_others(pages):
    (pages / "heads-small/study.json").write_text("{")
    written = render_index(pages)
    for path in written[:2]:
        assert "heads-small/study.json: not a study" in path.read_text()
        assert str(pages) not in path.read_text()
        assert "LAYERS-SMALL" in path.read_text()


def test_only_some_pages(pages):
    assert [e.name for e in entries_of(pages, "layers*")[0]] == ["layers-small"]
    with pytest.raises(ValueError, match="no page there named 'nothing'"):
        render_index(pages, "nothing")


def test_a_study_without_findings_is_listed(tmp_path):
    a_page(tmp_path / "pages", "bare-small", contrasts=())
    written = render_index(tmp_path / "pages")
    assert [path.name for path in written] == ["index.html", "index.md"]
    assert "BARE-SMALL" in written[0].read_text()


def test_a_training_counts_once_however_many_runs_evaluate_it():
    cost = {"total_s": 90.0, "train_s": 60.0, "evaluate_s": 30.0}
    trained = replace(record("a", 0, 20.0), cost=cost)
    shared = replace(record("b", 0, 20.0), cost=cost, trained_by=trained.id)
    assert minutes([trained, shared]) == "2.0 min"
