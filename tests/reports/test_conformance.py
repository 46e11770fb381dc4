"""The page of a conformance run says what was found, and makes up nothing."""

import json

import pytest

from reports.conformance import render_conformance

OUTCOMES = [
    {
        "operator": "nms",
        "kernel": "mine",
        "lane": "cpu",
        "check": check,
        "dtype": "float32",
        "verdict": verdict,
        "reason": reason,
        "rule": "Best first.",
        "words": ["boxes = [[0, 0, 1, 1]]"],
        "cases": 25,
        "seconds": 1.5,
    }
    for check, verdict, reason in (
        ("order", "passed", ""),
        ("ties", "failed", "1 before 0"),
        ("nonfinite", "known", "see issue 3"),
        ("compiled", "not run", "compiled is not declared"),
    )
]
KILLS = [
    {"operator": "nms", "name": "all kept", "fault": "keeps all", "killers": ["certificate"]},
    {"operator": "nms", "name": "same", "fault": "none", "killers": [], "why": "by construction"},
]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "outcomes.json").write_text(json.dumps(OUTCOMES))
    (tmp_path / "zoo.json").write_text(json.dumps(KILLS))
    return tmp_path


def test_verdicts_are_counted_and_failures_shown_in_words(files):
    page, picture = render_conformance(files / "outcomes.json", files / "zoo.json", files / "page")
    text = page.read_text()
    assert "| cpu | nms | mine | 1 | 1 | 1 | 1 | 100 | 6 |" in text
    assert "| gpu | what a GPU computes is right | 0 | 0 | 0 | 0 |" in text
    assert "### nms, mine, float32, ties\n\n1 before 0" in text
    assert "boxes = [[0, 0, 1, 1]]" in text
    assert "| nms | all kept | keeps all | certificate |" in text
    assert "| nms | same | none | none: by construction |" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_same_outcomes_give_the_same_bytes(files):
    once, again = (
        [p.read_bytes() for p in render_conformance(None, files / "zoo.json", files / name)]
        for name in ("one", "two")
    )
    assert once == again


def test_a_file_of_something_else_is_named(files):
    (files / "other.json").write_text('[{"a": 1}]')
    with pytest.raises(ValueError, match=r"other\.json: not the outcomes of a check"):
        render_conformance(files / "other.json", None, files / "page")
