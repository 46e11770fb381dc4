"""The workloads: what Mask R-CNN asks of its operators, at the sizes it really asks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import kernels

Run = Callable[[str], Tensor]


@dataclass(frozen=True, kw_only=True)
class RoICase:
    """RoIs over `images` maps of channels x height x width; sides of RoIs in feature pixels."""

    operator: str = "roi_align"
    images: int = 1
    rois: int
    channels: int
    height: int
    width: int
    output_size: int
    stride: int
    backward: bool = False

    def inputs(self, seed: int) -> tuple[Tensor, Tensor]:
        """Fresh features and RoIs that depend on the seed alone."""
        g = torch.Generator().manual_seed(seed)
        features = torch.rand(self.images, self.channels, self.height, self.width, generator=g)
        extent = torch.tensor([self.width, self.height]) * float(self.stride)
        corner = torch.rand(self.rois, 2, generator=g) * extent * 0.75
        side = torch.rand(self.rois, 2, generator=g) * extent / 4
        image = torch.randint(self.images, (self.rois, 1), generator=g).float()
        return features, torch.cat([image, corner, corner + side], 1)

    def run(self, seed: int) -> Run:
        """The operator on fresh inputs, as a function of the backend; gradients where asked."""
        features, rois = self.inputs(seed)
        operator = getattr(kernels, self.operator)

        def call(backend: str) -> Tensor:
            read = features.requires_grad_(self.backward)
            out: Tensor = operator(
                read,
                rois,
                output_size=self.output_size,
                spatial_scale=1 / self.stride,
                backend=backend,
            )
            if not self.backward:
                return out
            (gradient,) = torch.autograd.grad(out, read, torch.ones_like(out))
            return gradient

        return call


@dataclass(frozen=True, kw_only=True)
class NMSCase:
    """Non-maximum suppression of so many boxes."""

    operator: str = "nms"
    boxes: int

    def run(self, seed: int) -> Run:
        """NMS of fresh boxes, as a function of the backend."""
        g = torch.Generator().manual_seed(seed)
        corner = torch.rand(self.boxes, 2, generator=g) * 700
        boxes = torch.cat([corner, corner + 8 + torch.rand(self.boxes, 2, generator=g) * 200], 1)
        scores = torch.rand(self.boxes, generator=g)
        return lambda backend: kernels.nms(boxes, scores, iou_threshold=0.7, backend=backend)


@dataclass(frozen=True, kw_only=True)
class PasteCase:
    """So many 28 x 28 masks pasted into an image of height x width."""

    operator: str = "paste_masks"
    masks: int
    height: int
    width: int

    def run(self, seed: int) -> Run:
        """Pasting fresh masks, as a function of the backend."""
        g = torch.Generator().manual_seed(seed)
        masks = torch.rand(self.masks, 28, 28, generator=g)
        corner = (
            torch.rand(self.masks, 2, generator=g) * torch.tensor([self.width, self.height]) / 2
        )
        boxes = torch.cat([corner, corner + 20 + torch.rand(self.masks, 2, generator=g) * 200], 1)

        def call(backend: str) -> Tensor:
            size = (self.height, self.width)
            return kernels.paste_masks(
                masks, boxes, size=size, method="grown", threshold=None, backend=backend
            )

        return call


CASES: dict[str, RoICase | NMSCase | PasteCase] = {
    "small C4 head": RoICase(
        images=8, rois=128, channels=96, height=16, width=16, output_size=7, stride=8
    ),
    "small C4 head, training": RoICase(
        images=8, rois=128, channels=96, height=16, width=16, output_size=7, stride=8, backward=True
    ),
    "C4 head of 800 x 1216": RoICase(
        rois=64, channels=256, height=50, width=76, output_size=7, stride=16
    ),
    "RoIPool, small C4 head": RoICase(
        operator="roi_pool",
        images=8,
        rois=128,
        channels=96,
        height=16,
        width=16,
        output_size=7,
        stride=8,
    ),
    "NMS of 1000 boxes": NMSCase(boxes=1000),
    "paste 20 masks, 480 x 640": PasteCase(masks=20, height=480, width=640),
}
