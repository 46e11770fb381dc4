"""What every frozen dataclass here can do: be varied, compared, written down and read back."""

import ast
import dataclasses
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from beartype import BeartypeConf, BeartypeStrategy
from beartype.door import is_bearable

Spec = TypeVar("Spec")
CHECK_ALL_ITEMS = BeartypeConf(strategy=BeartypeStrategy.On)

NOT_IDENTITY = {"identity": False}
"""Metadata of a field that says where something lies, not what it is: kept out of fingerprints."""

PREDICTION_ONLY = {"training": False}
"""Metadata of a field that decides how a trained network predicts or is scored, and nothing before:
trials that differ in such fields alone can share one training.
"""


def vary(spec: Spec, path: str, value: Any) -> Spec:
    """A copy of `spec` with one field replaced, e.g. vary(trial, "model.roi_op", RoIPool()).

    Raises ValueError that names the nearest field if a step of the path is not a field, or that
    names the expected type if `value` is not of it.
    """
    head, _, rest = path.partition(".")
    if not dataclasses.is_dataclass(spec) or isinstance(spec, type):
        raise ValueError(f"{spec!r} has no fields, so no {path!r} in it")
    names = [f.name for f in dataclasses.fields(spec)]
    if head not in names:
        raise ValueError(unknown(head, names, f"field of {type(spec).__name__}"))
    hint = typing.get_type_hints(type(spec))[head]
    child = vary(getattr(spec, head), rest, value) if rest else fitting(value, hint, path)
    return dataclasses.replace(spec, **{head: child})


def unknown(name: str, choices: list[str], kind: str) -> str:
    """One line: what was asked for, the nearest thing there is, and all there is."""
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is no {kind}{hint} (choose from {', '.join(sorted(choices))})"


def fitting(value: Any, hint: Any, name: str) -> Any:
    """`value` if it is of type `hint` (an int passes for a float); ValueError otherwise."""
    if type(value) is int and not is_bearable(value, hint) and is_bearable(float(value), hint):
        value = float(value)
    if not is_bearable(value, hint, conf=CHECK_ALL_ITEMS):
        raise ValueError(f"{name} must be {in_words(hint)}, got {value!r}")
    return value


def in_words(hint: Any) -> str:
    """`RoIPool | RoIAlign` rather than `mrcnn.roi_ops.RoIPool | mrcnn.roi_ops.RoIAlign`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(in_words(h) for h in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(hint))
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def plain(spec: Any, *, identity: bool = False, training: bool = False) -> Any:
    """`spec` as JSON-ready values; a dataclass becomes a dict with its class name under "is".

    identity    leave out the fields that only say where something lies (NOT_IDENTITY)
    training    leave out the fields that training does not depend on (PREDICTION_ONLY)
    """
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        without = ["identity"] * identity + ["training"] * training
        every = dataclasses.fields(spec)
        kept = [f for f in every if all(f.metadata.get(name, True) for name in without)]
        fields = {
            f.name: plain(getattr(spec, f.name), identity=identity, training=training) for f in kept
        }
        return {"is": type(spec).__name__, **fields}
    if isinstance(spec, (tuple, list)):
        return [plain(x, identity=identity, training=training) for x in spec]
    return spec


def parse(data: Any, hint: Any, name: str = "value") -> Any:
    """The inverse of `plain`. Only classes that `hint` can hold are ever built.

    Raises ValueError naming the field for anything that is missing, unknown or of another type.
    """
    return fitting(_built(data, hint, name), hint, name)


def _built(data: Any, hint: Any, name: str) -> Any:
    if isinstance(data, list):
        return tuple(_built(item, hint, name) for item in data)
    if not isinstance(data, Mapping):
        return data
    known = spec_types(hint)
    if data.get("is") not in known:
        raise ValueError(f"{name}: " + unknown(str(data.get("is")), list(known), "component"))
    made = known[data["is"]]
    hints = typing.get_type_hints(made)
    given = {key: value for key, value in data.items() if key != "is"}
    for key in given:
        if key not in hints:
            raise ValueError(f"{name}: " + unknown(key, list(hints), f"field of {made.__name__}"))
    return made(**{key: parse(v, hints[key], f"{name}.{key}") for key, v in given.items()})


def spec_types(hint: Any) -> dict[str, Any]:
    """Every dataclass that a value of type `hint` can be, at the top or inside, by class name."""
    found: dict[str, Any] = {}
    waiting = [hint]
    while waiting:
        current = waiting.pop()
        if dataclasses.is_dataclass(current) and current.__name__ not in found:  # type: ignore[union-attr]
            found[current.__name__] = current  # type: ignore[union-attr]
            waiting += typing.get_type_hints(current).values()
        waiting += typing.get_args(current)
    return found


def read_value(text: str, hint: Any, name: str = "value") -> Any:
    """A value as typed on a command line: `4`, `cosine`, `(1, 2)`, `RoIAlign(reduce="max")`.

    Nothing is executed: literals, and calls of the classes that `hint` can hold, are all there is.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        return fitting(text, hint, name)
    return parse(_literal(tree, text), hint, name)


def _literal(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.args:
            raise ValueError(f"{text!r}: name the fields, as in {node.func.id}(field=value)")
        fields = {str(k.arg): _literal(k.value, text) for k in node.keywords}
        return {"is": node.func.id, **fields}
    if isinstance(node, (ast.Tuple, ast.List)):
        return [_literal(item, text) for item in node.elts]
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError:
        return text


def field_type(spec: Any, path: str) -> Any:
    """The declared type of the field at `path`. Raises ValueError as `vary` does."""
    *parents, leaf = path.split(".")
    for step in parents:
        if not hasattr(spec, step):
            raise ValueError(unknown(step, _names(spec), f"field of {type(spec).__name__}"))
        spec = getattr(spec, step)
    if leaf not in _names(spec):
        raise ValueError(unknown(leaf, _names(spec), f"field of {type(spec).__name__}"))
    return typing.get_type_hints(type(spec))[leaf]


def _names(spec: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(spec)] if dataclasses.is_dataclass(spec) else []


def assign(spec: Spec, assignments: list[str]) -> Spec:
    """`spec` with `path=value` strings applied in turn: what `--set` does.

    Raises ValueError for a string without "=", and as `vary` and `read_value` do.
    """
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set takes path=value, got {text!r}")
        path = path.strip()
        spec = vary(spec, path, read_value(value.strip(), field_type(spec, path), path))
    return spec


def diff(a: Any, b: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, value in a, value in b) of every field in which two specs differ, deepest first."""
    if type(a) is type(b) and dataclasses.is_dataclass(a):
        for f in dataclasses.fields(a):
            yield from diff(getattr(a, f.name), getattr(b, f.name), f"{at}.{f.name}".strip("."))
    elif a != b:
        yield at, a, b


def fingerprint(spec: Any) -> str:
    """Twelve hex digits that change whenever any deciding field, at any depth, changes."""
    text = json.dumps(plain(spec, identity=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
