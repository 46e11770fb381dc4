"""How many seeds a row gets: a sweep looks at its results and goes on where they tell nothing yet.

At most 8 seeds, after looks at 3 and 5. What each look may spend of the error rate was settled
beforehand (`stats.SHARES`), so that a table that stops early errs no more often than another.
"""

from dataclasses import replace

from reports.stats import ALPHA, LOOKS, SHARES, negligible
from reports.study import Row, Study
from reports.table import Contrast, contrasts

__all__ = ["LOOKS", "stated", "undecided"]


def undecided(study: Study, look: int) -> set[str]:
    """The rows that need more seeds than the `look` they have: those of open contrasts.

    Each row counts with its first `look` seeds. None needs more after the last look, and none for
    a contrast of which not one pair of seeds has finished: more of the same would fail too.
    Raises ValueError for a number that is not a planned look.
    """
    if look not in LOOKS:
        raise ValueError(f"{look} seeds are no planned look; those are {LOOKS}")
    if look == LOOKS[-1]:
        return set()
    seen = replace(study, rows=tuple(_first(row, look) for row in study.rows), looks=LOOKS)
    return {name for c in contrasts(seen) if open_still(c) for name in (c.a, c.b)}


def stated(study: Study) -> str:
    """For the page: how the number of seeds was chosen, and what that costs; empty if fixed."""
    if not study.looks:
        return ""
    looks = ", ".join(map(str, study.looks))
    spent = ", ".join(f"{100 * share:g}" for share in SHARES)
    return (
        f"The number of seeds was chosen by the results, at looks after {looks} seeds. These spend "
        f"{spent} % of the error rate, and intervals of differences are as much wider: they cover "
        "95 % however a sweep stops."
    )


def open_still(contrast: Contrast) -> bool:
    """Whether another look could settle it: no sign is certain yet, nor that there is none."""
    if contrast.ours is None:
        return False
    if contrast.published is not None:
        return contrast.verdict.startswith("cannot tell")
    sure = contrast.adjusted_p is not None and contrast.adjusted_p < ALPHA
    return not sure and not negligible(contrast.ours)


def _first(row: Row, look: int) -> Row:
    kept = {k: getattr(row, k)[:look] for k in ("seeds", "folders", "records")}
    return replace(row, **kept)
