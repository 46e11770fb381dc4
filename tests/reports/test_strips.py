"""Ratios as strips: laws of the axis."""

import re

import pytest

from reports.strips import (
    EDGE,
    MOST_TICKS,
    WIDTH,
    Scale,
    axis,
    meter,
    percent,
    spanning,
    strip,
    times,
)


def test_equal_factors_are_equal_lengths_and_1_is_the_middle_of_a_symmetric_axis():
    scale = Scale(1 / 4, 4)
    assert scale.at(1) == pytest.approx(WIDTH / 2)
    assert scale.at(2) - scale.at(1) == pytest.approx(scale.at(1) - scale.at(0.5))
    assert (scale.at(0.25), scale.at(4)) == (EDGE, WIDTH - EDGE)
    assert (scale.at(1e-9), scale.at(1e9)) == (EDGE, WIDTH - EDGE)


@pytest.mark.parametrize("ratios", [[], [1.0], [0.99, 1.3], [20, 30], [1e-9, 1e9], [0.5, 0.6]])
def test_a_scale_holds_its_ratios_and_1(ratios):
    scale = spanning(ratios)
    assert scale.low < 1 < scale.high
    held = [r for r in ratios if 1e-3 <= r <= 1e3]
    assert all(scale.low < r < scale.high for r in held)
    ticks = scale.ticks()
    assert 1 in ticks
    assert len(ticks) <= MOST_TICKS
    assert all(
        b - a > 30 for a, b in zip(map(scale.at, ticks), map(scale.at, ticks[1:]), strict=False)
    )


def test_a_strip_has_its_parts_where_they_belong():
    scale = Scale(0.5, 2)
    drawn = strip(scale, 1.1, 1.0, 1.2, kind="bad", band=0.03, dots=[0.9, 1.3], said='a "b"')
    mark = re.search(r'class="mark" cx="([\d.]+)"', drawn)
    assert float(mark[1]) == pytest.approx(scale.at(1.1), abs=0.05)
    left = float(re.search(r'class="band" x="([\d.]+)"', drawn)[1])
    assert left == pytest.approx(scale.at(1 / 1.03), abs=0.05)
    assert drawn.count('class="dot"') == 2
    assert 'class="strip bad"' in drawn
    assert "a &#34;b&#34;" in drawn
    assert "band" not in strip(scale, 1, 1, 1)
    assert 'aria-hidden="true"' in strip(scale, 1, 1, 1)


def test_numbers_as_words():
    assert [percent(r) for r in (1, 1.05, 0.9, 1.123)] == ["0", "+5 %", "−10 %", "+12.3 %"]
    assert times(24.4) == "24.4×"
    assert "5 %" in axis(Scale(0.9, 1.1), percent, "said")
    assert [re.search(r"width: ([\d.]+)%", meter(s))[1] for s in (0.123, 2, -1)] == [
        "12.3",
        "100.0",
        "0.0",
    ]
