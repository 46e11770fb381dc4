"""The page of timings is made from files alone, and says what it is given."""

import json
from pathlib import Path

import pytest

from reports.speed import render_speed
from tests.reports import measured

PUBLISHED = Path(__file__).resolve().parents[2] / "reports/published"

ABOUT = {
    "device": "cpu",
    "processor": "a processor",
    "cores": 2,
    "torch": "2",
    "torchvision": "0",
    "commit": "abc",
    "code_id": "def",
}
ROW = {
    "workload": "roi_align",
    "backend": "numba",
    "device": "cpu",
    "dtype": "float32",
    "layout": "channels_last",
    "threads": 2,
    "ours_ms": [2.0, 1.0, 3.0],
    "peer_ms": [20.0, 20.0, 20.0],
    "ratio": [10.0, 6.7, 20.0],
    "of_roof": 0.125,
}


def written(path, **content):
    path.write_text(json.dumps({"made_by": ABOUT, **content}))
    return path


def test_the_page_says_ratio_interval_and_pairs(tmp_path):
    alone = {**ROW, "workload": "box_iou", "ratio": None, "peer_ms": [], "of_roof": None}
    files = [
        written(tmp_path / "a", timings=[ROW, alone]),
        written(tmp_path / "b", first_calls={"nms": {"compiles_s": 1.0, "cached_s": 0.25}}),
        written(
            tmp_path / "c",
            detector=[{**ROW, "name": "inference", "ratio": [1.5, 1.4, 1.6]}],
        ),
    ]
    page, picture, samples = render_speed(files, tmp_path / "page")
    text = page.read_text()
    assert (
        "| roi_align | numba | float32 | channels_last | 2 | 2 | 10 (6.7 to 20) | 12 % | 3 |"
        in text
    )
    assert "no peer" in text
    assert "| inference | 2 | 2 | 20 | 1.5 (1.4 to 1.6) | 3 |" in text
    assert "| nms | 1.00 | 0.25 |" in text
    assert "commit abc" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(samples.read_text())["timings"][0]["ours_ms"] == [2.0, 1.0, 3.0]


def test_the_family_is_told_by_its_limit_and_hot_from_cold(tmp_path):
    rows = [
        measured.timing("nms", "1k", 3.0, cache=kept, of_light=share)
        for kept, share in (("cold", 0.25), ("hot", 0.5))
    ]
    text = render_speed([written(tmp_path / "a", timings=rows)], tmp_path)[0].read_text()
    assert "| nms/1k | numba | float32 | channels_last | 1 |" in text
    assert "| nms/1k | numba, hot | float32 | channels_last | 1 |" in text
    assert "| ratio | of limit | pairs |" in text
    assert "| 25 % | 9 |" in text
    assert "| 50 % | 9 |" in text
    assert "`of limit`: the least time" in text
    assert "`hot`: right after" in text


def test_with_former_timings_the_family_is_told_by_what_both_have(tmp_path):
    row = measured.timing("nms", "1k", 3.0, cache="cold", of_light=0.25)
    text = render_speed([written(tmp_path / "a", timings=[ROW, row])], tmp_path)[0].read_text()
    assert "| ratio | of copy | pairs |" in text
    assert "| 12 % | 3 |" in text
    assert "| 30 % | 9 |" in text
    assert "`of copy`: the bytes" in text
    assert "`hot`" not in text


def test_the_page_of_former_timings_is_made_again_word_by_word(tmp_path):
    published = PUBLISHED / "speed-cpu"
    page = render_speed([published / "timings.json"], tmp_path)[0]
    assert page.read_text() == (published / "report.md").read_text()


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_a_file_without_timings_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json: not timings"):
        render_speed([tmp_path / "x.json"], tmp_path)


def test_a_page_needs_timings(tmp_path):
    with pytest.raises(ValueError, match="no file holds timings"):
        render_speed([written(tmp_path / "a", detector=[])], tmp_path)
