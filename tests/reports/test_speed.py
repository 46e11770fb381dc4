"""The page of timings is made from files alone, and says what it is given."""

import json

import pytest

from reports.speed import render_speed

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


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_a_file_without_timings_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json: not timings"):
        render_speed([tmp_path / "x.json"], tmp_path)


def test_a_page_needs_timings(tmp_path):
    with pytest.raises(ValueError, match="no file holds timings"):
        render_speed([written(tmp_path / "a", detector=[])], tmp_path)
