"""What a gate's run shows to those who did not run it: nothing is lost, nothing breaks a page."""

import json
import re

import pytest

from reports import gate_words
from reports.gate_page import COMMENT_LIMIT, MARKER, comment, render_gate, summary
from tests.reports.measured import against, gate, judged, lost, mixed


def said(record):
    return summary(record) + comment(record)


def test_every_benchmark_and_every_message_is_in_both():
    record = mixed()
    for text in (summary(record), comment(record)):
        for row in record["benchmarks"]:
            assert f"`{row['name']}`" in text
        for word in ("SLOWER", "FASTER", "SAME", "UNSURE", "NO NUMBER", "signal 11"):
            assert word in text
        assert "`roi_warp/P3`" in text
    assert record["said"][0] in summary(record)


def test_the_verdict_comes_first():
    first = comment(mixed()).splitlines()
    assert first[0] == MARKER
    assert first[2] == "### ! Could not measure 1 of 5 benchmarks; 1 got slower"
    assert first[4] == "- ✗ `nms/1k: SLOWER, +12.3 % (+11.2 % to +13.4 %)`"


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (gate(judged("a", "SAME", 1.0)), "✓ None of 1 benchmarks got slower"),
        (gate(judged("a", "FASTER", 0.8)), "✓ None of 1 benchmarks got slower, 1 got faster"),
        (gate(judged("a", "SLOWER", 1.2), exit_code=1), "✗ 1 of 1 benchmarks got slower"),
        (gate(judged("a", "UNSURE", 1.1), exit_code=3), "? Unsure about 1 of 1 benchmarks"),
        (gate(judged("a", "UNSURE", 1.1), exit_code=0), "? Unsure about 1 of 1 benchmarks"),
        (gate(exit_code=2, said=["base does not build"]), "! Could not measure the benchmarks"),
        (gate(lost("a", "hung"), exit_code=130), "! Stopped before it had measured 1 of 1"),
        (against(), "✗ 1 of 2 benchmarks fell behind"),
        (gate(judged("a", "AHEAD", 0.1), against="torchvision"), "✓ All 1 stay ahead of torch"),
    ],
)
def test_headlines(record, text):
    assert f"## {text}" in summary(record)


def test_a_change_is_one_of_time_and_a_contest_one_of_speed():
    assert "+12.3 % (+11.2 % to +13.4 %)" in said(gate(judged("a", "SLOWER", 1.123), exit_code=1))
    assert "−19.0 % (" in said(gate(judged("a", "FASTER", 0.81)))
    assert "10 times as long (9.9 to 10.1)" in said(gate(judged("a", "SLOWER", 10.0), exit_code=1))
    assert "24 times as fast (21.7 to 26.5)" in said(against())


def test_milliseconds_are_the_middle_of_rounds_and_the_base_comes_first():
    row = judged("a", "SAME", 1.0)
    row["samples"] = [
        {"round": r, "block": b, "side": side, "ms": ms}
        for r, (base, head) in enumerate(([2, 4], [3, 6], [100, 5]))
        for b in range(2)
        for side, ms in (("head", [head]), ("base", [base]))
    ]
    assert gate_words.per_round(row) == {"base": [2, 3, 100], "head": [4, 6, 5]}
    assert gate_words.ratios(row) == [2.0, 2.0, 0.05]
    assert "| base, ms | head, ms |" in summary(gate(row))
    assert "| 3 | 5 |" in summary(gate(row))


def test_text_from_outside_cannot_break_a_table_or_call_somebody():
    evil = "a|b`c\n<img src=x> @someone"
    text = said(gate(lost("x|y", evil), judged("p|q", "SAME", 1.0), exit_code=2, said=[evil]))
    cells = {line.replace("\\|", "").count("|") for line in text.splitlines() if line[:2] == "| "}
    assert len(cells) == 1
    plain = re.sub(r"```.*?```", "", text, flags=re.S)
    plain = re.sub(r"`[^`\n]*`", "", plain)
    assert "img" in plain
    assert "<img" not in plain
    assert "@someone" not in plain


