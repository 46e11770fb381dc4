"""Each figure is there exactly where records have what it shows."""

import io

import pytest
from PIL import Image

from reports.figures import drawn, effects_caption
from reports.table import contrasts
from tests.reports import made
from tests.reports.made import record, study

OLD = ["effects", "bars", "pictures", "costs", "curves"]
ALL = ["effects", "bars", "precision-recall", "sizes", "pictures", "errors", "masks", "costs"]


def names(one):
    return [p.anchor for p in drawn(one, contrasts(one))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The figures of a study with all there is, drawn once."""
    one = made.whole_study(tmp_path_factory.mktemp("whole"))
    return drawn(one, contrasts(one))


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Those of records without grids, matches and newer metrics."""
    rows = {"pool": [record("pool", 0, 22.0)], "align": [record("align", 0, 41.0)]}
    one = study(tmp_path_factory.mktemp("old"), rows)
    return drawn(one, contrasts(one))


def test_old_records_have_the_old_figures(old):
    assert [p.anchor for p in old] == OLD


def test_whole_records_have_all_of_them_in_order(whole):
    assert [p.anchor for p in whole] == [*ALL, "curves"]


def test_nothing_finished_gives_no_figure(tmp_path):
    assert names(study(tmp_path, {"pool": [None], "align": [record("align", 0, 0, "crash")]})) == []


def test_a_figure_says_what_to_see_and_how_large_it_is(whole):
    for picture in whole:
        assert len(picture.caption) > 60
        width, height = Image.open(io.BytesIO(picture.content)).size
        assert picture.size[0] / picture.size[1] == pytest.approx(width / height, rel=0.02)


def test_the_grid_is_explained_only_where_it_is_drawn(whole, old):
    captions = [next(p.caption for p in some if p.anchor == "pictures") for some in (whole, old)]
    assert ["exact box" in caption for caption in captions] == [True, False]


def test_where_images_are_not_resampled_the_caption_says_so(tmp_path):
    rows = {n: [record(n, s, ap + s) for s in (0, 1)] for n, ap in (("pool", 2.0), ("align", 4.0))}
    assert "the noise of the test images is not known" in said(study(tmp_path / "a", rows))
    assert "seeds and test images together" in said(made.whole_study(tmp_path / "b"))


def said(one):
    return effects_caption(one, contrasts(one))
