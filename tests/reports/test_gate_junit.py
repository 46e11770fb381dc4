"""JUnit XML of a gate's run: no benchmark is missing, nothing unmeasured looks like a success."""

from xml.etree import ElementTree

import pytest

from reports.gate_junit import junit
from tests.reports.measured import against, gate, judged, lost, mixed

BAD = ("failure", "error", "skipped")


def cases(record, **more):
    """(the suite, name of a case -> "passed", "failure", "error" or "skipped")."""
    suite = ElementTree.fromstring(junit(record, **more))
    found = {}
    for case in suite.findall("testcase"):
        ends = [word for word in BAD if case.find(word) is not None]
        assert len(ends) <= 1
        assert case.get("name") not in found
        found[case.get("name")] = ends[0] if ends else "passed"
    for word in BAD:
        count = "skipped" if word == "skipped" else f"{word}s"
        assert int(suite.get(count)) == list(found.values()).count(word)
    assert int(suite.get("tests")) == len(found)
    return suite, found


def test_each_verdict_is_what_a_reader_of_tests_expects():
    suite, found = cases(mixed())
    assert found == {
        "roi_align/P2/float32/channels_last/forward": "passed",
        "nms/1k": "failure",
        "paste_masks/4k": "passed",
        "box_iou/10k": "failure",
        "roi_pool/C4": "error",
        "roi_warp/P3": "skipped",
    }
    failure = suite.find("testcase[@name='nms/1k']/failure")
    assert failure.get("message") == "SLOWER: +12.3 % (+11.2 % to +13.4 %)"
    assert "--only nms/1k" in failure.text
    assert "segmentation fault" in suite.find(".//error").get("message")
    assert suite.find("testcase[@name='nms/1k']").get("classname") == "benchmarks.nms"
    assert float(suite.get("time")) > 1


def test_unsure_fails_or_is_skipped_as_the_gate_was_told():
    record = gate(judged("a", "UNSURE", 1.1), exit_code=3)
    assert cases(record)[1] == {"a": "failure"}
    assert cases(record, on_unsure="pass")[1] == {"a": "skipped"}
    assert cases({**record, "on_unsure": "pass"})[1] == {"a": "skipped"}
    assert cases({**record, "on_unsure": "pass"}, on_unsure="fail")[1] == {"a": "failure"}


def test_falling_behind_is_a_failure():
    assert cases(against())[1] == {"nms/1k": "passed", "roi_pool/P2": "failure"}


@pytest.mark.parametrize("code", [2, 130])
def test_a_gate_that_measured_nothing_has_an_error(code):
    suite, found = cases(gate(exit_code=code, said=["base does not build"]))
    assert found == {"gate": "error"}
    assert suite.find(".//error").get("message") == "base does not build"


def test_a_benchmark_that_is_gone_is_an_error_unless_it_was_allowed():
    same = judged("a", "SAME", 1.0)
    assert cases(gate(same, gone=["b"], exit_code=2))[1] == {"a": "passed", "b": "error"}
    assert cases(gate(same, gone=["b"], exit_code=0))[1] == {"a": "passed", "b": "skipped"}
    both = gate(same, lost("b", "gone: head does not have it"), gone=["b"], exit_code=2)
    assert cases(both)[1] == {"a": "passed", "b": "error"}


def test_text_that_xml_cannot_hold_is_left_out():
    bad = "\x1b[31mred\x00 \ud800 \uffff <&> é \U0001f600"
    suite, found = cases(gate(lost('n<"&>', bad), exit_code=2, said=[bad]))
    assert found == {'n<"&>': "error"}
    assert "[31mred" in suite.find(".//error").get("message")
    assert "<&> é \U0001f600" in suite.find("system-out").text


def test_a_broken_record_is_refused():
    with pytest.raises(ValueError, match="the record: not a gate's record"):
        junit({"kind": "gate"})
