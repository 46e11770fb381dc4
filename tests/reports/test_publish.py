"""What is published is whole, renders again, and holds no picture that is not ours."""

from dataclasses import replace

import numpy as np
import pytest

from reports.matches import load_matches
from reports.page import render
from reports.pictures import MIN_SCORE
from reports.publish import packed, publish, reduced
from reports.resample import Measure, ap
from reports.study import gallery, load_study
from reports.table import contrasts
from tests.reports import made
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


def test_matches_are_published_as_far_as_the_page_needs_them(tmp_path):
    whole = made.whole_study(tmp_path / "runs")
    publish(whole, tmp_path / "out")
    assert "precision-recall.png" in {p.name for p in (tmp_path / "out").iterdir()}
    again = load_study(tmp_path / "out")
    assert contrasts(again)[0].ours == contrasts(whole)[0].ours
    assert contrasts(again)[0].ours.images > 0
    before, after = (load_matches(one.rows[0].folders[0]) for one in (whole, again))
    assert (after.areas, list(after.kinds)) == (("all",), ["mask"])
    assert ap(after, "mask", [1] * 6) == ap(before, "mask", [1] * 6)


def test_a_first_metric_of_one_size_keeps_that_size(tmp_path):
    made.save_matches(tmp_path)
    with np.load(tmp_path / "matches.npz") as arrays:
        small = reduced(dict(arrays), Measure("box", "small"))
    assert small["areas"].tolist() == ["all", "small"]
    assert small["box_matched"].shape == (2, 10, 40)
    assert not [name for name in small if name.startswith("mask")]


def test_equal_matches_are_packed_to_equal_bytes(tmp_path):
    arrays = {"b": np.arange(3), "a": np.zeros((2, 2))}
    assert packed(arrays) == packed(dict(reversed(arrays.items())))
    (tmp_path / "some.npz").write_bytes(packed(arrays))
    with np.load(tmp_path / "some.npz") as back:
        assert back["b"].tolist() == [0, 1, 2]


def test_half_a_study_is_not_published(tmp_path):
    some = {**rows("Shapes"), "align": [None]}
    with pytest.raises(ValueError, match="align: not all runs are finished"):
        publish(study(tmp_path / "runs", some), tmp_path / "out")


def test_galleries_keep_what_is_shown_and_the_images_once(tmp_path):
    before = study(tmp_path / "runs", rows("Shapes, 128 px"))
    publish(before, tmp_path / "out")
    copies = [gallery(row.folders) for row in load_study(tmp_path / "out").rows]
    kept = [one for one in copies if one is not None]
    assert len(kept) > 1
    assert [bool(one["images"][0]["png"]) for one in kept] == [True] + [False] * (len(kept) - 1)
    least = [d["score"] for one in kept for image in one["images"] for d in image["detections"]]
    assert min(least) >= MIN_SCORE
    page = tmp_path / "whole"
    render(before, page)
    assert (page / "pictures.png").read_bytes() == (tmp_path / "out/pictures.png").read_bytes()
