"""What flows through the detector: images in, a pyramid inside, targets and detections out.

Everywhere: boxes are (n, 4) float x1, y1, x2, y2 in image pixels, continuous; pixel i covers
[i, i + 1); width = x2 - x1. Labels are 1 .. num_classes; 0 is background.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Bundle = TypeVar("Bundle", "Targets", "Detections")
Polygons = tuple[tuple[Float[Tensor, "_v 2"], ...], ...]
"""Per object its polygons, each a row of corners x, y in image pixels."""


@dataclass(frozen=True)
class Images:
    """A batch, normalised and padded right and bottom with zeros to one common size.

    sizes   (height, width) of each image before padding, pixels
    """

    pixels: Float[Tensor, "n 3 h w"]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pyramid:
    """Feature maps, finest first, with their strides in image pixels.

    roi_levels  how many of them, from the finest, RoIs may read (FPN's P6 is for the RPN alone)
    size        (height, width) of the padded batch, pixels
    generators  in training one per image, which RoI layers that draw their points draw from
    """

    maps: tuple[Float[Tensor, "n c _h _w"], ...]
    strides: tuple[int, ...]
    roi_levels: int
    size: tuple[int, int]
    generators: Sequence[torch.Generator] | None = None


@dataclass(frozen=True)
class Targets:
    """Ground truth of one image.

    masks      modal: a pixel belongs to at most the objects that are visible there
    keypoints  (n, p, 3) x, y in image pixels and visibility 0 | 1 | 2; None where not annotated
    polygons   per object its polygons, float64 and on the CPU wherever the rest is; an object
               annotated by something else has none. None where no object has any
    """

    boxes: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    masks: Bool[Tensor, "n h w"]
    keypoints: Float[Tensor, "n p 3"] | None = None
    polygons: Polygons | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Targets":
        return _each(self, lambda tensor: tensor.to(device))

    def __getitem__(self, index: Tensor) -> "Targets":
        chosen = _each(self, lambda tensor: tensor[index])
        if self.polygons is None:
            return chosen
        rows = torch.arange(len(self))[index.cpu()].tolist()
        return replace(chosen, polygons=tuple(self.polygons[row] for row in rows))

    def __getstate__(self) -> dict[str, Any]:
        """Polygons as arrays: as tensors, each would take a file handle between processes."""
        return vars(self) | {"polygons": _nested(self.polygons, Tensor.numpy)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"polygons": _nested(state["polygons"], torch.from_numpy)})


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best first.

    scores               detection probability, softmax over the classes
    mask_probabilities   (n, m, m) of the predicted class, in the frame of its box
    masks                the same pasted into the image and thresholded; None until pasted
    keypoints            x, y in image pixels and a score, of each keypoint of each object
    """

    boxes: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    mask_probabilities: Float[Tensor, "n m m"] | None = None
    masks: Bool[Tensor, "n h w"] | None = None
    keypoints: Float[Tensor, "n p 3"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Detections":
        return _each(self, lambda tensor: tensor.to(device))

    def __getitem__(self, index: Tensor) -> "Detections":
        return _each(self, lambda tensor: tensor[index])


def _each(bundle: Bundle, change: Callable[[Tensor], Tensor]) -> Bundle:
    changed: dict[str, Any] = {k: change(v) for k, v in vars(bundle).items() if torch.is_tensor(v)}
    return replace(bundle, **changed)


def _nested(polygons: Any, change: Callable[..., Any]) -> Any:
    return polygons and tuple(tuple(change(points) for points in one) for one in polygons)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in 0 .. 1, as torchvision's bodies were trained with."""


PixelOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """How a network reads images; the fields are those of `normalised`."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    order: PixelOrder = "rgb"
    top: Literal[1, 255] = 1
    pad_to: int = 32

    def __call__(
        self, pixels: list[Shaped[Tensor, "3 _h _w"]], device: torch.device | str = "cpu"
    ) -> Images:
        """RGB images of 0 .. 255, of any sizes, as the batch that the network reads."""
        return normalised(pixels, device=device, **vars(self))


def normalised(
    pixels: list[Shaped[Tensor, "3 _h _w"]],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    device: torch.device | str = "cpu",
    *,
    order: PixelOrder = "rgb",
    top: Literal[1, 255] = 1,
    pad_to: int = 32,
) -> Images:
    """RGB images of 0 .. 255 and any sizes as the batch that the network reads, channels last.

    order      of the channels that the network reads, and of `mean` and `std`
    top        0 .. top is the range that `mean` and `std` speak of
    pad_to     sides are padded, after this, with zeros to a multiple of it

    `ModelConfig` says who uses which.
    """
    centre, spread = (torch.tensor(x, device=device)[:, None, None] for x in (mean, std))
    images = []
    for one in pixels:
        ordered = one.to(device) if order == "rgb" else one.to(device).flip(0)
        images.append(((ordered / 255 if top == 1 else ordered) - centre) / spread)
    padded = batch(images, pad_to)
    return replace(padded, pixels=padded.pixels.contiguous(memory_format=torch.channels_last))


def batch(images: list[Float[Tensor, "3 _h _w"]], multiple: int = 32) -> Images:
    """Images of any sizes as one batch, padded right and bottom to a multiple of `multiple`."""
    sizes = tuple((image.shape[-2], image.shape[-1]) for image in images)
    height, width = (-(-max(side) // multiple) * multiple for side in zip(*sizes, strict=True))
    pixels = images[0].new_zeros((len(images), 3, height, width))
    for padded, image, (h, w) in zip(pixels, images, sizes, strict=True):
        padded[:, :h, :w] = image
    return Images(pixels, sizes)
