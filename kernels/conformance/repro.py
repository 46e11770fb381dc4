"""One failing case, in words and again: what a person needs to mend a kernel."""

import shlex
from pathlib import Path
from typing import Any

from kernels.conformance.case import Case
from kernels.conformance.checks import checks_of
from kernels.conformance.declaration import Kernel, declared_in
from kernels.conformance.engine import Outcome, Shaped, once
from kernels.conformance.lanes import TOOLS
from kernels.conformance.own import own
from kernels.conformance.worker import Isolated
from kernels.op import operators, unknown


def explained(outcome: Outcome, file: Path | None) -> str:
    """What happened, the smallest case, the worst element, the rule, and a line to repeat it."""
    lines = [f"{outcome.path}: {outcome.verdict}: {outcome.reason}"]
    if outcome.worst:
        parts = (f"{name} {_short(value)}" for name, value in outcome.worst.items())
        lines.append(f"  worst element: {', '.join(parts)}")
    if outcome.rule:
        lines.append(f"  rule: {outcome.rule}")
    if outcome.case is not None:
        lines += [f"  {line}" for line in in_words(outcome.case)]
        lines.append(f"  again: {command(outcome, file)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def command(outcome: Outcome, file: Path | None) -> str:
    """The command that tries the failing case again; it carries the case itself."""
    assert outcome.case is not None
    words = ["python", "-m", "kernels", "repro", f"{outcome.path}@{outcome.case.token}"]
    return shlex.join([*words, *(["--kernels", str(file)] if file else [])])


def in_words(case: Case) -> list[str]:
    """A case, one line an argument."""
    lines = []
    for name, recipe in case.tensors.items():
        parts = [_in_words(one) for one in recipe.get("list", [recipe])]
        lines.append(f"{name} = {', '.join(parts)}")
    lines += [f"{name} = {value!r}" for name, value in case.options.items()]
    return lines


def _in_words(recipe: Any) -> str:
    if "values" in recipe:
        return f"{recipe['values']}"
    shape = " x ".join(map(str, recipe["shape"]))
    return f"{recipe['kind']}, {shape}, seed {recipe.get('seed', 0)}"


def replayed(path: str, file: Path | None) -> Outcome:
    """Try one case again: `path` is operator/kernel[lane]/dtype/check@token.

    Raises ValueError for a path that names nothing here, or a lane that cannot run here.
    """
    name, at, token = path.partition("@")
    parts = name.split("/")
    if not at or len(parts) != 4:
        raise ValueError(f"{path[:60]!r} is not operator/kernel/dtype/check@case")
    operator, title, dtype, check_name = parts
    case = Case.from_token(token)
    kernel = found(operator, title, file)
    if kernel.missing is not None:
        raise ValueError(f"{kernel.title} cannot run here: {kernel.missing}")
    check = checks_of(operator, [check_name])[0]
    with Isolated(kernel, tool=check_name if check_name in TOOLS else None) as call:
        return once(check, kernel, dtype, Shaped(call, operator), case)


def found(operator: str, title: str, file: Path | None) -> Kernel:
    """The kernel of that name and lane in a file, or this project's own backend.

    Raises ValueError if there is none.
    """
    if operator not in operators():
        raise ValueError(unknown(operator, operators(), "operator"))
    every = own() if file is None else declared_in(file)
    kernels = {k.title: k for k in every if k.operator == operator}
    if title not in kernels:
        where = "backend" if file is None else f"kernel of {file}"
        raise ValueError(unknown(title, kernels, f"{operator} {where}"))
    return kernels[title]
