"""The page of a GPU's results holds each part, and says what did not run."""

import json

import pytest

from reports.conformance import bugs, render_conformance
from reports.gpu import render_gpu
from tests.reports import measured
from tests.reports.test_speed import ABOUT, PUBLISHED, ROW

OUTCOME = {
    "operator": "nms",
    "kernel": "cuda",
    "lane": "gpu",
    "check": "certificate",
    "dtype": "float32",
    "verdict": "failed",
    "reason": "kept two",
    "rule": "one stays",
    "cases": 3,
    "seconds": 1.0,
}
KILLED = {"bug": "race", "specimen": "adder", "lane": "emulated", "verdict": "killed"}
ZOO = [
    {**KILLED, "killers": ["gradient"], "why": "differs"},
    {**KILLED, "lane": "gpu", "verdict": "not run", "killers": [], "why": "no GPU here"},
]


def test_the_page_has_every_part(tmp_path):
    found = {
        "timings": [{**ROW, "device": "cuda", "graph": True}],
        "detector": [],
        "outcomes": [OUTCOME],
        "zoo": ZOO,
        "steps": [{"step": "nms cuda", "seconds": 2.0, "exit_code": None, "words": ["late"]}],
        "made_by": {**ABOUT, "device": "a GPU"},
    }
    (tmp_path / "gpu.json").write_text(json.dumps(found))
    page, picture = render_gpu(tmp_path / "gpu.json", tmp_path / "page")
    text = page.read_text()
    assert text.startswith("# On a GPU: a GPU")
    assert "| roi_align | numba, graph | float32 |" in text
    assert "kept two" in text
    assert "| nms cuda | 2.0 | out of time | late |" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_page_of_the_family_tells_graphs_from_calls(tmp_path):
    row = measured.timing("nms", "1k", 3.0, device="cuda", cache="cold", of_light=0.25)
    rows = [row, row | {"graph": True, "ratio": None, "peer_ms": []}]
    found = dict.fromkeys(("detector", "outcomes", "zoo", "steps"), [])
    found |= {"timings": rows, "made_by": {**ABOUT, "device": "a GPU"}}
    (tmp_path / "gpu.json").write_text(json.dumps(found))
    text = render_gpu(tmp_path / "gpu.json", tmp_path / "page")[0].read_text()
    assert "| nms/1k | numba | float32 | channels_last |  |" in text
    assert "| nms/1k | numba, graph | float32 | channels_last |  |" in text
    assert "| no peer | 25 % |  |" in text


@pytest.mark.parametrize("name", ["gpu-h100", "gpu-h200"])
def test_the_speed_of_former_timings_is_told_again_word_by_word(tmp_path, name):
    page = render_gpu(PUBLISHED / name / "gpu.json", tmp_path)[0].read_text()
    published = (PUBLISHED / name / "report.md").read_text()
    speed = published.split("## The detector")[0].split("## Conformance")[0]
    assert "| nms of 4,000 | cuda |" in speed
    assert page.startswith(speed)


def test_a_bug_has_a_column_per_lane():
    table = bugs(ZOO)
    assert "| bug | specimen | emulated | gpu |" in table
    assert "| race | adder | killed: gradient | not run: no GPU here |" in table


def test_the_page_of_a_conformance_run_has_that_table_too(tmp_path):
    (tmp_path / "lanes.json").write_text(json.dumps(ZOO))
    (page,) = render_conformance(None, None, tmp_path, tmp_path / "lanes.json")
    assert bugs(ZOO) in page.read_text()


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_another_file_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json: not what a GPU showed"):
        render_gpu(tmp_path / "x.json", tmp_path)
