"""Copies a page with all it is made of, so that it can be committed and rendered again.

Pictures are copied for the built-in data alone: those of other data sets are not ours to publish,
and a page without them is rendered without a picture strip. Of several seeds the first has its
pictures copied: a page shows no others.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from reports.page import render
from reports.record import FILE
from reports.study import Row, Study

OURS = "Shapes"


def publish(study: Study, target: Path) -> list[Path]:
    """Copy the study's records below `target` and render it there; returns the files written.

    Raises ValueError if a run is missing: what is published is whole.
    """
    for row in study.rows:
        if len(row.finished) < len(row.records):
            raise ValueError(
                f"{row.name}: not all runs are finished, so there is nothing to publish"
            )
    rows = tuple(_copied(row, target / "records") for row in study.rows)
    trunk = study.pretraining_folder
    if trunk is not None:
        trunk = _copy(trunk, target / "records" / trunk.name, pictures=False)
    return render(replace(study, rows=rows, pretraining_folder=trunk), target)


def _copied(row: Row, records: Path) -> Row:
    folders: list[Path] = []
    for folder, record in zip(row.folders, row.finished, strict=True):
        pictures = not folders and str(record.data.get("name", "")).startswith(OURS)
        folders.append(_copy(folder, records / record.id, pictures=pictures))
    return replace(row, folders=tuple(folders))


def _copy(source: Path, target: Path, *, pictures: bool) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for name in (FILE, "gallery.json") if pictures else (FILE,):
        shutil.copyfile(source / name, target / name)
    return target
