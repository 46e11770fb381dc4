"""What a finished run leaves behind. Reports are made from records and from nothing else."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FILE = "record.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run's outcome. A failed run is a record too: `error` says why and `metrics` is empty.

    id        of the trial: a hash of its configuration and its data
    code_id   hash of the sources that made it
    metrics   points of 0 .. 100; NaN where there was nothing to measure
    cost      seconds, milliseconds, megabytes, counts; the unit is the name's ending
    history   one entry per noted training step
    made_by   versions, commit, device, threads: the birth certificate
    trained_by  id of the trial whose weights this one only evaluated; None: it trained its own
    """

    kind: Literal["trial", "pretraining"]
    id: str
    code_id: str
    config: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)
    trained_by: str | None = None

    def save(self, folder: Path) -> Path:
        """Write record.json into `folder`, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        path, draft = folder / FILE, folder / f".{FILE}.{os.getpid()}.tmp"
        values = _nulls(dataclasses.asdict(self))
        try:
            with draft.open("w") as file:
                json.dump(values, file, indent=1, sort_keys=True, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        return path


def load_record(path: Path) -> Record:
    """The record in a file. Raises ValueError naming the file if it does not hold one."""
    try:
        values = json.loads(path.read_text())
        values["history"] = tuple(values.get("history", ()))
        nan = float("nan")
        values["metrics"] = {k: nan if v is None else v for k, v in values["metrics"].items()}
        return Record(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a record ({error})") from None


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nulls(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nulls(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
