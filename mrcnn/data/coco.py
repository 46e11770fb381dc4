"""Any folder in COCO's format: the full COCO, or a small set of one's own."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torch import Tensor

from mrcnn.data.annotations import loaded, polygons_of
from mrcnn.data.dataset import Dataset, Example, Split
from mrcnn.data.keypoints import annotated, complete, flip_pairs, names_of
from mrcnn.spec import NOT_IDENTITY
from mrcnn.structures import Targets


@dataclass(frozen=True, kw_only=True)
class CocoFolder:
    """A folder with annotation files and images.

    root        the folder; where it lies does not matter to a trial's identity, what it holds does
    train, val  annotation files below it; an official name such as instances_train2017.json is
                found as well
    images      the folder of image files below root; None looks in images/train2017/, images/,
                train/, train2017/ (val likewise) and root itself
    keypoints_are     "points" of the plane, as boxes are (Detectron, torchvision), or "pixels" by
                      index, whose middle is half a pixel on (detectron2): what is predicted is
                      then written with that half taken off again
    least_keypoints   a training image with fewer annotated keypoints is left out: 0 keeps all;
                      Detectron and detectron2 have 1, torchvision's reference training 10
    """

    root: str = field(metadata=NOT_IDENTITY)
    train: str = "annotations/instances_train.json"
    val: str = "annotations/instances_val.json"
    images: str | None = None
    keypoints_are: Literal["points", "pixels"] = "points"
    least_keypoints: int = 0

    def __post_init__(self) -> None:
        if self.least_keypoints < 0:
            raise ValueError(f"least_keypoints must be 0 or more, got {self.least_keypoints}")

    def open(self, split: Split, cache: Path) -> Dataset:
        """The split. Raises ValueError in one line for a folder or file that is not as expected."""
        return CocoDataset(self, split)

    def annotation_file(self, split: Split) -> Path:
        """The annotation file of a split. Raises ValueError naming what was looked for."""
        root = Path(self.root)
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder; a data folder in COCO's format is needed")
        given = root / (self.train if split == "train" else self.val)
        official = given.with_name(f"{given.stem}2017{given.suffix}")
        for path in (given, official):
            if path.is_file():
                return path
        raise ValueError(f"{given}: no such annotation file (nor {official.name})")

    def image_folder(self, split: Split) -> Path:
        """Where the image files of a split lie."""
        root = Path(self.root)
        if self.images is not None:
            return root / self.images
        names = (f"images/{split}2017", "images", split, f"{split}2017", ".")
        return next(root / name for name in names if (root / name).is_dir())

    def hash(self, cache: Path) -> str:
        """Twelve hex digits of the annotations' bytes and the images' names and sizes in bytes."""
        digest = hashlib.sha256()
        for split in ("train", "val"):
            digest.update(self.annotation_file(split).read_bytes())  # type: ignore[arg-type]
            folder = self.image_folder(split)  # type: ignore[arg-type]
            for path in sorted(p for p in folder.iterdir() if p.is_file()):
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        return digest.hexdigest()[:12]


class CocoDataset:
    """One split of a COCO-format folder. Categories become labels 1 .. K by ascending id."""

    def __init__(self, spec: CocoFolder, split: Split) -> None:
        file = spec.annotation_file(split)
        self.folder, data = spec.image_folder(split), read_annotations(file)
        self.name = f"{Path(spec.root).resolve().name}/{split}"
        self._truth = loaded(data)
        categories = sorted(data["categories"], key=lambda c: c["id"])
        self.classes = tuple(str(c["name"]) for c in categories)
        self.category_ids = tuple(int(c["id"]) for c in categories)
        self._label = {c: i for i, c in enumerate(self.category_ids, start=1)}
        self.keypoints = names_of(categories)
        self.flip_pairs = flip_pairs(self.keypoints)
        self.half_pixel = 0.5 if spec.keypoints_are == "pixels" else 0.0
        self.left_out: Mapping[str, int] = Counter(
            reason for a in data["annotations"] if (reason := why_left_out(a))
        )
        self._images = data["images"]
        if split == "train" and spec.least_keypoints:
            self._leave_out_images(spec.least_keypoints)

    def _leave_out_images(self, least: int) -> None:
        seen = Counter[int]()
        for a in self._truth.dataset["annotations"]:
            seen[a["image_id"]] += sum(v > 0 for v in a.get("keypoints", [])[2::3])
        kept = [image for image in self._images if seen[image["id"]] >= least]
        dropped = {f"image with fewer than {least} keypoints": len(self._images) - len(kept)}
        self._images, self.left_out = kept, {**self.left_out, **dropped}

    def __len__(self) -> int:
        return len(self._images)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of image `index`, as annotated."""
        return int(self._images[index]["height"]), int(self._images[index]["width"])

    def example(self, index: int) -> Example:
        """Image `index`, its boxes as annotated. Raises ValueError naming a file it cannot read."""
        entry = self._images[index]
        image = read_image(self.folder / entry["file_name"])
        size = (image.shape[1], image.shape[2])
        if size != (entry["height"], entry["width"]):
            raise ValueError(
                f"{entry['file_name']}: the file is {size[1]} x {size[0]} pixels, "
                f"the annotations say {entry['width']} x {entry['height']}"
            )
        annotations = self._truth.imgToAnns[entry["id"]]
        kept = [a for a in annotations if why_left_out(a) is None]
        masks = [decode_mask(a["segmentation"], *size) for a in kept]
        drawn = [i for i, mask in enumerate(masks) if mask.any()]
        targets = self._targets([kept[i] for i in drawn], [masks[i] for i in drawn], size)
        return Example(image, targets, int(entry["id"]), entry["file_name"], self.flip_pairs)

    def _targets(
        self, annotations: list[dict[str, Any]], masks: list[Tensor], size: tuple[int, int]
    ) -> Targets:
        corners = [(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in annotations)]
        labels = [self._label[a["category_id"]] for a in annotations]
        keypoints = annotated(annotations, len(self.keypoints), self.half_pixel)
        polygons = tuple(polygons_of(a["segmentation"]) for a in annotations)
        return Targets(
            torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(labels, dtype=torch.long),
            torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool),
            keypoints,
            polygons if any(polygons) else None,
        )

    def ground_truth(self) -> COCO:
        """The annotations as they are, crowd regions included."""
        return self._truth


