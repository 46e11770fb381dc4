"""Records as one long table: a line per run and number."""

import io
import math
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from reports.record import FILE, Record, load_record
from reports.study import Study, load_study

COLUMNS = ("page", "row", "seed", "id", "kind", "code_id", "trained_by", "error")
NO_PARQUET = "records.parquet, which needs pyarrow: pip install .[parquet]"


def load(folder: str | Path) -> pd.DataFrame:
    """Every record below `folder`, one line per number it holds.

    group    "metric" (points of 0 .. 100) or "cost" (the unit is the name's ending)
    metric, value   a failed run has one line, its error in `error` and no value
    page, row       of the table that the run is in, by the pages below `folder`; a run that is in
             two tables has its lines twice, one that is in none has None

    Raises ValueError naming a record or page that cannot be read.
    """
    places = _places(Path(folder))
    found: list[dict[str, Any]] = []
    for path in sorted(Path(folder).glob(f"**/{FILE}")):
        record = load_record(path)
        for page, row in places.get(path.parent.resolve(), [(None, None)]):
            found += _lines(record, page, row, record.config.get("seed"))
    return _framed(found)


def tidy(study: Study, page: str) -> pd.DataFrame:
    """The same of one study's runs, its pretraining included."""
    found: list[dict[str, Any]] = []
    for row in study.rows:
        for seed, record in zip(row.seeds, row.records, strict=True):
            if record is not None:
                found += _lines(record, page, row.name, seed)
    for trunk in study.pretrainings:
        found += _lines(trunk, page, None, None)
    return _framed(found)


def parquet(frame: pd.DataFrame) -> bytes | None:
    """The table as Parquet; None without pyarrow."""
    if find_spec("pyarrow") is None:
        return None
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _places(folder: Path) -> Mapping[Path, list[tuple[str | None, str | None]]]:
    """Run folder -> (page, row) of the tables it is in."""
    found: dict[Path, list[tuple[str | None, str | None]]] = {}
    for path in sorted(folder.glob("**/study.json")):
        study = load_study(path.parent)
        for row in study.rows:
            for run in row.folders:
                found.setdefault(run.resolve(), []).append((path.parent.resolve().name, row.name))
    return found


def _lines(
    record: Record, page: str | None, row: str | None, seed: Any
) -> Iterator[dict[str, Any]]:
    own: dict[str, Any] = {"id": record.id, "kind": record.kind, "code_id": record.code_id}
    own |= {"trained_by": record.trained_by, "error": record.error}
    about = {"page": page, "row": row, "seed": seed} | own
    groups = {"metric": record.metrics, "cost": record.cost}
    if not any(groups.values()):
        yield about | {"group": "metric", "metric": "", "value": math.nan}
    for group, numbers in groups.items():
        for name, value in sorted(numbers.items()):
            yield about | {"group": group, "metric": name, "value": value}


def _framed(found: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(found, columns=[*COLUMNS, "group", "metric", "value"])
    texts = [c for c in frame.columns if c not in ("seed", "value")]
    kinds = dict.fromkeys(texts, "string") | {"seed": "Int64", "value": "float64"}
    return frame.astype(kinds)
