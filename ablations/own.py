"""A question of your own: a Python file that defines ABLATION, or a TOML file of ten lines.

    title = "Sample points"
    baseline = "r50_c4"                    # a preset: python -m mrcnn presets names them
    field = "model.roi_op"                 # the one path into the trial that rows differ in
    [values]                               # row = value, as after --set; one is the baseline's
    "1 point" = "RoIAlign(sampling_ratio=1)"
    "4 points" = "RoIAlign()"
    "4 points, max" = 'RoIAlign(reduce="max")'

It may also have question, source, contrasts (pairs of rows; by default each row and the
baseline's), metrics, published_on, table and paired, and [published] with numbers by row.
"""

import importlib.util
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.ablation import MASKS_AND_BOXES, METRICS, Ablation
from mrcnn.config import Trial
from mrcnn.presets import PRESETS
from mrcnn.spec import field_type, fitting, read_value, unknown, vary

ENDINGS = (".py", ".toml")
NEEDED: Mapping[str, Any] = {"title": str, "baseline": str, "field": str, "values": dict[str, Any]}
OPTIONAL: Mapping[str, Any] = {
    "question": str,
    "source": str,
    "table": str,
    "paired": str,
    "published_on": str,
    "metrics": tuple[str, ...],
    "contrasts": tuple[tuple[str, str], ...],
    "published": dict[str, tuple[float, ...]],
}


def own(name: str) -> Ablation:
    """The ablation that a .py or .toml file defines.

    Raises ValueError in one line that starts with the file's name and says what is wrong.
    """
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name}: no such file")
    try:
        return _of_toml(path) if path.suffix == ".toml" else _of_python(path)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _of_python(path: Path) -> Ablation:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    found = getattr(module, "ABLATION", None)
    if not isinstance(found, Ablation):
        raise ValueError("defines no ABLATION = Ablation(...)")
    return found


def _of_toml(path: Path) -> Ablation:
    try:
        given = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not readable as TOML ({error})") from None
    given = checked(given)
    preset, field = given.pop("baseline"), given.pop("field")
    if preset not in PRESETS:
        raise ValueError("baseline: " + unknown(preset, list(PRESETS), "preset"))
    baseline = PRESETS[preset]
    values = {row: _value(baseline, field, row, v) for row, v in given.pop("values").items()}
    rest = [row for row, v in values.items() if vary(baseline, field, v) != baseline]
    base = [row for row in values if row not in rest]
    defaults = {
        "question": given["title"],
        "source": f"own question, {path.name}",
        "metrics": MASKS_AND_BOXES,
        "published": {},
        "published_on": "nothing",
        "contrasts": tuple((row, base[0]) for row in rest) if base else (),
    }
    return Ablation(baseline=baseline, field=field, values=values, **{**defaults, **given})


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a TOML file holds, if every key is known, of its type, and none is missing.

    Raises ValueError naming the key, and the nearest one there is.
    """
    known = {**NEEDED, **OPTIONAL}
    for key in given:
        if key not in known:
            raise ValueError(unknown(key, list(known), "key of an ablation"))
    if missing := [key for key in NEEDED if key not in given]:
        raise ValueError(f"{', '.join(missing)} missing: needs {', '.join(NEEDED)}")
    made = {key: _fitted(key, value, known[key]) for key, value in given.items()}
    if len(made["values"]) < 2:
        raise ValueError(f"values needs two rows or more, got {list(made['values'])}")
    for metric in made.get("metrics", ()):
        if metric not in METRICS:
            raise ValueError("metrics: " + unknown(metric, list(METRICS), "metric"))
    return made


def _fitted(key: str, value: Any, hint: Any) -> Any:
    if key == "published" and isinstance(value, Mapping):
        return {
            row: _fitted(f"published {row!r}", v, tuple[float, ...]) for row, v in value.items()
        }
    if hint == tuple[float, ...] and isinstance(value, list):
        value = [float(x) if isinstance(x, int) else x for x in value]
    return fitting(_tuples(value), hint, key)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(x) for x in value) if isinstance(value, list) else value


def _value(baseline: Trial, field: str, row: str, given: Any) -> Any:
    """A row's value: text as after --set, or TOML's own number, truth or list."""
    hint = field_type(baseline, field)
    text = given if isinstance(given, str) else repr(given)
    return read_value(text, hint, f"values, {row!r}")
