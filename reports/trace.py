"""A trace that `python -m mrcnn trace` wrote: every stage of one image's way through a detector."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

FORMAT = "mrcnn-trace 1"
Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Trace:
    """What is in a trace folder. Boxes are x1, y1, x2, y2 in pixels of the image.

    name    of the folder, by which two traces are told apart
    image   the picture (h, w, 3), which may be smaller than about["size"], its true size
    """

    name: str
    about: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    image: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.about["size"][0], self.about["size"][1]

    @property
    def detections(self) -> list[dict[str, Any]]:
        return self.about["detections"]  # type: ignore[no-any-return]

    @property
    def truth(self) -> list[dict[str, Any]]:
        """The annotated objects; empty where none were given."""
        return self.about["truth"] or []

    @property
    def focus(self) -> Mapping[str, Any] | None:
        """The RoI that is followed to its end; None if there were no proposals."""
        return self.about["focus"]  # type: ignore[no-any-return]

    def label(self, number: int) -> str:
        """The name of a class."""
        return str(self.about["classes"][number - 1])

    def truth_label(self, number: int) -> str:
        """The name of an object's class, in the words of its data."""
        return str(self.about["source"].get("truth_classes", self.about["classes"])[number - 1])


def load_trace(folder: Path) -> Trace:
    """Read a trace folder. Raises ValueError naming what is missing or not a trace."""
    file = folder / "trace.json"
    try:
        about = json.loads(file.read_text())
        if about.get("format") != FORMAT:
            raise ValueError(f"format {about.get('format')!r}, not {FORMAT!r}")
        with np.load(folder / "arrays.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        image = np.asarray(Image.open(folder / "image.png").convert("RGB"))
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else "a file"
        raise ValueError(
            f"{folder}: no trace there ({missing} is missing); make one with python -m mrcnn trace"
        ) from None
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder}: not readable as a trace ({error})") from None
    return Trace(folder.resolve().name, about, arrays, image)


def decoded(rle: Any) -> NDArray[np.bool_]:
    """A mask of the image, (h, w)."""
    return coco_mask.decode(rle).astype(bool)  # type: ignore[no-any-return]
