"""What a mask head is asked to draw: the object of a RoI, seen through the RoI."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

import kernels
from kernels.rois import hat
from mrcnn.boxes import clip
from mrcnn.data.transforms import boxes_of
from mrcnn.structures import Targets


@dataclass(frozen=True, kw_only=True)
class MaskTargets:
    """The object's bitmap through RoIAlign: detectron2 with bitmasks, mmdetection, torchvision.

    sampling_ratio, aligned   of the RoIAlign that reads the bitmap: "adaptive" in all three;
                              aligned in detectron2 and mmdetection, not in torchvision
    threshold                 the share of a mask pixel that must be object, 0.5 in detectron2 and
                              mmdetection; None keeps the share itself as a soft target, as
                              torchvision does, and mmdetection with soft_mask_target

    Source: He et al. 2017, sec. 3.1: "the intersection between an RoI and its associated
    ground-truth mask"; detectron2, structures/masks.py, BitMasks; mmdetection,
    structures/mask/structures.py; torchvision, roi_heads.py, project_masks_on_boxes.
    """

    sampling_ratio: int | Literal["adaptive"] = "adaptive"
    aligned: bool = True
    threshold: float | None = 0.5

    def __call__(
        self, target: Targets, index: Int[Tensor, " n"], rois: Float[Tensor, "n 4"], size: int
    ) -> Float[Tensor, "n {size} {size}"]:
        """(n, size, size) targets of n RoIs, RoI i showing object `index[i]`."""
        return kernels.crop_masks(
            target.masks,
            index,
            rois.float(),
            size=size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True)
class PolygonTargets:
    """The object's polygons, moved and scaled so that the RoI is size x size, drawn as COCO does.

    least_side  a RoI is scaled as if its sides were at least this many pixels: 0.1 in detectron2,
                1 in Detectron
    choose      whose polygons: "match" the object that the RoI was matched with (detectron2);
                "overlap" the object whose polygons' own bounding box overlaps the RoI most, by
                IoU: where annotated boxes and polygons disagree it can be another one, while the
                class stays that of the match (Detectron)

    Data without polygons (run lengths, Shapes) cannot be used with this.
    Source: detectron2, structures/masks.py, rasterize_polygons_within_box, its default;
    Detectron, roi_data/mask_rcnn.py and utils/segms.py; the drawing: pycocotools.
    """

    least_side: float = 0.1
    choose: Literal["match", "overlap"] = "match"

    def __post_init__(self) -> None:
        if self.least_side <= 0:
            raise ValueError(f"least_side must be above 0 pixels, got {self.least_side}")

    def __call__(
        self, target: Targets, index: Int[Tensor, " n"], rois: Float[Tensor, "n 4"], size: int
    ) -> Float[Tensor, "n {size} {size}"]:
        """Targets of n RoIs. Raises ValueError naming an object that has no polygons."""
        if not len(rois):
            return rois.new_zeros(0, size, size, dtype=torch.float32)
        if self.choose == "overlap":
            index = kernels.box_iou(polygon_boxes(target).to(rois), rois).argmax(0)
        drawn = [
            self.draw(polygons(target, i), roi, size)
            for i, roi in zip(index.tolist(), rois.double().cpu().numpy(), strict=True)
        ]
        return torch.from_numpy(np.stack(drawn)).to(rois.device, torch.float32)

    def draw(
        self, corners: tuple[Float[Tensor, "_v 2"], ...], roi: NDArray[np.float64], size: int
    ) -> NDArray[np.uint8]:
        """(size, size) of 0 and 1: the union of the polygons in the frame of the RoI."""
        scale = size / np.maximum(roi[2:] - roi[:2], self.least_side)
        rows = [((points.numpy() - roi[:2]) * scale).ravel().tolist() for points in corners]
        drawn: NDArray[np.uint8] = coco_mask.decode(
            coco_mask.merge(coco_mask.frPyObjects(rows, size, size))
        )
        return drawn


@dataclass(frozen=True, kw_only=True)
class MiniMaskTargets:
    """The bitmap cut to its box and shrunk first, then resampled so that corners are samples.

    mini_size   side of the stored small mask, pixels: 56 in Matterport's Mask R-CNN; None reads
                the whole bitmap instead, as it does with USE_MINI_MASK off

    The box is the smallest around the bitmap, whatever box is annotated. Both the small mask and
    the target are rounded, an exact half down. Both resamplings are bilinear without averaging:
    the first has half-pixel centres and zeros outside, the second is TensorFlow's crop_and_resize,
    which reads 0 outside the box: a RoI larger than its object sees no object there.
    Source: Matterport, utils.py, minimize_mask; model.py, detection_targets_graph.
    """

    mini_size: int | None = 56

    def __post_init__(self) -> None:
        if self.mini_size is not None and self.mini_size < 1:
            raise ValueError(f"mini_size must be at least 1 or None, got {self.mini_size}")

    def __call__(
        self, target: Targets, index: Int[Tensor, " n"], rois: Float[Tensor, "n 4"], size: int
    ) -> Float[Tensor, "n {size} {size}"]:
        """(n, size, size) targets of n RoIs, RoI i showing object `index[i]`."""
        height, width = target.masks.shape[1:]
        seen, frames = target.masks.float(), rois.new_tensor([[0, 0, width, height]])
        if self.mini_size is not None:
            frames = boxes_of(target.masks).to(rois)
            seen = mini_masks(target.masks, frames, self.mini_size)
            frames = frames[index]
        first, last = frames[:, :2], frames[:, 2:] - 1
        # a last pixel is a corner here, and an object of one pixel has no extent to divide by
        extent = (last - first).clamp(min=1).repeat(1, 2)
        places = (rois - rois.new_tensor([0, 0, 1, 1]) - first.repeat(1, 2)) / extent
        found = kernels.crop_and_resize(
            seen[:, None], torch.cat([index[:, None].to(rois), places], 1), output_size=size
        )
        return (found[:, 0] > 0.5).float()


AnyMaskTargets = MaskTargets | PolygonTargets | MiniMaskTargets


def polygons(target: Targets, i: int) -> tuple[Float[Tensor, "_v 2"], ...]:
    """The polygons of object `i`. Raises ValueError if it has none."""
    found = target.polygons[i] if target.polygons is not None else ()
    if not found:
        raise ValueError(f"object {i} has no polygons, which mask_targets=PolygonTargets() draws")
    return found


def polygon_boxes(target: Targets) -> Float[Tensor, "g 4"]:
    """The boxes just around each object's polygons, cut to the image.

    Raises ValueError naming an object that has no polygons.
    """
    corners = [torch.cat(polygons(target, i)) for i in range(len(target))]
    boxes = [torch.cat([points.amin(0), points.amax(0)]) for points in corners]
    height, width = target.masks.shape[1:]
    return clip(torch.stack(boxes), (height, width))


def mini_masks(
    masks: Bool[Tensor, "g h w"], boxes: Float[Tensor, "g 4"], size: int
) -> Float[Tensor, "g {size} {size}"]:
    """Each bitmap inside its box of whole pixels, resized and rounded; 0 for an empty bitmap."""
    small = torch.zeros(len(masks), size, size, device=masks.device)
    centres = torch.arange(size, device=masks.device, dtype=torch.float64) + 0.5
    for row, mask, (x1, y1, x2, y2) in zip(small, masks, boxes.int().tolist(), strict=True):
        down, across = (
            hat(centres * side / size - 0.5, side, clamp=False) for side in (y2 - y1, x2 - x1)
        )
        row[:] = down @ mask[y1:y2, x1:x2].double() @ across.T > 0.5
    return small
