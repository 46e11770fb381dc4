"""A comparison ready to be shown: rows of records, and what was published about them."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.record import FILE, Record, load_record


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant. `folders` are its runs, seed by seed; a run without a record is missing."""

    name: str
    value: str
    seeds: tuple[int, ...]
    folders: tuple[Path, ...]
    records: tuple[Record | None, ...]

    @property
    def finished(self) -> list[Record]:
        """The records that hold metrics."""
        return [r for r in self.records if r is not None and r.error is None]

    @property
    def failed(self) -> list[Record]:
        """The records that hold an error."""
        return [r for r in self.records if r is not None and r.error is not None]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything a page is made of.

    field         the one field in which the rows differ, and per row its value in words
    baseline      name of the row that changes are taken from
    metrics       shown, in order
    published     row name -> the same metrics as published, in order; as many as there are
    published_on  data set, model and schedule of the published numbers
    ours_on       the same of ours
    comparable    False where ours is another data set, size or schedule than the published one
    contrasts     pairs of rows whose difference is the finding
    command       makes this page again
    trunks        folders of the pretrained trunks that runs started from
    table         where the published rows stand, such as "Table 2c"
    paired        what cannot be paired across the rows, in words; empty if everything is
    changes       published differences of rows whose own numbers are not: row, other row, values
    looks         numbers of seeds at which the sweep could stop; empty if their number was fixed
    """

    title: str
    question: str
    source: str
    field: str
    rows: tuple[Row, ...]
    baseline: str
    metrics: tuple[str, ...]
    published: Mapping[str, tuple[float, ...]]
    published_on: str
    ours_on: str
    comparable: bool
    contrasts: tuple[tuple[str, str], ...]
    command: str
    trunks: tuple[Path, ...] = ()
    table: str = ""
    paired: str = ""
    changes: tuple[tuple[str, str, tuple[float, ...]], ...] = ()
    looks: tuple[int, ...] = ()

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    @property
    def anything_published(self) -> bool:
        """Whether there is a published number to be seen beside ours."""
        return bool(self.published or self.changes)

    @property
    def pretrainings(self) -> list[Record]:
        """The records of the trunks."""
        return [record for record in map(recorded, self.trunks) if record is not None]

    def save(self, folder: Path) -> None:
        """study.json: all of this, the records by their place relative to `folder`."""
        values = {k: v for k, v in vars(self).items() if k != "rows"}
        values["rows"] = [
            {
                "name": row.name,
                "value": row.value,
                "seeds": row.seeds,
                "folders": [os.path.relpath(f, folder) for f in row.folders],
            }
            for row in self.rows
        ]
        values["trunks"] = [os.path.relpath(trunk, folder) for trunk in self.trunks]
        draft = folder / ".study.json.tmp"
        draft.write_text(json.dumps(values, indent=1))
        os.replace(draft, folder / "study.json")


def load_study(folder: Path) -> Study:
    """The study kept in a page's folder, with its records as they are now.

    Raises ValueError naming the file if there is none, or if it is broken.
    """
    path = folder / "study.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        rows = tuple(_row(folder, row) for row in values.pop("rows"))
        former = values.pop("pretraining_folder", None)  # a page of the first form had one
        trunks = values.pop("trunks", [former] if former else [])
        values["metrics"] = tuple(values["metrics"])
        values["published"] = {k: tuple(v) for k, v in values["published"].items()}
        values["contrasts"] = tuple((a, b) for a, b in values["contrasts"])
        values["changes"] = tuple((a, b, tuple(v)) for a, b, v in values.get("changes", ()))
        values["looks"] = tuple(values.get("looks", ()))
        return Study(**values, rows=rows, trunks=tuple(folder / trunk for trunk in trunks))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a study ({error})") from None


def _row(folder: Path, values: Mapping[str, Any]) -> Row:
    folders = tuple(folder / place for place in values["folders"])
    return Row(
        name=values["name"],
        value=values["value"],
        seeds=tuple(values["seeds"]),
        folders=folders,
        records=tuple(recorded(f) for f in folders),
    )


def recorded(folder: Path) -> Record | None:
    """The record in a run's folder; None if the run has not ended."""
    return load_record(folder / FILE) if (folder / FILE).exists() else None


def gallery(folders: Sequence[Path]) -> dict[str, Any] | None:
    """The pictures of the first run that has any."""
    for folder in folders:
        if (folder / "gallery.json").exists():
            found: dict[str, Any] = json.loads((folder / "gallery.json").read_text())
            return found
    return None
