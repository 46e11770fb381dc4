"""Plots inside a page: SVG whose ink and ground follow the page, light or dark.

A figure is drawn once, on white. In the page its colours are the page's own (`ink.css`); beside
the page it lies as a PNG, for Markdown.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from reports.plot import OKABE_ITO, png

DPI = 120
PANEL = (4.2, 3.0)
"""Inches of a panel: two lie beside each other on a desk, one fills a phone."""
SERIES = OKABE_ITO[:6]
FAINT = "#8a929b"
FOLLOWS = {
    "#000000": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#b0b0b0": "var(--faint)",
    FAINT: "var(--faint)",
    **{colour.lower(): f"var(--c{i})" for i, colour in enumerate(SERIES)},
}
"""What a colour of a figure is in the page: black, white, the grid's grey, the series' colours."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Figures: as SVG for the page, as PNG in `file` beside it, and what it shows in words."""

    name: str
    caption: str
    file: str
    svg: Markup
    content: bytes


def picture(panels: Sequence[Figure], *, name: str, caption: str, file: str) -> Picture:
    """Figures as a page needs them: beside each other where there is room, else one by one.

    `file` must be the page's own: it keeps the SVGs' ids apart.
    """
    drawn = [svg(one, f"{file} {i}", f"{name}, {i + 1}") for i, one in enumerate(panels)]
    grid = Markup('<div class="{}">{}</div>').format(
        "pair" if len(drawn) > 1 else "one", Markup("").join(drawn)
    )
    return Picture(name=name, caption=caption, file=file, svg=grid, content=tiled(panels))


def tiled(panels: Sequence[Figure]) -> bytes:
    """All panels as one PNG, two in a line."""
    images = [Image.open(io.BytesIO(png(one, DPI))) for one in panels]
    if len(images) == 1:
        return png(panels[0], DPI)
    width, height = (max(image.size[axis] for image in images) for axis in (0, 1))
    whole = Image.new("RGB", (2 * width, -(-len(images) // 2) * height), "white")
    for i, image in enumerate(images):
        whole.paste(image, (i % 2 * width, i // 2 * height))
    buffer = io.BytesIO()
    whole.save(buffer, "png")
    return buffer.getvalue()


def svg(figure: Figure, salt: str, said: str) -> Markup:
    """The figure as an element of a page: text is text, colours are the page's. The same figure
    and salt give the same bytes.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<style type=.*?</style>", "", text, flags=re.S)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: FOLLOWS.get(found[0], found[0]), text)
    width, height = figure.get_size_inches() * 72
    head = f'<svg class="plot" role="img" aria-label="{escape(said)}" '
    head += f'viewBox="0 0 {width:g} {height:g}" style="max-width: {1.9 * width:.0f}px">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: head, text, count=1))
