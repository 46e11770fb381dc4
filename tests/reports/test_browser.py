"""Pages in a real browser: nothing fails, nothing overflows, every picture is seen."""

import pytest

from reports.index import render_index
from reports.page import render
from tests.reports import made
from tests.reports.browser import browser, installed

pytestmark = pytest.mark.skipif(installed() is None, reason="no Chromium is installed")
BROKEN = """<body style="margin: 0"><div style="width: 800px">wide</div><img src="gone.png" alt="">
<script>nowhere()</script></body>"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    names = dict(title="A rather long title that a narrow screen has to break somewhere")
    render(made.whole_study(folder / "runs", **names), folder / "pages/layers-small")
    render_index(folder / "pages")
    return folder / "pages"


def faults(seen, path, width):
    """What a reader would stumble over."""
    found = [f"failed: {text}" for text in seen.failed]
    found += [f"error: {error}" for error in seen.errors]
    asked = [url for url in seen.requests if not url.startswith("data:")]
    found += [f"asked for {url}" for url in asked if url != path.resolve().as_uri()]
    if seen.page["wide"] > width:
        found.append(f"{seen.page['wide']} px wide: {seen.page['beyond']}")
    for image in seen.page["images"]:
        if len(image["alt"]) < 10 or not image["width"] or not image["shown"]:
            found.append(f"an image that is not seen or has no text: {image}")
    return found


@pytest.mark.parametrize("file", ["layers-small/report.html", "index.html"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_reader_stumbles_over_nothing(chromium, pages, file, width, dark):
    seen = chromium.look(pages / file, width=width, dark=dark)
    assert faults(seen, pages / file, width) == []
    assert len(seen.page["images"]) == (9 if "report" in file else 1)
    ground = [int(part) for part in seen.page["ground"][4:-1].split(",")]
    assert (max(ground) < 60) == dark


def test_a_page_that_is_broken_is_caught(chromium, tmp_path):
    path = tmp_path / "broken.html"
    path.write_text(BROKEN)
    said = " ".join(faults(chromium.look(path, width=390), path, 390))
    for fault in ("failed:", "error:", "asked for", "px wide", "no text"):
        assert fault in said
