"""Shapes as a folder in COCO's format, for other tools and for people to look at."""

from pathlib import Path
from typing import Any

from PIL import Image

from mrcnn.atomic import write_json
from mrcnn.data.annotations import encode_mask
from mrcnn.data.dataset import Example
from mrcnn.data.drawing import KEYPOINTS
from mrcnn.data.shapes import ShapesDataset
from mrcnn.progress import Show


def export(dataset: ShapesDataset, folder: Path, split: str, progress: Show) -> Path:
    """Write images/SPLIT-NNNNNN.png and annotations/instances_SPLIT.json; returns the latter.

    Masks are compressed run lengths, boxes x, y, width, height. Reading the folder back gives the
    same examples.
    Raises ValueError if the annotation file is there already: nothing is overwritten.
    """
    file = folder / "annotations" / f"instances_{split}.json"
    if file.exists():
        raise ValueError(f"{file} is there already; choose another folder, or remove it")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(len(dataset)):
        example = dataset.example(index)
        height, width = example.image.shape[1:]
        name = f"{split}-{index:06d}.png"
        Image.fromarray(example.image.permute(1, 2, 0).numpy()).save(folder / "images" / name)
        images.append({"id": example.image_id, "file_name": name, "height": height, "width": width})
        annotations += _annotations(example, dataset.category_ids, len(annotations) + 1)
        progress(f"export {split}", index + 1, len(dataset))
    categories = [
        {"id": id, "name": name, "keypoints": list(KEYPOINTS)}
        for id, name in zip(dataset.category_ids, dataset.classes, strict=True)
    ]
    info = {"description": dataset.name}
    write_json(
        file,
        {"info": info, "images": images, "annotations": annotations, "categories": categories},
    )
    return file


def _annotations(
    example: Example, category_ids: tuple[int, ...], first_id: int
) -> list[dict[str, Any]]:
    targets, found = example.targets, []
    assert targets.keypoints is not None
    for i in range(len(targets)):
        x1, y1, x2, y2 = targets.boxes[i].tolist()
        points = targets.keypoints[i]
        annotation = {
            "id": first_id + i,
            "image_id": example.image_id,
            "category_id": category_ids[int(targets.labels[i]) - 1],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": int(targets.masks[i].sum()),
            "segmentation": encode_mask(targets.masks[i]),
            "iscrowd": 0,
            "keypoints": points.flatten().tolist(),
            "num_keypoints": int((points[:, 2] > 0).sum()),
        }
        found.append(annotation)
    return found
