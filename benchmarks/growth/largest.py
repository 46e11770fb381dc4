"""The largest size that fits a stated memory, by bisection; each try is a process that may fail."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.growth.laws import ROI, against_all, on_one_map, pasted, pasted_into
from benchmarks.growth.process import GIB, Law, processed
from benchmarks.growth.scale import Run
from benchmarks.growth.work import detector_at, operator_at

NEAR = 1.02
"""The bisection ends when what does not fit is so many times what fits, or one more."""


def _largest(what: str, variable: str, start: int, note: str, **how: Any) -> Law:
    return Law(
        what=what,
        variable=variable,
        values=(start,),
        prepare=partial(operator_at, **how),
        note=note,
    )


_PASTE: Any = {"operator": "paste_masks", "rows": ("masks", "boxes")}
_PAIRS: Any = {"operator": "box_iou", "inputs": against_all, "rows": ("a",)}
_ALIGN: Any = {"operator": "roi_align", "inputs": on_one_map, "rows": ROI}

LARGEST: tuple[Law, ...] = tuple(
    _largest(f"{what}{peer}", variable, start, note, **how, backend=backend)
    for what, variable, start, note, how in (
        ("roi_align", "RoIs", 1000, "64 channels, 7 x 7 from each RoI", _ALIGN),
        ("paste_masks", "masks", 100, "into 800 x 1216", {**_PASTE, "inputs": pasted}),
        ("paste_masks", "image px", 512, "20 masks", {**_PASTE, "inputs": pasted_into}),
        ("box_iou, all pairs", "boxes", 1000, "against as many", _PAIRS),
    )
    for peer, backend in (("", None), (", torchvision", "torchvision"))
) + (
    Law(
        what="inference, R50-FPN",
        variable="image px",
        values=(256,),
        prepare=partial(detector_at, variable="image px"),
        note="side of a square image",
    ),
)


def largest(
    law: Law, *, limit: int, longest_s: float = 60.0, run: Run = processed
) -> Iterator[dict[str, Any]]:
    """The row of the largest size whose process ends within `limit` bytes, better with each try.

    value   fits, and `too_large` does not; None for `too_large` where no size was refused: time
            ended first, and the note says so

    Raises ValueError where the smallest size does not fit, or where a process fails otherwise.
    """
    fits, too_large, why = 0, None, ""
    value = law.values[0]
    while True:
        outcome = run(law, value, limit=limit, longest_s=longest_s, sample_s=0.0)
        if outcome.end == "measured":
            fits = value
        elif outcome.end in ("wrong", "failed") or not fits:
            raise ValueError(f"{law.what}, {value:,} {law.variable}: {outcome.said}")
        elif outcome.end == "time":
            why = f"larger ones were not tried: {value:,} was {outcome.said}"
        else:
            too_large = value
        yield {
            "what": law.what,
            "variable": law.variable,
            "value": fits,
            "too_large": too_large,
            "limit_gib": limit / GIB,
            "note": "; ".join(n for n in (law.note, why) if n),
        }
        if why or (too_large and (too_large <= fits + 1 or too_large <= NEAR * fits)):
            return
        value = 2 * fits if too_large is None else round((fits * too_large) ** 0.5)


def line(found: dict[str, Any]) -> str:
    """One limit in words."""
    at = "at least " if found["too_large"] is None else ""
    text = f"{found['what']:<34} {found['variable']:<9} {at}{found['value']:,}"
    return f"{text} in {found['limit_gib']:g} GiB ({found['note']})"
