"""From what a job left in its folder to its record: a crash is a record too."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.grid import Cell
from mrcnn.provenance import code_id, made_by
from mrcnn.spec import plain
from reports.record import FILE, Record, load_record

TAIL = 4000
"""Characters of a failed worker's last words that its record keeps."""


def recorded(cell: Cell, code: int) -> Record:
    """The record, saved, of a trial whose worker ended with `code`."""
    path = cell.folder / "result.json"
    if code == 0 and path.exists():
        record = _success(cell, json.loads(path.read_text()))
    else:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}, no result"
        record = Record(
            kind="trial",
            id=cell.id,
            code_id=code_id(),
            config=plain(cell.trial),
            error=f"{how}\n{last_words(cell.folder)}".strip(),
            made_by=made_by("cpu", {}),
        )
    record.save(cell.folder)
    return record


def adopt(cell: Cell) -> bool:
    """Make the record of a result that is there without one: the runner was killed before it could,
    or `mrcnn train` wrote it. Whether there was any.
    """
    path = cell.folder / "result.json"
    if (cell.folder / FILE).exists() or not path.exists():
        return False
    try:
        record = _success(cell, json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError):
        return False
    record.save(cell.folder)
    return True


def _success(cell: Cell, result: Mapping[str, Any]) -> Record:
    return Record(
        kind="trial",
        id=cell.id,
        code_id=result["made_by"]["code_id"],
        config=plain(cell.trial),
        data=result["data"],
        metrics={k: float("nan") if v is None else v for k, v in result["metrics"].items()},
        cost=result["cost"],
        history=tuple(result["history"]),
        made_by={**result["made_by"], "training_id": cell.training},
        trained_by=result.get("trained_by"),
    )


def last_words(folder: Path) -> str:
    """The end of what a worker wrote to standard error."""
    try:
        return (folder / "stderr.txt").read_text(errors="replace")[-TAIL:]
    except OSError:
        return ""


def pretraining_record(folder: Path) -> Record:
    """The record of a pretrained trunk, made from what its worker left if it is not there yet."""
    if (folder / FILE).exists():
        return load_record(folder / FILE)
    result = json.loads((folder / "result.json").read_text())
    record = Record(
        kind="pretraining",
        id=result["id"],
        code_id=result["made_by"]["code_id"],
        config={"trunk": result["trunk"], "pretraining": result["config"]},
        cost=result["cost"],
        history=tuple(result["history"]),
        made_by=result["made_by"],
    )
    record.save(folder)
    return record
