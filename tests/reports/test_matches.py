"""Files of matches: read as they were written, and refused in one line where they are broken."""

import numpy as np
import pytest

from reports.matches import FILE, load_matches
from tests.reports import scored


@pytest.fixture
def matches():
    return scored.drawn(np.random.default_rng(0), images=6)


def test_what_was_kept_comes_back(matches, tmp_path):
    scored.save(matches, tmp_path)
    found = load_matches(tmp_path)
    assert found.areas == ("all",)
    assert list(found.kinds) == ["mask"]
    for name, value in vars(matches.kinds["mask"]).items():
        np.testing.assert_array_equal(getattr(found.kinds["mask"], name), value)


def test_a_run_without_matches_has_none(tmp_path):
    assert load_matches(tmp_path) is None


BROKEN = {
    "mask_score": (np.zeros(3), r"mask_score has shape \(3,\), expected \(18,\)"),
    "mask_image": (np.full(18, 6), r"mask_image has a place outside 0 .. 5"),
    "mask_category": (np.arange(18) % 2, "category by category, by falling score"),
    "areas": (np.array([{}], dtype=object), "allow_pickle"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_arrays_that_do_not_fit_are_named(matches, tmp_path, name):
    value, said = BROKEN[name]
    scored.save(matches, tmp_path, **{name: value})
    with pytest.raises(ValueError, match=said) as raised:
        load_matches(tmp_path)
    assert str(tmp_path / FILE) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_cut_short_is_named(matches, tmp_path):
    scored.save(matches, tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for content in (b"", whole[:50], whole[: len(whole) // 2], b"text"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(ValueError, match="matches.npz: not a file of matches"):
            load_matches(tmp_path)


def test_a_missing_array_is_named(matches, tmp_path):
    scored.save(matches, tmp_path)
    with np.load(tmp_path / FILE) as arrays:
        kept = {name: value for name, value in arrays.items() if name != "mask_truth"}
    np.savez_compressed(tmp_path / FILE, **kept)
    with pytest.raises(ValueError, match="no array 'mask_truth'"):
        load_matches(tmp_path)
