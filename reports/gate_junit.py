"""A gate's record as JUnit XML: what continuous integration shows test by test."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from reports.gate_words import (
    NO_NUMBER,
    STOPPED,
    about,
    again,
    checked,
    headline,
    one_line,
    sides,
    verdict_of,
)

SUITE = "benchmarks"


def junit(record: Mapping[str, Any], on_unsure: str | None = None) -> bytes:
    """A test case for each benchmark: SLOWER and BEHIND are failures, what has no number an error,
    UNSURE a failure or, where the gate lets it pass, skipped.

    on_unsure   "pass" or "fail"; None: as the record says, else "fail"

    Raises ValueError for a record that is none of a gate.
    """
    record = checked(record)
    rows = record["benchmarks"]
    fails = {"SLOWER", "BEHIND"}
    if (on_unsure or record.get("on_unsure") or "fail") != "pass":
        fails.add("UNSURE")
    words = [verdict_of(row) for row in rows]
    lost = _lost(record)
    suite = ElementTree.Element("testsuite", name=SUITE)
    for row in rows:
        suite.append(_case(row, record, fails))
    for name, why, word in [*((n, w, "error") for n, w in lost), *_unjudged(record, dict(lost))]:
        case = ElementTree.SubElement(suite, "testcase", classname=SUITE, name=_xml(name))
        ElementTree.SubElement(case, word, message=_xml(why))
    counts = {
        "tests": len(suite),
        "failures": sum(word in fails for word in words),
        "errors": words.count(NO_NUMBER) + len(lost),
        "skipped": len(suite.findall("testcase/skipped")),
        "time": f"{sum(_seconds(row) for row in rows):.3f}",
    }
    for name, count in counts.items():
        suite.set(name, str(count))
    out = ElementTree.SubElement(suite, "system-out")
    out.text = _xml("\n".join([headline(record).text, *map(one_line, record.get("said") or ())]))
    ElementTree.indent(suite)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(
    row: Mapping[str, Any], record: Mapping[str, Any], fails: set[str]
) -> ElementTree.Element:
    word, said = verdict_of(row), about(row, record)
    group = row.get("operator") or "detector"
    case = ElementTree.Element(
        "testcase",
        classname=_xml(f"{SUITE}.{group}"),
        name=_xml(row["name"]),
        time=f"{_seconds(row):.3f}",
    )
    message = _xml(f"{word}: {said}")
    if word == NO_NUMBER:
        ElementTree.SubElement(case, "error", message=message, type="NO_NUMBER")
    elif word in fails:
        failure = ElementTree.SubElement(case, "failure", message=message, type=word)
        named = "\n".join(f"{name}: {what}" for name, what in sides(record))
        failure.text = _xml(f"{message}\n{named}\nagain: {again(record, [row['name']])}")
    elif word == "UNSURE":
        ElementTree.SubElement(case, "skipped", message=message)
    else:
        ElementTree.SubElement(case, "system-out").text = message
    return case


def _lost(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where no benchmark has an error and yet something could not be measured: what was said, as
    one case, so that no reader of the file takes it for a success.
    """
    named = any(verdict_of(row) == NO_NUMBER for row in record["benchmarks"])
    if named or record["exit_code"] not in (2, STOPPED):
        return []
    gone = [(name, "gone: head does not have it") for name in record.get("gone") or ()]
    said = "; ".join(map(one_line, record.get("said") or ())) or "could not measure"
    return gone or [("gate", said)]


def _unjudged(record: Mapping[str, Any], lost: Mapping[str, str]) -> list[tuple[str, str, str]]:
    there = {row["name"] for row in record["benchmarks"]} | set(lost)
    new = [(name, "new: base does not have it", "skipped") for name in record.get("new") or ()]
    gone = [(name, "gone, as allowed", "skipped") for name in record.get("gone") or ()]
    return [case for case in new + gone if case[0] not in there]


def _seconds(row: Mapping[str, Any]) -> float:
    return sum(sum(sample["ms"]) for sample in row.get("samples") or ()) / 1e3


def _xml(text: str) -> str:
    """The text without characters that XML 1.0 cannot hold: escapes of a terminal, half pairs."""
    return re.sub("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", str(text))
