"""What in a COCO-format folder would break training, or silently weaken it."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.progress import track

from mrcnn.data.coco import CocoFolder, decode_mask, read_image
from mrcnn.data.dataset import Split
from mrcnn.data.keypoints import problems

Entries = list[dict[str, Any]]


def check(spec: CocoFolder, split: Split) -> list[str]:
    """One line for each problem of a split, in the order of the file; empty if there is none.

    Reads the raw annotation file, so that one broken entry does not hide the next.
    Raises ValueError if there is no annotation file to check.
    """
    file = spec.annotation_file(split)
    try:
        data = json.loads(file.read_text())
    except ValueError as error:
        return [f"{split}: {file.name} is not JSON: {error}"]
    if not isinstance(data, dict):
        return [f"{split}: {file.name} is a {type(data).__name__}, not an object with lists"]
    found = list(_missing_lists(data))
    images, annotations, categories = (
        [e for e in data.get(key) or [] if isinstance(e, dict)]
        for key in ("images", "annotations", "categories")
    )
    for kind, entries in (("image", images), ("annotation", annotations), ("category", categories)):
        found += _duplicates(kind, entries)
    sizes = {e.get("id"): (e.get("height"), e.get("width")) for e in images}
    known = {e.get("id"): len(e.get("keypoints") or []) for e in categories}
    for entry in annotations:
        found += [f"annotation {entry.get('id')}: {p}" for p in _annotation(entry, sizes, known)]
    for entry in track(images, f"reading {split}", transient=True):
        found += [f"image {entry.get('id')}: {p}" for p in _image(spec, split, entry)]
    return [f"{split}: {problem}" for problem in found]


def _missing_lists(data: dict[str, Any]) -> Iterator[str]:
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            yield f"no list {key!r}"


def _duplicates(kind: str, entries: Entries) -> Iterator[str]:
    for name, count in Counter(e.get("id") for e in entries).items():
        if count > 1:
            yield f"{kind} id {name} is there {count} times"


def _annotation(
    entry: dict[str, Any], sizes: dict[Any, Any], known: dict[Any, int]
) -> Iterator[str]:
    """The problems of one annotation; `known` has the number of keypoints of each category."""
    if entry.get("category_id") not in known:
        yield f"category {entry.get('category_id')} is not there"
    elif known[entry["category_id"]] and "keypoints" in entry:
        yield from problems(entry["keypoints"], known[entry["category_id"]])
    if entry.get("image_id") not in sizes:
        yield f"image {entry.get('image_id')} is not there"
        return
    height, width = sizes[entry["image_id"]]
    if not isinstance(height, int) or not isinstance(width, int):
        return  # said of the image
    yield from _box(entry.get("bbox"), height, width)
    segmentation = entry.get("segmentation")
    if not segmentation:
        yield "no segmentation"
        return
    try:
        if not decode_mask(segmentation, height, width).any():
            yield "its mask has no pixel"
    except ValueError as error:
        yield str(error)


def _box(box: Any, height: int, width: int) -> Iterator[str]:
    if not isinstance(box, list) or len(box) != 4:
        yield f"its box is {box}, not [x, y, width, height]"
        return
    if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in box):
        yield f"its box {box} is not finite"
        return
    x, y, w, h = box
    if min(w, h) <= 0:
        yield f"its box {box} has no area"
    elif x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        yield f"its box {box} reaches outside the image of {width} x {height}"


def _image(spec: CocoFolder, split: Split, entry: dict[str, Any]) -> Iterator[str]:
    missing = [key for key in ("file_name", "height", "width") if key not in entry]
    if missing:
        yield f"no {missing[0]!r}"
        return
    try:
        image = read_image(spec.image_folder(split) / entry["file_name"])
    except ValueError as error:
        yield str(error)
        return
    if tuple(image.shape[1:]) != (entry["height"], entry["width"]):
        yield (
            f"{entry['file_name']} is {image.shape[2]} x {image.shape[1]} pixels, "
            f"not {entry['width']} x {entry['height']}"
        )