def test_what_the_gate_said_on_its_way_is_folded_away_and_what_matters_is_not():
    record = mixed()
    way = [
        "base: main",
        "compiling and calibrating",
        "by the noise of 6 rounds, 24 can find a change of",
        "    2.1 %  nms/1k",
        "roi_pool/C4: not measured: head: ended by signal 11",
    ]
    record["said"] += way
    assert gate_words.notes(record) == ["the working tree has changes, which are not measured"]
    before, folded = summary(record).split("<summary>What the gate said</summary>")
    assert "> the working tree has changes, which are not measured" in before
    assert all(line in folded for line in record["said"])
    assert not any(line in before for line in way)


def test_how_to_measure_it_again():
    assert "--base 111122223333 --head 555566667777 --budget 10m" in summary(mixed())
    record = gate(judged("a b", "SLOWER", 1.2), exit_code=1)
    record["head"] = {"revision": None, "commit": "5555", "dirty": True}
    assert "--base 111122223333 --budget 10m --only 'a b'\n" in comment(record)
    assert "uncommitted changes" in summary(record)
    assert "gate --head 555566667777 --against torchvision --budget 10m" in summary(against())


def test_what_was_asked_for_is_asked_for_again():
    record = gate(judged("nms", "SLOWER", 1.2), judged("paste", "SAME", 1.0), exit_code=1)
    record["options"] = ["--rounds-max 16", "--only nms", "--only paste", "--count instructions"]
    again = "--budget 10m --rounds-max 16 --only nms --only paste --count instructions\n"
    assert again in summary(record)
    assert "--budget 10m --rounds-max 16 --count instructions --only nms\n" in comment(record)


def test_a_comment_is_never_too_long():
    rows = [judged(f"operator/{'x' * 150}/{i}", "SAME", 1.0, rounds=1) for i in range(400)]
    text = comment(gate(*rows))
    assert len(text) < COMMENT_LIMIT
    left = int(text.split("Left out for length: ")[1].split(" ")[0])
    assert left + sum(line.startswith("| = SAME") for line in text.splitlines()) == 400
    assert "Measure it again" in text


def test_the_page_has_a_strip_for_each_number_and_is_the_same_twice(tmp_path):
    (tmp_path / "gate.json").write_text(json.dumps(mixed()))
    page, text = render_gate(tmp_path / "gate.json", tmp_path / "page")
    html = page.read_text()
    assert html.count('<svg class="strip') == 1 + 4
    assert html.count('class="dot"') == 6 + 6 + 6 + 24
    assert "<title>! Could not measure 1 of 5 benchmarks; 1 got slower</title>" in html
    assert "segmentation fault" in html
    assert text.read_text() == summary(mixed())
    before = page.read_bytes()
    render_gate(tmp_path / "gate.json", tmp_path / "page")
    assert page.read_bytes() == before


def test_a_page_without_benchmarks_says_so(tmp_path):
    record = gate(exit_code=2, said=["base does not build: <make> failed"])
    (tmp_path / "gate.json").write_text(json.dumps(record))
    html = render_gate(tmp_path / "gate.json", tmp_path)[0].read_text()
    assert "No benchmark has a number." in html
    assert "base does not build: &lt;make&gt; failed" in html


BROKEN = {
    "no json": ("{", "not a gate's record"),
    "a list": ("[]", "not a gate's record"),
    "of another kind": ('{"kind": "trends"}', "its kind is 'trends', expected 'gate'"),
    "another exit code": (json.dumps(gate(exit_code=7)), "its exit_code is 7"),
    "a verdict there is not": (json.dumps(gate(judged("a", "OK", 1.0))), "a: verdict 'OK'"),
    "no ratio": (json.dumps(gate(judged("a", "SAME", 1.0) | {"ratio": None})), "a: SAME with"),
    "a ratio of 0": (json.dumps(gate(judged("a", "SAME", 1.0) | {"low": 0})), "expected numbers"),
    "no name": (json.dumps(gate({"verdict": "SAME"})), "it lacks 'name'"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_record_is_refused_in_one_line(broken, tmp_path):
    text, why = BROKEN[broken]
    (tmp_path / "gate.json").write_text(text)
    with pytest.raises(ValueError, match=r"gate\.json: not a gate's record") as error:
        render_gate(tmp_path / "gate.json", tmp_path)
    assert why in str(error.value)
    assert "\n" not in str(error.value)
