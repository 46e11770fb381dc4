"""Changes of an example's size and view. Each is a value, called with an example and a generator.

Images keep their dtype: uint8 or float32. Boxes, masks and keypoints follow the image; an example
without objects needs no special case. A random choice comes from the generator and nowhere else.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as V

from mrcnn.boxes import clip, large_enough
from mrcnn.data.dataset import Example
from mrcnn.structures import Targets


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Shorter side to `short` pixels, unless the longer one would then exceed `long`.

    short      several values: one is drawn for each image (multi-scale training)
    antialias  average the pixels that a reduction merges; False is what the peers' tensors do

    The new sides are rounded down. Bilinear for the image, nearest for masks.
    Source: He et al. 2017, sec. 3.1: 800; 1333 and the rounding are torchvision's.
    """

    short: tuple[int, ...] = (800,)
    long: int = 1333
    antialias: bool = False

    def __post_init__(self) -> None:
        if not self.short or min(*self.short, self.long) < 1:
            raise ValueError(f"Resize needs sizes of at least 1, got {self.short=}, {self.long=}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        choice = 0
        if len(self.short) > 1:
            choice = int(torch.randint(len(self.short), (), generator=generator))
        size = fitted(example.image, self.short[choice], self.long)
        return resized(example, size, self.antialias)


@dataclass(frozen=True, kw_only=True)
class ResizeRange:
    """As `Resize`, the shorter side drawn anew from low .. high for each image.

    Source: He et al. 2017, appendix B: [640, 800].
    """

    low: int = 640
    high: int = 800
    long: int = 1333
    antialias: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high or self.long < 1:
            raise ValueError(f"ResizeRange needs 1 <= low <= high and long >= 1, got {self}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        short = int(torch.randint(self.low, self.high + 1, (), generator=generator))
        return resized(example, fitted(example.image, short, self.long), self.antialias)


@dataclass(frozen=True, kw_only=True)
class SquarePad:
    """Shorter side to `shorter` if that fits, then zeros on all sides up to size x size.

    Source: Matterport's Mask R-CNN, resize mode "square".
    """

    size: int = 1024
    shorter: int = 800

    def __post_init__(self) -> None:
        if not 1 <= self.shorter <= self.size:
            raise ValueError(f"SquarePad needs 1 <= shorter <= size, got {self}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        example = resized(example, fitted(example.image, self.shorter, self.size), False)
        height, width = example.image.shape[1:]
        top, left = (self.size - height) // 2, (self.size - width) // 2
        sides = [left, self.size - width - left, top, self.size - height - top]
        targets = moved(example.targets, left, top)
        return replace(
            example,
            image=F.pad(example.image, sides),
            targets=replace(targets, masks=F.pad(targets.masks, sides)),
        )


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Left and right exchanged, with a given probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Flip needs a probability of 0 to 1, got {self.probability}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        wanted = float(torch.rand((), generator=generator)) < self.probability
        return mirrored(example) if wanted else example


@dataclass(frozen=True)
class Dihedral:
    """One of the eight symmetries of the square, each as likely: for pictures without an up."""

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        mirror, quarters = divmod(int(torch.randint(8, (), generator=generator)), 4)
        example = mirrored(example) if mirror else example
        for _ in range(quarters):
            example = transposed(mirrored(example))
        return example


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """A size x size window at a random place; a smaller image is padded with zeros first.

    An object stays if any of its mask does; its box becomes the smallest around what is left.
    """

    size: int = 128

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"RandomCrop needs a size of at least 1, got {self.size}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        height, width = example.image.shape[1:]
        sides = [0, max(self.size - width, 0), 0, max(self.size - height, 0)]
        room = max(height - self.size, 0), max(width - self.size, 0)
        top, left = (int(torch.randint(r + 1, (), generator=generator)) for r in room)
        image = F.pad(example.image, sides)[:, top : top + self.size, left : left + self.size]
        targets = moved(example.targets, -left, -top)
        masks = F.pad(targets.masks, sides)[:, top : top + self.size, left : left + self.size]
        targets = replace(targets, masks=masks, boxes=clip(targets.boxes, (self.size, self.size)))
        whole = example.targets.masks.sum((1, 2)) == masks.sum((1, 2))
        tight = torch.where(whole[:, None], targets.boxes, boxes_of(masks))
        kept = masks.any(1).any(1) & large_enough(tight)
        return replace(example, image=image, targets=replace(targets, boxes=tight)[kept])


AnyTransform = Resize | ResizeRange | SquarePad | Flip | Dihedral | RandomCrop


def apply(
    transforms: tuple[AnyTransform, ...], example: Example, generator: torch.Generator
) -> Example:
    """The example after every transform in turn."""
    for transform in transforms:
        example = transform(example, generator)
    return example


def fitted(image: Shaped[Tensor, "3 h w"], short: int, long: int) -> tuple[int, int]:
    """(height, width) with the shorter side at `short` or the longer at `long`, rounded down."""
    sides = image.shape[1:]
    scale = min(short / min(sides), long / max(sides))
    height, width = (max(int(side * scale), 1) for side in sides)
    return height, width


def resized(example: Example, size: tuple[int, int], antialias: bool) -> Example:
    """The example at exactly `size` (height, width); each axis has its own ratio."""
    height, width = example.image.shape[1:]
    if size == (height, width):
        return example
    image = V.resize(example.image, list(size), antialias=antialias)
    ratio = torch.tensor([size[1] / width, size[0] / height])
    targets = example.targets
    masks = F.interpolate(targets.masks[:, None].float(), size=size)[:, 0] > 0
    keypoints = targets.keypoints
    if keypoints is not None:
        keypoints = keypoints * torch.tensor([*ratio.tolist(), 1.0])
    boxes = targets.boxes * ratio.repeat(2)
    return replace(
        example,
        image=image,
        targets=replace(targets, boxes=boxes, masks=masks, keypoints=keypoints),
    )


def moved(targets: Targets, x: int, y: int) -> Targets:
    """Boxes and keypoints shifted by whole pixels; masks are left to the caller."""
    keypoints = targets.keypoints
    if keypoints is not None:
        keypoints = keypoints + torch.tensor([x, y, 0.0]) * (keypoints[..., 2:] > 0)
    boxes = targets.boxes + torch.tensor([x, y, x, y])
    return replace(targets, boxes=boxes, keypoints=keypoints)


def mirrored(example: Example) -> Example:
    """Left and right exchanged; paired keypoints swap names."""
    width = example.image.shape[2]
    x1, y1, x2, y2 = example.targets.boxes.unbind(1)
    keypoints = example.targets.keypoints
    if keypoints is not None:
        x, y, seen = keypoints.unbind(2)
        keypoints = torch.stack([torch.where(seen > 0, width - x, x), y, seen], 2)
        order = list(range(keypoints.shape[1]))
        for a, b in example.flip_pairs:
            order[a], order[b] = b, a
        keypoints = keypoints[:, order]
    targets = replace(
        example.targets,
        boxes=torch.stack([width - x2, y1, width - x1, y2], 1),
        masks=example.targets.masks.flip(2),
        keypoints=keypoints,
    )
    return replace(example, image=example.image.flip(2), targets=targets)


def transposed(example: Example) -> Example:
    """Rows and columns exchanged: a mirror along the diagonal."""
    keypoints = example.targets.keypoints
    targets = replace(
        example.targets,
        boxes=example.targets.boxes[:, [1, 0, 3, 2]],
        masks=example.targets.masks.mT.contiguous(),
        keypoints=None if keypoints is None else keypoints[..., [1, 0, 2]],
    )
    return replace(example, image=example.image.mT.contiguous(), targets=targets)


def boxes_of(masks: Shaped[Tensor, "n h w"]) -> Float[Tensor, "n 4"]:
    """Boxes that just hold each mask; zeros for an empty mask."""
    boxes = torch.zeros(len(masks), 4)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        if len(rows):
            ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            box[:] = torch.stack(ends).float()
    return boxes
