"""The performance page: all that is recorded is on it, what is not is said."""

import json
import re

import pytest

from reports.performance import MEASURED, again, gathered, render_performance
from tests.reports import measured
from tests.reports.measured import folder_of, whole


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """(HTML, Markdown, the folder) of a page with everything on it."""
    folder = tmp_path_factory.mktemp("measured")
    out = folder / "page"
    render_performance(whole(folder / "records"), out)
    return (out / "report.html").read_text(), (out / "report.md").read_text(), out


def test_every_part_is_on_both_pages(page):
    html, text, _ = page
    for title in (
        "What got slower",
        "The detector against torchvision's",
        "Where the detector's time goes",
        "Operators against torchvision's",
        "How far from the hardware's limit",
        "How cost grows",
        "The first call",
        "Memory, and time to the first result",
        "Loading and scoring",
        "What a lower precision costs",
        "Also measured",
        "Measure it again",
    ):
        assert title.replace("'", "&#39;") in html or title in html
        assert title in text
    assert "Not measured" not in html + text


def test_the_head_says_what_is_slower_and_how_far_the_limit_is(page):
    html, text, _ = page
    head = text.split("## ")[0]
    assert "✗ **nms/1k: +15 % time since 000000000019, 2026-01-26**" in head
    assert "inference, 800 x 1216, 2 threads, fp32: 1.29 times as fast as torchvision's" in head
    assert "≈ **a training step, 2 threads, fp32: 0.99 times" in head
    told = "40 of 64 timings of operators are faster than torchvision's, 8 slower; the slowest is"
    assert f"✗ **{told} roi_pool/P2/float32/channels_last/forward, hot**" in head
    told = "ours, 800x1216: inference, 2 threads, fp32: 2.45 s, 0.408 images/s"
    assert f"→ **{told}; 58 % of it in backbone**" in head
    assert "Nearest to the hardware's limit" in head
    assert "Steepest growth: nms with boxes, size to the power 1.88 (1.86 to 1.90)" in head
    assert html.count("<li class=") >= 9


def test_ratios_have_their_intervals_and_the_slow_ones_their_own_table(page):
    _, text, _ = page
    slow = "| roi_pool/P2/float32/channels_last/forward, hot | numba, 1 thread | 0.9 |"
    assert f"{slow} 0.9 (0.846 to 0.963) |" in text
    assert (
        "| inference, 800 x 1216 | 2 threads, fp32 | 1.29 | 1.29 (1.25 to 1.34) | 2.4 s |" in text
    )
    assert "boxes to 2e-4 px" in text
    assert "no peer" in text


def test_flames_are_as_wide_as_their_times(page):
    html, _, _ = page
    widths = [float(w) for w in re.findall(r'<div style="width: ([\d.]+)%">', html)]
    assert widths == [pytest.approx(100 / 1.3, abs=0.1), 100.0, 100.0]
    bar = html.split('<div class="bar"')[1].split("</div>")[0]
    parts = [float(w) for w in re.findall(r'style="width: ([\d.]+)%"', bar)]
    assert sum(parts) == pytest.approx(100, abs=0.1)
    assert parts[1] == pytest.approx(58, abs=0.1)


def test_laws_and_largest_sizes_are_told(page):
    _, text, _ = page
    assert "| nms | boxes | 1000 to 100000 |" in text
    assert "| 1.88 | 1.86 to 1.90 |" in text
    assert "the law breaks at 30,000" in text
    assert "| nms | boxes | 212,000 | 4 GiB |" in text


def test_a_group_that_nobody_foresaw_is_shown_as_it_is(page):
    _, text, _ = page
    assert "| ours | odd | 812.5 |" in text


def test_processes_rates_profiles_and_precision(page):
    html, text, _ = page
    assert "| inference, ours | 1 thread | 812 MiB | 6.2 s | 6.1 to 6.3 s |" in text
    assert "| shapes | 2 workers | 181 images/s |" in text
    assert "| box px | 0.11, 0.6, 2.5 |" in text
    assert "| convolution | 1 s | 32.2 % |" in text
    assert "| 3 others | 274 ms | 8.8 % |" in text
    assert html.count('class="meter"') > 10


