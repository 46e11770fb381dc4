"""What every data set gives: examples to train on, and ground truth to be scored against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Shaped
from pycocotools.coco import COCO
from torch import Tensor

from mrcnn.structures import Targets

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Example:
    """One image with its objects; crowd regions are left out.

    image       RGB of 0 .. 255, uint8 or float32
    name        file name, or what stands for one
    flip_pairs  keypoints that swap names in a mirror, such as left and right eye
    """

    image: Shaped[Tensor, "3 h w"]
    targets: Targets
    image_id: int
    name: str
    flip_pairs: tuple[tuple[int, int], ...] = ()


@runtime_checkable
class Dataset(Protocol):
    """One split of a data set.

    classes       names; label i is classes[i - 1]
    category_ids  COCO category id of label i at [i - 1]
    left_out      objects no network can be trained on, by reason: counted, never silent
    keypoints     names of the keypoints of its objects; empty where they have none
    half_pixel    what was added to annotated keypoints: 0.5 where they are pixel indices, else 0
    """

    name: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    left_out: Mapping[str, int]
    keypoints: tuple[str, ...]
    half_pixel: float

    def __len__(self) -> int: ...

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image, without reading it."""
        ...

    def example(self, index: int) -> Example:
        """The example at `index`, whole. Raises ValueError naming a file that cannot be read."""
        ...

    def ground_truth(self) -> COCO:
        """All annotations as pycocotools evaluates them, crowd regions included."""
        ...
