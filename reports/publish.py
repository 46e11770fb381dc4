"""Copies a page with all it is made of, so that it can be committed and rendered again.

Pictures are copied for the built-in data alone: those of other data sets are not ours to publish,
and a page without them is rendered without a picture strip. Of several seeds the first has its
pictures copied: a page shows no others. Of the matches go along what the first metric and the
curves of precision are made of, for all objects whatever their size: nothing on the page needs
the rest, which weighs five times as much.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports import matches
from reports.page import render, write
from reports.pictures import MIN_SCORE
from reports.record import FILE
from reports.resample import Measure, measure
from reports.study import Row, Study

OURS = "Shapes"
GALLERY = "gallery.json"


def publish(study: Study, target: Path) -> list[Path]:
    """Copy the study's records below `target` and render it there; returns the files written.

    Raises ValueError if a run is missing: what is published is whole.
    """
    for row in study.rows:
        if len(row.finished) < len(row.records):
            raise ValueError(
                f"{row.name}: not all runs are finished, so there is nothing to publish"
            )
    of, records, rows = measure(study.metrics[0]), target / "records", list[Row]()
    for row in study.rows:
        drawn = not any((f / GALLERY).exists() for one in rows for f in one.folders)
        rows.append(_copied(row, records, of, pixels=drawn))
    trunks = tuple(_copy(trunk, records / trunk.name) for trunk in study.trunks)
    return render(replace(study, rows=tuple(rows), trunks=trunks), target)


def _copied(row: Row, records: Path, of: Measure | None, *, pixels: bool) -> Row:
    folders: list[Path] = []
    for folder, record in zip(row.folders, row.finished, strict=True):
        copy = _copy(folder, records / record.id)
        ours = str(record.data.get("name", "")).startswith(OURS)
        if not folders and ours and (folder / GALLERY).exists():
            gallery = shown(json.loads((folder / GALLERY).read_text()), pixels=pixels)
            write(copy / GALLERY, json.dumps(gallery).encode())
        if of is not None and (folder / matches.FILE).exists():
            with np.load(folder / matches.FILE, allow_pickle=False) as arrays:
                write(copy / matches.FILE, packed(reduced(dict(arrays), of)))
        folders.append(copy)
    return replace(row, folders=tuple(folders))


def _copy(source: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / FILE, target / FILE)
    return target


def shown(gallery: Mapping[str, Any], *, pixels: bool) -> dict[str, Any]:
    """What a strip shows of a gallery: the confident detections, and the images themselves in one
    gallery of a study, for all are of the same ones.
    """
    images = [
        {
            **image,
            "png": image["png"] if pixels else "",
            "detections": [d for d in image["detections"] if d["score"] >= MIN_SCORE],
        }
        for image in gallery["images"]
    ]
    return {**gallery, "images": images}


def reduced(arrays: Mapping[str, NDArray[Any]], of: Measure) -> dict[str, NDArray[Any]]:
    """The matches of one kind, of objects of every size together and of the measure's size.

    Scores have half as many digits: they order detections, which are kept in their order.
    """
    sizes = [i for i, name in enumerate(arrays["areas"]) if name in ("all", of.area)]
    kept = {}
    for name, array in arrays.items():
        kind, _, part = name.partition("_")
        if kind in matches.KINDS and kind != of.kind:
            continue
        if name == "areas" or (kind == of.kind and part in ("matched", "ignored", "truth")):
            array = array[sizes]
        kept[name] = array.astype(np.float16) if part == "score" else array
    return kept


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """As np.savez_compressed writes them, but of one date: equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            place = zipfile.ZipInfo(f"{name}.npy")
            place.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(place, content.getvalue(), compresslevel=9)
    return buffer.getvalue()