def test_pictures_lie_beside_the_page_and_in_it(page):
    html, text, out = page
    for name in ("roofline", "growth", "memory", "trends"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"]({name}.png)" in text
    assert html.count('<svg class="plot"') == 3 + 2 + 4 + 3
    assert "http" not in re.sub(r'"http://www.w3.org/[^"]*"', "", html)
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_the_same_records_give_the_same_bytes_also_from_the_copies(page):
    html, text, out = page
    pictures = {file.name: file.read_bytes() for file in out.glob("*.png")}
    render_performance(out / "records", out)
    assert (out / "report.html").read_text() == html
    assert (out / "report.md").read_text() == text
    assert {file.name: file.read_bytes() for file in out.glob("*.png")} == pictures
    assert len(list((out / "records").iterdir())) == 8


def test_a_copy_of_a_record_that_is_gone_goes(tmp_path):
    folder = folder_of(tmp_path / "records", a=measured.first(), b=measured.fresh())
    render_performance(folder, tmp_path / "page")
    (folder / "b.json").unlink()
    render_performance(folder, tmp_path / "page")
    assert [file.name for file in (tmp_path / "page/records").iterdir()] == ["a.json"]


@pytest.mark.parametrize("name", ["detector", "fresh", "first", "mixed"])
def test_one_kind_of_record_alone_makes_a_page_that_says_what_is_missing(tmp_path, name):
    folder = folder_of(tmp_path / "records", one=getattr(measured, name)())
    render_performance(folder, tmp_path / "page")
    html = (tmp_path / "page/report.html").read_text()
    assert "Not measured here:" in html
    assert "Not measured:" in (tmp_path / "page/report.md").read_text()
    assert "<code>python -m benchmarks scale</code>" in html
    assert ("<code>python -m benchmarks stages</code>" in html) == (name != "detector")


def test_rows_without_ceilings_peers_or_names_are_still_shown(tmp_path):
    row = measured.timing("nms", "1k", 3.0)
    for key in ("name", "bytes", "operations", "roof", "flops_roof", "of_roof", "cache", "family"):
        del row[key]
    alone = {**row, "workload": "alone", "ratio": None, "peer_ms": []}
    folder = folder_of(tmp_path / "records", one={"timings": [row, alone], "made_by": {}})
    render_performance(folder, tmp_path / "page")
    text = (tmp_path / "page/report.md").read_text()
    assert "| nms/1k, float32, channels last, forward |" in text
    assert "hardware's limit" not in text


def test_parts_made_by_other_code_are_warned_of(tmp_path):
    old = measured.first() | {"made_by": {**measured.ABOUT, "code_id": "old", "dirty": True}}
    folder = folder_of(tmp_path / "records", detector=measured.detector(), first=old)
    render_performance(folder, tmp_path / "page")
    html = (tmp_path / "page/report.html").read_text()
    assert "made with different code_id: 0123456789ab, old." in html
    assert "uncommitted changes" in html


def test_how_to_measure_it_again(tmp_path):
    speed = measured.timings() | {"command": "python -m benchmarks run nms --threads 2"}
    folder = folder_of(
        tmp_path, a=speed, b=measured.scaling(), c=measured.mixed(), d=measured.detector()
    )
    lines = again(gathered(folder)).splitlines()
    assert lines == [
        "git checkout aaaabbbbcccc",
        "python -m pip install --editable . torch==2.14.1 torchvision==0.29.1",
        "python -m benchmarks run nms --threads 2",
        f"python -m benchmarks scale --out {MEASURED}/b.json",
        "python -m benchmarks gate --base 111122223333 --head 555566667777 --budget 10m"
        f" --out {MEASURED}",
        f"python -m benchmarks peer --threads 2 --rounds 5 --out {MEASURED}/peer.json",
        f"python -m benchmarks stages --threads 2 --rounds 5 --out {MEASURED}/stages.json",
        "python -m reports render",
    ]


@pytest.mark.parametrize(("graph", "option"), [(False, ""), (True, " --graph")])
def test_what_ran_on_a_gpu_is_measured_there_again(tmp_path, graph, option):
    row = measured.timing("nms", "1k", 3.0, device="cuda", graph=graph)
    folder = folder_of(tmp_path, a={"timings": [row], "made_by": measured.ABOUT})
    command = f"python -m benchmarks run --device cuda{option} --rounds 9 --out {MEASURED}/a.json"
    assert command in again(gathered(folder)).splitlines()


BROKEN = {
    "no json": "{",
    "a list": "[]",
    "nothing": "{}",
    "nothing known": '{"something": 3, "made_by": {}}',
    "rows that are none": '{"timings": 3}',
    "a row that is none": '{"timings": [3]}',
    "a row that lacks its samples": '{"stages": [{"model": "a", "pass": "b", "stage": "c"}]}',
    "a row of no samples": json.dumps({"timings": [measured.timing("a", "b", 1, ours_ms=[])]}),
    "first calls without seconds": '{"first_calls": {"nms": {}}}',
    "a gate that is none": '{"kind": "gate"}',
    "trends that are none": '{"kind": "trends", "series": [{}]}',
    "a trend of zeros": json.dumps(
        {"kind": "trends", "series": [{"name": "a", "points": [{"value": 0, "when": "x"}],
                                       "changes": []}]}),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_is_named_in_one_line(broken, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(measured.first()))
    (tmp_path / "odd.json").write_text(BROKEN[broken])
    with pytest.raises(ValueError, match=r"odd\.json: ") as error:
        render_performance(tmp_path, tmp_path / "page")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "page").exists()


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="no record of a measurement"):
        render_performance(tmp_path, tmp_path / "page")
