"""The pages of performance and of a gate in a browser, on a phone and a desk, by day and night."""

import json

import pytest

from reports.gate_page import render_gate
from reports.performance import render_performance
from tests.reports.browser import browser, installed
from tests.reports.measured import mixed, whole
from tests.reports.test_browser import faults

pytestmark = pytest.mark.skipif(installed() is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    render_performance(whole(folder / "records"), folder / "performance")
    (folder / "gate.json").write_text(json.dumps(mixed()))
    render_gate(folder / "gate.json", folder / "gate")
    return folder


@pytest.mark.parametrize("name", ["performance", "gate"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_reader_stumbles_over_nothing(chromium, pages, name, width, dark):
    path = pages / name / "report.html"
    seen = chromium.look(path, width=width, dark=dark)
    assert faults(seen, path, width) == []
    assert ("230" in seen.page["ink"]) == dark
