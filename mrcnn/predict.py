"""Detections in image files: pictures to look at, and JSON to work with."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mrcnn.atomic import write_json
from mrcnn.config import Trial
from mrcnn.data.coco import read_image
from mrcnn.evaluate import as_results, detect
from mrcnn.model import MaskRCNN
from mrcnn.progress import Show
from mrcnn.structures import Detections

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Okabe and Ito's palette, which people with any colour vision tell apart."""


def predict_files(
    model: MaskRCNN,
    trial: Trial,
    classes: tuple[str, ...],
    paths: list[Path],
    out: Path,
    min_score: float,
    progress: Show,
) -> int:
    """Write an overlay for each image file and detections.json for all; returns how many images.

    Image ids in the JSON count from 1 in the order of "images" there. Raises ValueError naming a
    file that cannot be read; the overlays and the JSON of those before it are kept.
    """
    files = image_files(paths)
    out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    try:
        for number, file in enumerate(files, start=1):
            image = read_image(file)
            found = detect(model, [image], trial)[0]
            found = found[found.scores >= min_score]
            size = {"height": image.shape[1], "width": image.shape[2]}
            images.append({"id": number, "file_name": file.name, **size})
            results += as_results(found, number, tuple(range(1, len(classes) + 1)))
            overlay(image, found, classes).save(out / f"{number:04d}-{file.stem}.png")
            progress("predict", number, len(files))
    finally:
        found_all = {"images": images, "categories": categories, "annotations": results}
        write_json(out / "detections.json", found_all)
    return len(files)


def image_files(paths: list[Path]) -> list[Path]:
    """The files named and those in folders named, sorted within each folder.

    Raises ValueError for a path that is not there, or if there is no image at all.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            files.append(path)
        else:
            raise ValueError(f"{path}: no such image file or folder")
    if not files:
        raise ValueError(f"{', '.join(map(str, paths))}: no image files there")
    return files


def overlay(
    image: UInt8[Tensor, "3 h w"], found: Detections, classes: tuple[str, ...]
) -> Image.Image:
    """The image with a coloured mask, an outline, a box, keypoints and a label for each detection.

    Small images are enlarged to about 500 pixels, so that labels can be read.
    """
    factor = max(1, round(512 / max(image.shape[1:])))
    canvas = image.permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1).astype(np.float32)
    for i in reversed(range(len(found))):  # the best on top
        if found.masks is not None:
            _blend(canvas, found.masks[i], _rgb(i), factor)
    picture = Image.fromarray(canvas.round().astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    size = max(12, max(picture.size) // 50)
    font = ImageFont.load_default(size)
    for i in reversed(range(len(found))):
        box = [factor * x for x in found.boxes[i].tolist()]
        draw.rectangle(box, outline=COLOURS[i % len(COLOURS)], width=max(1, factor // 2))
        if found.keypoints is not None:
            _dots(draw, factor * found.keypoints[i, :, :2], COLOURS[i % len(COLOURS)], size / 4)
        text = f"{classes[int(found.labels[i]) - 1]} {float(found.scores[i]):.2f}"
        place = (max(box[0], 0), max(box[1] - size - 4, 0))
        draw.rectangle(draw.textbbox(place, text, font=font), fill="black")
        draw.text(place, text, fill=COLOURS[i % len(COLOURS)], font=font)
    return picture


def _dots(draw: ImageDraw.ImageDraw, points: Tensor, colour: str, radius: float) -> None:
    for x, y in points.tolist():
        corners = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(corners, fill=colour, outline="black")


def _rgb(i: int) -> NDArray[np.float32]:
    colour = COLOURS[i % len(COLOURS)]
    return np.array([int(colour[j : j + 2], 16) for j in (1, 3, 5)], np.float32)


def _blend(canvas: Any, mask: Tensor, colour: Any, factor: int) -> None:
    inside = mask.numpy().repeat(factor, 0).repeat(factor, 1)
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    canvas[inside] = 0.6 * canvas[inside] + 0.4 * colour
    canvas[inside & ~core] = colour