def read_annotations(file: Path) -> dict[str, Any]:
    """An annotation file. Raises ValueError naming the file and what is wrong or missing."""
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not readable as JSON ({error})") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise ValueError(f"{file}: not in COCO's format: no list {key!r}")
    needed = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("id", "image_id", "category_id", "bbox", "segmentation"),
        "categories": ("id", "name"),
    }
    for key, names in needed.items():
        for entry in data[key]:
            missing = [name for name in names if name not in entry]
            if missing:
                raise ValueError(f"{file}: {key} entry {entry.get('id')} has no {missing[0]!r}")
    for key in ("image_id", "category_id"):
        known = {e["id"] for e in data["images" if key == "image_id" else "categories"]}
        for entry in data["annotations"]:
            if entry[key] not in known:
                raise ValueError(
                    f"{file}: annotation {entry['id']} has {key} {entry[key]}, which is not there"
                )
    for entry in data["annotations"]:
        entry.setdefault("iscrowd", 0)
        entry.setdefault("area", float(entry["bbox"][2] * entry["bbox"][3]))
    complete(data, file)
    return data


def why_left_out(annotation: Mapping[str, Any]) -> str | None:
    """Why a network is not trained on an annotation; None if it is."""
    if annotation.get("iscrowd"):
        return "crowd region"
    if not np.isfinite(annotation["bbox"]).all():
        return "box that is not finite"
    if min(annotation["bbox"][2:]) <= 0:
        return "box without area"
    if not annotation["segmentation"]:
        return "no mask"
    return None


def decode_mask(segmentation: Any, height: int, width: int) -> Bool[Tensor, "{height} {width}"]:
    """A mask from polygons, or from run lengths compressed or not. Raises ValueError otherwise."""
    try:
        if isinstance(segmentation, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            rle = coco_mask.frPyObjects(segmentation, height, width)
        else:
            rle = segmentation
        decoded = coco_mask.decode(rle)
    except Exception as error:
        raise ValueError(f"a segmentation that pycocotools cannot read ({error})") from None
    if decoded.shape != (height, width):
        raise ValueError(f"a mask of {decoded.shape} in an image of {(height, width)}")
    return torch.from_numpy(decoded.view(bool))


def read_image(path: Path) -> UInt8[Tensor, "3 h w"]:
    """An image file as RGB. Grey-scale is repeated, 16 bits keep their upper 8, alpha is dropped.

    A rotation noted in EXIF is not applied: COCO's annotations are in stored pixels.
    Raises ValueError naming a file that is missing or cannot be read.
    """
    try:
        with Image.open(path) as file:
            file.load()
            deep = file.mode.startswith("I")
            image = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8)) if deep else file
            pixels = np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such image file") from None
    except Exception as error:
        raise ValueError(f"{path}: not readable as an image ({error})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
