"""Changes of an example's size and view. Each is a value, called with an example and a generator.

Images keep their dtype: uint8 or float32. Boxes, masks and keypoints follow the image; an example
without objects needs no special case. A random choice comes from the generator and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from mrcnn.boxes import clip, large_enough
from mrcnn.data.dataset import Example
from mrcnn.data.sizes import SizeRule, fitted, interpolated, whole
from mrcnn.structures import Polygons, Targets


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Shorter side to `short` pixels, unless the longer one would then exceed `long`.

    short      several values: one is drawn for each image (multi-scale training). detectron2
               draws from 640, 672, .. 800; Detectron, mmdetection and torchvision v1 have 800
    rule       whose sides and whose pixels: see `SizeRule`
    antialias  average the pixels that a reduction merges; False is what the peers' tensors do

    Nearest neighbour for masks.
    Source: He et al. 2017, sec. 3.1: 800; 1333 is Detectron's and everybody's since.
    """

    short: tuple[int, ...] = (800,)
    long: int = 1333
    antialias: bool = False
    rule: SizeRule = "torchvision"

    def __post_init__(self) -> None:
        if not self.short or min(*self.short, self.long) < 1:
            raise ValueError(f"Resize needs sizes of at least 1, got {self.short=}, {self.long=}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        choice = 0
        if len(self.short) > 1:
            choice = int(torch.randint(len(self.short), (), generator=generator))
        size = fitted(example.image, self.short[choice], self.long, self.rule)
        return resized(example, size, self.antialias, self.rule)


@dataclass(frozen=True, kw_only=True)
class ResizeRange:
    """As `Resize`, the shorter side drawn anew from low .. high for each image.

    Source: He et al. 2017, appendix B: [640, 800].
    """

    low: int = 640
    high: int = 800
    long: int = 1333
    antialias: bool = False
    rule: SizeRule = "torchvision"

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high or self.long < 1:
            raise ValueError(f"ResizeRange needs 1 <= low <= high and long >= 1, got {self}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        short = int(torch.randint(self.low, self.high + 1, (), generator=generator))
        size = fitted(example.image, short, self.long, self.rule)
        return resized(example, size, self.antialias, self.rule)


@dataclass(frozen=True, kw_only=True)
class SquarePad:
    """Shorter side enlarged to `shorter` if that fits, then zeros on all sides up to size x size.

    Nothing is made smaller but what does not fit. Sides are rounded to the nearest, ties to even;
    pixels are cut to whole levels. (Around an enlarged image scikit-image fades out half a pixel of
    black, which is left out here.)
    Source: Matterport's Mask R-CNN, utils.resize_image, mode "square".
    """

    size: int = 1024
    shorter: int = 800

    def __post_init__(self) -> None:
        if not 1 <= self.shorter <= self.size:
            raise ValueError(f"SquarePad needs 1 <= shorter <= size, got {self}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        dtype, sides = example.image.dtype, example.image.shape[1:]
        scale = max(1.0, self.shorter / min(sides))
        if round(max(sides) * scale) > self.size:
            scale = self.size / max(sides)
        height, width = (whole(side * scale, "detectron") for side in sides)
        example = resized(replace(example, image=example.image.float()), (height, width), False)
        levels = (example.image + 1e-3).floor()  # rounding of the mean costs no level
        example = replace(example, image=levels.to(dtype))
        top, left = (self.size - height) // 2, (self.size - width) // 2
        around = [left, self.size - width - left, top, self.size - height - top]
        targets = moved(example.targets, left, top)
        return replace(
            example,
            image=F.pad(example.image, around),
            targets=replace(targets, masks=F.pad(targets.masks, around)),
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
        targets = replace(example.targets, masks=example.targets.masks.contiguous())
        return replace(example, image=example.image.contiguous(), targets=targets)


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
        room = max(height - self.size, 0), max(width - self.size, 0)
        top, left = (int(torch.randint(r + 1, (), generator=generator)) for r in room)
        return window(example, top, left, self.size)


@dataclass(frozen=True, kw_only=True)
class LargeScaleJitter:
    """The image that just fits size x size, times a random scale, then a crop or pad to that size.

    low, high   of the scale: 0.1 and 2
    rule        "torchvision": sides and place rounded down, averaged where reduced; "detectron2":
                to the nearest, Pillow
    fill        red, green and blue of the padding, of 0 .. 255: torchvision's mean colour; 128 in
                detectron2
    tight       whether the box of an object that was cut becomes the smallest around what is left
                (detectron2) or its box as far as it is inside (torchvision)

    One number decides where both the row and the column of the crop are, as in both peers.
    Source: Ghiasi et al. 2021, "Simple Copy-Paste", sec. 3.1; torchvision's reference recipe "lsj",
    detectron2's new baselines (ResizeScale, FixedSizeCrop).
    """

    size: int = 1024
    low: float = 0.1
    high: float = 2.0
    rule: Literal["torchvision", "detectron2"] = "torchvision"
    fill: tuple[float, float, float] = (123.0, 117.0, 104.0)
    tight: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.low <= self.high:
            raise ValueError(f"LargeScaleJitter needs size >= 1 and 0 < low <= high, got {self}")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        share, place = torch.rand(2, generator=generator).tolist()
        sides = example.image.shape[1:]
        ratio = self.size / max(sides) * (self.low + (self.high - self.low) * share)
        near: SizeRule = "torchvision" if self.rule == "torchvision" else "detectron"
        height, width = (whole(side * ratio, near) for side in sides)
        example = resized(example, (height, width), True, self.rule)
        room = max(height - self.size, 0), max(width - self.size, 0)
        top, left = (int(r * place) if near == "torchvision" else round(r * place) for r in room)
        return window(example, top, left, self.size, self.fill, self.tight)


AnyTransform = Resize | ResizeRange | SquarePad | Flip | Dihedral | RandomCrop | LargeScaleJitter


def apply(
    transforms: tuple[AnyTransform, ...], example: Example, generator: torch.Generator
) -> Example:
    """The example after every transform in turn."""
    for transform in transforms:
        example = transform(example, generator)
    return example


def resized(
    example: Example, size: tuple[int, int], antialias: bool, rule: SizeRule = "torchvision"
) -> Example:
    """The example at exactly `size` (height, width); each axis has its own ratio."""
    height, width = example.image.shape[1:]
    if size == (height, width):
        return example
    image = interpolated(example.image, size, rule, antialias)
    ratio = torch.tensor([size[1] / width, size[0] / height])
    targets = example.targets
    masks = F.interpolate(targets.masks[:, None].float(), size=size)[:, 0] > 0
    keypoints = targets.keypoints
    if keypoints is not None:
        keypoints = keypoints * torch.tensor([*ratio.tolist(), 1.0])
    boxes = targets.boxes * ratio.repeat(2)
    outlines = reshaped(targets, lambda corners: corners * ratio)
    return replace(
        example,
        image=image,
        targets=replace(targets, boxes=boxes, masks=masks, keypoints=keypoints, polygons=outlines),
    )


def window(
    example: Example,
    top: int,
    left: int,
    size: int,
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0),
    tight: bool = True,
) -> Example:
    """What a size x size window sees; beyond the image's right and lower end it sees `fill`.

    An object stays if any of its mask does, and keeps its box if all of it does; else its box is
    cut, or with `tight` the smallest around what is left.
    """
    rows, columns = slice(top, top + size), slice(left, left + size)
    seen = example.image[:, rows, columns]
    image = torch.tensor(fill).to(seen.dtype)[:, None, None].repeat(1, size, size)
    image[:, : seen.shape[1], : seen.shape[2]] = seen
    masks = F.pad(
        example.targets.masks[:, rows, columns],
        [0, size - seen.shape[2], 0, size - seen.shape[1]],
    )
    shifted = moved(example.targets, -left, -top)
    boxes, remains = clip(shifted.boxes, (size, size)), boxes_of(masks)
    if tight:
        whole = boxes_of(example.targets.masks) - torch.tensor([left, top, left, top])
        uncut = ((whole >= 0) & (whole <= size)).all(1)
        boxes = torch.where(uncut[:, None], boxes, remains)
    kept = (remains[:, 2] > 0) & large_enough(boxes)
    targets = replace(shifted, masks=masks, boxes=boxes)[kept]
    return replace(example, image=image, targets=targets)


def reshaped(targets: Targets, change: Callable[[Tensor], Tensor]) -> Polygons | None:
    """The polygons after a change of each one's corners."""
    if targets.polygons is None:
        return None
    return tuple(tuple(change(corners) for corners in one) for one in targets.polygons)


def moved(targets: Targets, x: int, y: int) -> Targets:
    """Boxes, keypoints and polygons shifted by whole pixels; masks are left to the caller."""
    keypoints = targets.keypoints
    if keypoints is not None:
        keypoints = keypoints + torch.tensor([x, y, 0.0]) * (keypoints[..., 2:] > 0)
    boxes = targets.boxes + torch.tensor([x, y, x, y])
    outlines = reshaped(targets, lambda corners: corners + torch.tensor([x, y]))
    return replace(targets, boxes=boxes, keypoints=keypoints, polygons=outlines)


def mirrored(example: Example) -> Example:
    """Left and right exchanged; paired keypoints swap names."""
    width = example.image.shape[2]
    mirror = torch.tensor([width, 0])
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
        polygons=reshaped(
            example.targets, lambda corners: corners * torch.tensor([-1, 1]) + mirror
        ),
    )
    return replace(example, image=example.image.flip(2), targets=targets)


def transposed(example: Example) -> Example:
    """Rows and columns exchanged: a mirror along the diagonal. Pixels are not moved in memory."""
    keypoints = example.targets.keypoints
    targets = replace(
        example.targets,
        boxes=example.targets.boxes[:, [1, 0, 3, 2]],
        masks=example.targets.masks.mT,
        keypoints=None if keypoints is None else keypoints[..., [1, 0, 2]],
        polygons=reshaped(example.targets, lambda corners: corners.flip(1)),
    )
    return replace(example, image=example.image.mT, targets=targets)


def boxes_of(masks: Shaped[Tensor, "n h w"]) -> Float[Tensor, "n 4"]:
    """Boxes that just hold each mask; zeros for an empty mask."""
    seen = masks.bool().view(torch.uint8)  # whose maximum is ten times as fast as any()
    columns, rows = seen.amax(1), seen.amax(2)
    first = [side.argmax(1) for side in (columns, rows)]
    last = [side.shape[1] - side.flip(1).argmax(1) for side in (columns, rows)]
    return torch.stack([*first, *last], 1).float() * rows.amax(1)[:, None]
