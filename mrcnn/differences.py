"""In which choices trials differ, as a table: a row for each field, a column for each trial."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mrcnn import choices
from mrcnn.choices import Choice
from mrcnn.config import Trial
from mrcnn.spec import diff

ABSENT = "-"
"""Where a preset's network has no such part."""


def table(
    trials: Mapping[str, Trial], *, every: bool = False
) -> Iterator[tuple[Choice, str, tuple[str, ...]]]:
    """(choice, field, its value in each trial): the fields, as deep as they can be told apart, in
    which the trials differ.

    every   also what all trials agree on, as one row per path of a choice
    """
    for choice in choices.CHOICES:
        for path in choice.fields:
            found = [at(trial, path) for trial in trials.values()]
            leaves = _differing(path, found) or ([path] if every else [])
            for leaf in leaves:
                yield choice, leaf, tuple(shown(at(trial, leaf)) for trial in trials.values())


def typed(
    rows: Sequence[tuple[Choice, str, tuple[str, ...]]], names: Sequence[str], *, markdown: bool
) -> Iterator[str]:
    """The lines of a table as `python -m mrcnn diff` prints it; or of one in Markdown, and of a
    second with the tests of each choice.
    """
    if markdown:
        yield from _markdown(rows, names)
        return
    last = None
    for choice, field, values in rows:
        if choice is not last:
            yield choice.name
        last = choice
        yield f"    {field}"
        for name, value in zip(names, values, strict=True):
            yield f"        {name:<18} {value}"


def _markdown(
    rows: Sequence[tuple[Choice, str, tuple[str, ...]]], names: Sequence[str]
) -> Iterator[str]:
    yield f"| choice | field | {' | '.join(names)} |"
    yield "|---|---|" + "---|" * len(names)
    last = None
    for choice, field, values in rows:
        name = "" if choice is last else choice.name
        last = choice
        yield f"| {name} | `{field}` | {' | '.join(values)} |"
    yield from ("", "| choice | tests, file::function |", "|---|---|")
    for choice in dict.fromkeys(choice for choice, _, _ in rows):
        yield f"| {choice.name} | {', '.join(f'`{test}`' for test in choice.tests)} |"


def at(spec: Any, path: str) -> Any:
    """The value at a path; ABSENT where a part on the way has no such field."""
    for name in path.split("."):
        if not hasattr(spec, name):
            return ABSENT
        spec = getattr(spec, name)
    return spec


def shown(value: Any) -> str:
    """A value as one types it, without what is as its class has it anyway."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))}{',' * (len(value) == 1)})"
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is None:
        return repr(value) if isinstance(value, str) and value != ABSENT else f"{value}"
    told = [n for n, f in fields.items() if getattr(value, n) != f.default]
    return f"{type(value).__name__}({', '.join(f'{n}={shown(getattr(value, n))}' for n in told)})"


def _differing(path: str, found: Sequence[Any]) -> list[str]:
    """Paths below `path` in which some of the values found there differ from the first."""
    leaves = {leaf: None for other in found[1:] for leaf, _, _ in diff(found[0], other, path)}
    return [leaf for leaf in leaves if not any(leaf.startswith(f"{o}.") for o in leaves)]


def left_over(a: Trial, b: Trial) -> list[str]:
    """Fields in which two trials differ and that belong to no choice: data and seed aside."""
    held = [field for choice in choices.CHOICES for field in choice.fields]
    paths = [path for path, _, _ in diff(a.model, b.model, "model")]
    paths += [path for path, _, _ in diff(a.train, b.train, "train")]
    paths += [path for path, _, _ in diff(a.evaluate, b.evaluate, "evaluate")]
    return [p for p in paths if not any(f"{p}.".startswith(f"{f}.") for f in held)]
