"""What size an image is brought to, and how its pixels get there: every peer has its own rule."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as V

SizeRule = Literal["torchvision", "detectron", "detectron2", "mmdetection"]
"""How the scaled sides become whole numbers, and what interpolates.

All take the scale that brings the shorter side to `short`, or the longer to `long` if that is less.
"torchvision"  rounded down; bilinear in floating point
"detectron"    to the nearest, ties to even (cv2.resize with fx and fy), and `long` counts after
               rounding; bilinear. cv2 moreover steps by the scale where we step by the ratio of
               whole sides: at the far side up to half a pixel apart
"detectron2"   half up; Pillow's bilinear on 8 bits, which averages where it reduces
"mmdetection"  half up; bilinear and rounded to 8 bits (cv2, whose own weights have 11 bits: one
               level apart at most)

Source: torchvision GeneralizedRCNNTransform; Detectron utils/blob.py prep_im_for_blob; detectron2
ResizeShortestEdge.get_output_shape; mmcv rescale_size.
"""


def fitted(
    image: Shaped[Tensor, "3 h w"], short: int, long: int, rule: SizeRule = "torchvision"
) -> tuple[int, int]:
    """(height, width) with the shorter side at `short` or the longer at `long`."""
    sides = image.shape[1:]
    scale = min(short / min(sides), long / max(sides))
    if rule == "detectron":
        scale = short / min(sides)
        scale = long / max(sides) if round(scale * max(sides)) > long else scale
    if rule == "detectron2":
        height, width = (_in_two_steps(side, min(sides), max(sides), short, long) for side in sides)
    else:
        height, width = (whole(side * scale, rule) for side in sides)
    return height, width


def _in_two_steps(side: int, shorter: int, longer: int, short: int, long: int) -> int:
    """detectron2 scales to the shorter side first, then what came out to the longer."""
    scale = short / shorter
    scaled = float(short) if side == shorter else scale * side
    if (most := max(float(short), scale * longer)) > long:
        scaled *= long / most
    return whole(scaled, "detectron2")


def whole(side: float, rule: SizeRule) -> int:
    """A scaled side in pixels, at least 1."""
    if rule == "detectron":
        return max(round(side), 1)
    return max(int(side if rule == "torchvision" else side + 0.5), 1)


def interpolated(
    image: Shaped[Tensor, "3 h w"],
    size: tuple[int, int],
    rule: SizeRule = "torchvision",
    antialias: bool = False,
) -> Shaped[Tensor, "3 _h _w"]:
    """The image at exactly `size` (height, width), in its own dtype.

    antialias   average the pixels that a reduction merges, where the rule leaves that open
    """
    if rule == "detectron2":
        levels = image.round().to(torch.uint8).permute(1, 2, 0).numpy()
        made = Image.fromarray(levels).resize(size[::-1], Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(made)).permute(2, 0, 1).to(image.dtype)
    made = V.resize(image, list(size), antialias=antialias)
    return made.round() if rule == "mmdetection" and made.is_floating_point() else made
