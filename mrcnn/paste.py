"""From a mask in the frame of its box to a bitmap of the image."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import kernels
from mrcnn.boxes import corners


@dataclass(frozen=True, kw_only=True)
class Paste:
    """How the small mask of a detection becomes pixels of the image.

    method      "exact": read at the centre of every image pixel, box not rounded (detectron2,
                mmdetection)
                "grown": a border of zeros around the mask, the box grown by (m + 2) / m, cut to
                whole pixels, its far pixel included, and resized to (torchvision)
                "inclusive": the same of a box whose far side is its last pixel (x2 - 1), and a
                pixel is set above the threshold, not at it (Detectron)
                "whole": the box rounded to whole pixels and the mask resized to just those, its
                outside zero (Matterport)
    threshold   probability at which a pixel is set; 0.5 in the paper and all of them

    The resizing is bilinear with half-pixel centres in all of them, and averages nothing where
    the mask shrinks. On average "exact" and "whole" keep the edges of a full mask where its box
    has them, "grown" puts them half a pixel outside, "inclusive" half a pixel up and to the left.
    Source: He et al. 2017, sec. 3.1 "Inference" (resize to the RoI, binarise at 0.5); detectron2,
    layers/mask_ops.py; torchvision, roi_heads.py; Detectron, core/test.py, segm_results;
    Matterport, utils.py, unmold_mask, and denorm_boxes, which rounds halves to even.
    """

    method: Literal["exact", "grown", "inclusive", "whole"] = "exact"
    threshold: float = 0.5

    def __call__(
        self, masks: Float[Tensor, "n m m"], boxes: Float[Tensor, "n 4"], size: tuple[int, int]
    ) -> Bool[Tensor, "n h w"]:
        threshold = self.threshold
        method: Literal["exact", "grown"] = "grown"
        if self.method == "inclusive":
            boxes = corners(boxes, "inclusive")
            threshold = _above(masks, boxes, threshold)
        if self.method in ("exact", "whole"):
            method = "exact"
            boxes = boxes.round() if self.method == "whole" else boxes
        found = kernels.paste_masks(masks, boxes, size=size, method=method, threshold=threshold)
        return found & _inside(boxes, size) if self.method == "whole" else found


def _above(masks: Tensor, boxes: Tensor, threshold: float) -> float:
    """The least number above the threshold in the precision that masks are pasted in."""
    dtype = torch.promote_types(masks.dtype, boxes.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    ends = torch.tensor([threshold, float("inf")], dtype=dtype)
    return float(torch.nextafter(ends[0], ends[1]))


def _inside(boxes: Float[Tensor, "n 4"], size: tuple[int, int]) -> Bool[Tensor, "n h w"]:
    """The pixels of boxes whose corners are whole numbers."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    rows, columns = (torch.arange(side, device=boxes.device) for side in size)
    across, down = (x1 <= columns) & (columns < x2), (y1 <= rows) & (rows < y2)
    return down[:, :, None] & across[:, None]
