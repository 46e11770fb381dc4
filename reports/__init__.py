"""Records to tables, plots and pages. Knows records, not models.

reports.load("reports/runs")    a tidy pandas DataFrame, one row per record and metric
"""

from pathlib import Path

import pandas as pd

from reports.record import FILE, Record, load_record


def load(folder: str | Path) -> pd.DataFrame:
    """Every record below `folder`, one row per metric; a failed run has one row with its error.

    Raises ValueError naming a record that cannot be read.
    """
    rows = []
    for path in sorted(Path(folder).glob(f"**/{FILE}")):
        record = load_record(path)
        about: dict[str, object] = {"id": record.id, "kind": record.kind, "code_id": record.code_id}
        about |= {"seed": record.config.get("seed"), "error": record.error}
        metrics = dict(record.metrics) or {"": float("nan")}
        rows += [about | {"metric": name, "value": value} for name, value in metrics.items()]
    return pd.DataFrame(rows)


__all__ = ["Record", "load", "load_record"]
