"""Ratios with their intervals, drawn as strips on one logarithmic axis: a cell of a table each."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT, EDGE = 240, 28, 10
TICKS = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98),
    *(1.02, 1.05, 1.1, 1.2, 1.5, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
MOST_TICKS = 5


@dataclass(frozen=True)
class Scale:
    """An axis of ratios from `low` to `high`, both above 0."""

    low: float
    high: float

    def at(self, ratio: float) -> float:
        """Where a ratio lies on a strip, in its units; ratios beyond the ends lie on the ends."""
        share = math.log(ratio / self.low) / math.log(self.high / self.low)
        return EDGE + (WIDTH - 2 * EDGE) * min(max(share, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """1, and a few round ratios that are far enough from it and from each other."""
        near = [1.0] if self.low <= 1 <= self.high else []
        wanted = [t for t in TICKS if self.low <= t <= self.high]
        for tick in sorted(wanted, key=lambda t: -abs(math.log(t))):
            apart = all(abs(self.at(tick) - self.at(other)) > 42 for other in near)
            if apart and len(near) < MOST_TICKS:
                near.append(tick)
        return sorted(near)


def spanning(ratios: Iterable[float], least: float = 1.02, most: float = 1000.0) -> Scale:
    """The scale that holds all ratios and 1, `least` or more to both sides, `most` at most."""
    logs = [min(max(math.log(r), -math.log(most)), math.log(most)) for r in ratios]
    pad = math.log(least)
    return Scale(math.exp(min([*logs, -pad]) * 1.04), math.exp(max([*logs, pad]) * 1.04))


def strip(
    scale: Scale,
    middle: float,
    low: float,
    high: float,
    *,
    kind: str = "",
    band: float | None = None,
    dots: Sequence[float] = (),
    said: str = "",
) -> Markup:
    """One ratio: its mark, its interval, the band around 1, a dot for each single measurement.

    band   a relative size: the band reaches from 1 / (1 + band) to 1 + band
    """
    parts = []
    if band is not None:
        left, right = scale.at(1 / (1 + band)), scale.at(1 + band)
        parts.append(_rectangle(left, right))
    parts.append(_line("zero", scale.at(1), scale.at(1), 2, HEIGHT - 2))
    for i, dot in enumerate(dots):
        y = 6 + 16 * ((i * 5) % 7) / 6
        parts.append(f'<circle class="dot" cx="{scale.at(dot):.1f}" cy="{y:.1f}" r="1.6"/>')
    y = HEIGHT / 2
    parts.append(_line("line", scale.at(low), scale.at(high), y, y))
    parts += [_line("line cap", x, x, y - 4, y + 4) for x in (scale.at(low), scale.at(high))]
    parts.append(f'<circle class="mark" cx="{scale.at(middle):.1f}" cy="{y:g}" r="3.6"/>')
    return _drawn(kind, said, parts)


def axis(scale: Scale, named: Callable[[float], str], said: str) -> Markup:
    """The axis of a column of strips."""
    parts = [_line("zero", EDGE, WIDTH - EDGE, HEIGHT - 3, HEIGHT - 3)]
    for tick in scale.ticks():
        x = scale.at(tick)
        parts.append(_line("zero", x, x, HEIGHT - 8, HEIGHT - 3))
        anchor = "start" if x < 30 else "end" if x > WIDTH - 30 else "middle"
        at = x - EDGE if anchor == "start" else x + EDGE if anchor == "end" else x
        text = escape(named(tick))
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}">{text}</text>')
    return _drawn("", said, parts)


def percent(ratio: float) -> str:
    """A ratio of times as a change: 1.05 is +5 %, 0.9 is −10 %, 1 is 0."""
    change = 100 * (ratio - 1)
    return f"{change:+.3g} %".replace("-", "−") if abs(change) >= 0.05 else "0"


def times(ratio: float) -> str:
    """A ratio as a multiple."""
    return f"{ratio:.3g}×"


def meter(share: float) -> Markup:
    """A share of 0 to 1 as a small bar."""
    width = 100 * min(max(share, 0.0), 1.0)
    bar = f'<i style="width: {width:.1f}%"></i>'
    return Markup(f'<span class="meter" aria-hidden="true">{bar}</span>')


def _rectangle(left: float, right: float) -> str:
    size = f'width="{right - left:.1f}" height="{HEIGHT - 2}"'
    return f'<rect class="band" x="{left:.1f}" y="1" {size}/>'


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:g}" y2="{y2:g}"/>'


def _drawn(kind: str, said: str, parts: Sequence[str]) -> Markup:
    label = f'role="img" aria-label="{escape(said)}"' if said else 'aria-hidden="true"'
    head = f'<svg class="strip {kind}" viewBox="0 0 {WIDTH} {HEIGHT}" {label}>'
    return Markup(head + "".join(parts) + "</svg>")
