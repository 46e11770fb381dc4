"""Which rows get more seeds: those of contrasts that nothing certain can be said of yet."""

import pytest

from reports.looks import LOOKS, stated, undecided
from tests.reports import tables

CLEAR, SAME, WIDE = [40, 41.1, 42], [30.2, 30.9, 32.1], [45, 30, 36]
BASE = [30, 31, 32]
PAPER = {"base": 26.9, "clear": 30.3, "wide": 30.0, "same": 27.1}


def test_only_rows_of_open_contrasts_go_on():
    scores = {"base": BASE, "clear": CLEAR, "wide": WIDE, "same": SAME}
    assert undecided(tables.study(scores, PAPER), 3) == {"wide", "base"}
    del scores["wide"]
    assert undecided(tables.study(scores, PAPER), 3) == set()


def test_without_a_published_number_a_sign_or_none_settles_it():
    scores = {"base": BASE, "clear": CLEAR, "wide": WIDE, "same": SAME}
    assert undecided(tables.study(scores, {}), 3) == {"wide", "base"}


def test_a_large_published_effect_is_open_until_its_sign_is_known():
    assert undecided(tables.study({"base": BASE, "same": SAME}, {"base": 20, "same": 30}), 3)


def test_seeds_beyond_the_look_do_not_count():
    """Made again later, with more seeds there, the same look says the same."""
    scores = {"base": [*BASE, 90, 90], "clear": [*CLEAR, 30, 95]}
    assert undecided(tables.study(scores, PAPER), 3) == set()
    assert undecided(tables.study(scores, PAPER), 5) == {"base", "clear"}


def test_a_row_that_stopped_keeps_what_it_said():
    scores = {"base": [*BASE, 33, 34], "clear": CLEAR, "wide": [*WIDE, 20, 50]}
    assert undecided(tables.study(scores, PAPER), 5) == {"base", "wide"}


def test_failures():
    """One pair is too few to say; none at all is not made better by more."""
    one = {"base": BASE, "clear": [40, "out of memory", None]}
    assert undecided(tables.study(one, PAPER), 3) == {"base", "clear"}
    none = {"base": BASE, "clear": ["out of memory"] * 3}
    assert undecided(tables.study(none, PAPER), 3) == set()


def test_after_the_last_look_nothing_goes_on():
    wide = {"base": BASE, "wide": WIDE}
    assert undecided(tables.study(wide, PAPER), LOOKS[-1]) == set()
    with pytest.raises(ValueError, match="4 seeds are no planned look"):
        undecided(tables.study(wide, PAPER), 4)


def test_a_page_says_what_the_looks_cost():
    scores = {"base": BASE, "wide": WIDE}
    assert "after 3, 5, 8 seeds. These spend 3, 1, 1 %" in stated(
        tables.study(scores, PAPER, looks=LOOKS)
    )
    assert stated(tables.study(scores, PAPER)) == ""
