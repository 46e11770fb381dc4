"""One call of `run`: fill a sweep with an engine, write its pages, say what was left."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ablations.budget import Budget, estimate
from ablations.engines import Wish
from ablations.grid import Cell
from ablations.run import Outcome, Runner
from ablations.sweep import Sweep, fill
from ablations.watch import watching
from reports.index import render_index
from reports.page import render


def filled(sweep: Sweep, wish: Wish, budget: Budget) -> Outcome:
    """Run what the sweep wants and the budget allows."""
    sweep.cells()  # what was asked for wrongly is said before an engine is started
    engine, setting = wish.chosen(sweep.runs)
    try:
        with watching() as watch:
            runner = Runner(
                runs=sweep.runs,
                engine=engine,
                watch=watch,
                setting=setting,
                accept_old_code=sweep.accept_old_code,
                budget=budget,
            )
            return fill(sweep, runner)
    finally:
        engine.close()


def written(sweep: Sweep) -> Iterator[Path]:
    """Write the page of each ablation of the sweep, and the index over all pages there are; the
    HTML file of each, beside which its other files lie.
    """
    for name in sweep.names:
        yield render(sweep.study(name), sweep.page(name))[0]
    yield render_index(sweep.runs / "pages")[0]


def leftover(sweep: Sweep, left: Sequence[Cell], jobs: int) -> str:
    """What was not run and how to go on, for people."""
    rows: dict[str, int] = {}
    for cell in left:
        rows[cell.row] = rows.get(cell.row, 0) + 1
    named = ", ".join(f"{row} ({count})" for row, count in rows.items())
    todo = estimate([*sweep.cells()], jobs)
    return f"the time is over: {named} not run; {todo}; the same command goes on"
