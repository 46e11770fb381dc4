"""What `list` and `plan` print: the questions there are, and what one of them would run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ablations.ablation import Ablation
from ablations.budget import estimate, in_words
from ablations.cost import expected_s, pretraining_s
from ablations.grid import Cell, named, names
from ablations.paper import TABLES
from mrcnn.differences import shown
from mrcnn.spec import diff

PAIRED = "nothing: weights, images, their order and what is drawn are the same for equal seeds"


def listing() -> Iterator[str]:
    """Every ablation by kind, the paper's tables first: its question, field and rows."""
    every = {name: named(name) for name in names()}
    rest = [name for name in every if not every[name].table]
    others = sorted(set(every) - set(rest) - set(TABLES), key=lambda name: every[name].table)
    yield "The paper's tables (* of `run paper`)"
    for name in (*TABLES, *others):
        star = "*" if name in TABLES else " "
        yield from _entry(f"{star} {name}", f"{every[name].table}: ", every[name])
    yield "Other questions"
    for name in rest:
        yield from _entry(f"  {name}", "", every[name])


def _entry(head: str, table: str, ablation: Ablation) -> Iterator[str]:
    yield f"{head:<24} {table}{ablation.question}"
    yield f"{'':<24} {ablation.field}: {' | '.join(ablation.values)}"


def planned(grids: Mapping[str, tuple[Ablation, Sequence[Cell]]], jobs: int) -> Iterator[str]:
    """What would run of each ablation by name, what is shared, and how long it may take."""
    for name, (ablation, grid) in grids.items():
        yield f"{name}: {ablation.title}" + f" ({ablation.table})" * bool(ablation.table)
        yield from _rows(ablation, grid)
        yield f"  not paired: {ablation.paired or PAIRED}"
    every = [cell for _, grid in grids.values() for cell in grid]
    yield from _shared({name: grid for name, (_, grid) in grids.items()})
    yield counted(every, jobs)


def _rows(ablation: Ablation, grid: Sequence[Cell]) -> Iterator[str]:
    base = next(cell for cell in grid if cell.row == ablation.baseline_row)
    for row in ablation.values:
        here = [cell for cell in grid if cell.row == row]
        states = Counter(cell.state() for cell in here)
        said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        yield f"  {row}{', the baseline' * (row == base.row)}: {said}; {here[0].id}"
        for path, theirs, ours in diff(base.trial, here[0].trial):
            yield f"      {path}: {shown(ours)} instead of {shown(theirs)}"


def _shared(grids: Mapping[str, Sequence[Cell]]) -> Iterator[str]:
    """Rows that are the same trial at this scale, and those that one training serves."""
    several = len(grids) > 1
    rows: dict[str, dict[str, list[str]]] = {}
    for name, grid in grids.items():
        for cell in grid:
            if cell.seed == min(c.seed for c in grid):
                row = f"{name}: {cell.row}" if several else cell.row
                rows.setdefault(cell.training, {}).setdefault(cell.id, []).append(row)
    for trials in rows.values():
        for same in trials.values():
            if len(same) > 1:
                yield f"the very same trial at this scale, run once: {' = '.join(same)}"
        if len(trials) > 1:
            firsts = [same[0] for same in trials.values()]
            yield f"trained once, evaluated for each: {' | '.join(firsts)}"


def counted(cells: Sequence[Cell], jobs: int) -> str:
    """How much is left, and the time it takes: by finished trials of these if there are any, else
    by what such trials were measured to take; says so where nothing was measured.
    """
    once = list({cell.id: cell for cell in cells}.values())
    left = [cell for cell in once if cell.state() != "finished"]
    if not left or len(left) < len(once):
        return estimate(once, jobs)
    trainings = {cell.training: cell for cell in reversed(left)}
    firsts = {cell.id for cell in trainings.values()}
    took = [expected_s(cell.trial, trained=cell.id not in firsts) for cell in left]
    text = f"{len(left)} trials to run, {len(trainings)} of them trained"
    known = [seconds for seconds in took if seconds is not None]
    if len(known) < len(took):
        return f"{text}; no finished one to tell the time by, and none measured at this scale"
    trunks = pretraining_s((cell.trial for cell in left), jobs)
    total = sum(known) / jobs + trunks
    return (
        f"{text}, {in_words(total)} with {jobs} at a time, {in_words(trunks)} of it "
        "pretraining, if this machine is as fast as the one measured (ablations/cost.py)"
    )
