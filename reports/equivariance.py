"""The page of the translation-equivariance probe: from its JSON to a plot, Markdown and HTML."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reports.plot import MARKERS, OKABE_ITO, STROKES, png

FILE = "equivariance.json"
TITLE = "What moves when a picture moves by less than a feature pixel"
LAYER = (
    "RoI layers alone: change of the output when map and RoI move together, as a share of the "
    "output's own deviation. The maps are sums of waves, so that their shift is exact."
)
NETWORK = (
    "The whole network, objects' boxes given: IoU of masks and refined boxes with those of the "
    "unshifted picture, moved along. Pictures are rendered anew at every shift."
)


def render(folder: Path) -> list[Path]:
    """equivariance.png, .md and .html from the folder's equivariance.json.

    Raises ValueError naming the file if there is none, or if it is broken.
    """
    path = folder / FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        plot = png(drawn(found))
        text = "\n".join(lines(found)) + "\n"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a result of the probe ({error})") from None
    written = [folder / f"equivariance.{ending}" for ending in ("png", "md", "html")]
    written[0].write_bytes(plot)
    written[1].write_text(text)
    written[2].write_text(page(text, plot))
    return written


def drawn(found: Mapping[str, Any]) -> Figure:
    """The layers' curves, and below them the network's if it was probed."""
    parts = 1 + bool(found.get("network"))
    figure = Figure(figsize=(6.4, 3.6 * parts), layout="constrained")
    axes = figure.subplots(parts, 1, squeeze=False)[:, 0]
    layer = found["layer"]
    _curves(axes[0], layer["shift"], {name: layer["error"][name] for name in layer["layers"]})
    axes[0].set(xlabel=f"shift in pixels, stride {layer['stride']}", ylabel="relative change")
    if network := found.get("network"):
        curves = {name: network[name] for name in ("mask IoU", "box IoU") if name in network}
        _curves(axes[1], network["shift"], curves)
        axes[1].set(xlabel=f"shift in pixels, stride {network['stride']}", ylabel="IoU, unshifted")
    return figure


def _curves(axes: Any, shift: Sequence[float], curves: Mapping[str, Sequence[float]]) -> None:
    for i, (name, values) in enumerate(curves.items()):
        look = {"color": OKABE_ITO[i % len(OKABE_ITO)], "ls": STROKES[i % len(STROKES)]}
        marker = MARKERS[i % len(MARKERS)]
        axes.plot(shift, values, label=name, marker=marker, markevery=4, ms=4, **look)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The page in Markdown: for each curve its mean and its worst over one stride."""
    yield from (f"# {TITLE}", "", LAYER, "")
    yield from ("| RoI layer | mean change | worst | after one whole stride |", "|---|---|---|---|")
    for name in found["layer"]["layers"]:
        values = found["layer"]["error"][name]
        inner = values[1:-1]
        mean = sum(inner) / len(inner)
        yield f"| {name} | {mean:.3f} | {max(inner):.3f} | {values[-1]:.3f} |"
    if network := found.get("network"):
        yield from ("", NETWORK, "", f"{found['about']}, {network['objects']} objects.", "")
        yield from ("| of the network | mean | worst |", "|---|---|---|")
        for name in ("mask IoU", "box IoU", "box strays, px"):
            if name in network:
                inner = network[name][1:]
                worst = max(inner) if name.endswith("px") else min(inner)
                yield f"| {name} | {sum(inner) / len(inner):.3f} | {worst:.3f} |"
    yield from ("", "![curves](equivariance.png)", "", f"`{found['command']}`")


def page(text: str, plot: bytes) -> str:
    """The same as one HTML file that opens offline."""
    body = []
    rows = [line for line in text.splitlines() if line and not line.startswith(("|---", "!["))]
    for line in rows:
        if line.startswith("|"):
            cells = "".join(
                f"<td>{html.escape(c.strip())}</td>" for c in line.strip("|").split("|")
            )
            body.append(f"<table><tr>{cells}</tr></table>")
        elif line.startswith("# "):
            body.append(f"<h1>{html.escape(line[2:])}</h1>")
        else:
            body.append(f"<p>{html.escape(line.strip('`'))}</p>")
    image = base64.b64encode(plot).decode()
    body.append(f'<img alt="the curves of the tables above" src="data:image/png;base64,{image}">')
    joined = "\n".join(body).replace("</table>\n<table>", "\n")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{TITLE}</title>'
        '<meta name="viewport" content="width=device-width">'
        "<style>:root{color-scheme:light dark}body{font:16px/1.5 sans-serif;max-width:50rem;"
        "margin:2rem auto;padding:0 1rem}td{padding:.1rem .8rem .1rem 0}"
        f"img{{max-width:100%;background:#fff}}</style>\n{joined}\n</html>\n"
    )
