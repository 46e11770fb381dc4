"""Test-time augmentation as a value: which views of an image are looked at."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mrcnn.data.dataset import Example
from mrcnn.data.transforms import AnyTransform, Resize, apply
from mrcnn.seeds import generator
from mrcnn.structures import Targets


@dataclass(frozen=True, kw_only=True)
class TestTimeAugmentation:
    """Each image at several sizes and mirrored: boxes of all views compete, masks are averaged.

    short, long   sides as in `Resize`, one view for each `short`: 400, 500, .. 1200 in the paper's
                  Table 8; detectron2's longest side is 4000, Detectron's zoo has 2000
    flip          every view mirrored as well: the paper, Detectron, detectron2
    gather        "detections": what each view detects, after its own NMS and limit, goes through
                  NMS once more (detectron2); "candidates": every scored box of every view goes
                  through the only NMS there is (Detectron's UNION)
    masks         how the views' masks of one box become one: the "mean" of probabilities (the
                  default of Detectron, SOFT_AVG; detectron2), the mean of "logits" (LOGIT_AVG) or
                  the "maximum" (SOFT_MAX), both options of Detectron

    Masks are predicted in every view for the boxes that are left, turned back, then combined.
    Source: He et al. 2017, appendix B, "Test-time augmentation"; Detectron, core/test.py;
    detectron2, modeling/test_time_augmentation.py. Detectron adds the view of its ordinary test.
    """

    __test__ = False  # pytest would take the name for a test's

    short: tuple[int, ...] = (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)
    long: int = 4000
    flip: bool = True
    gather: Literal["detections", "candidates"] = "detections"
    masks: Literal["mean", "logits", "maximum"] = "mean"

    def __post_init__(self) -> None:
        if not self.short or min(*self.short, self.long) < 1:
            raise ValueError(f"views need sizes of at least 1, got {self.short=}, {self.long=}")

    def views(
        self, image: Shaped[Tensor, "3 h w"], transforms: tuple[AnyTransform, ...]
    ) -> list["View"]:
        """The views of an image, each changed as `transforms` would but for the size of `Resize`.

        Where `transforms` resize nothing, a resize goes first.
        """
        if not any(isinstance(one, Resize) for one in transforms):
            transforms = (Resize(), *transforms)
        found = []
        for short in self.short:
            sized = tuple(
                replace(one, short=(short,), long=self.long) if isinstance(one, Resize) else one
                for one in transforms
            )
            plain = view(image, sized)
            found += [plain, plain.mirrored()] if self.flip else [plain]
        return found

    def merged(self, masks: Float[Tensor, "v n m m"]) -> Float[Tensor, "n m m"]:
        """One mask for each object from those of all views."""
        if self.masks == "logits":
            return masks.logit(eps=1e-7).mean(0).sigmoid()
        return masks.mean(0) if self.masks == "mean" else masks.amax(0)


@dataclass(frozen=True)
class View:
    """An image as the network sees it, and where in it the original lies.

    frame   x1, y1, x2, y2 of the whole original in the view's pixels
    size    (height, width) of the original
    flip    whether left and right are exchanged
    """

    image: Shaped[Tensor, "3 h w"]
    frame: tuple[float, float, float, float]
    size: tuple[int, int]
    flip: bool = False

    def mirrored(self) -> "View":
        """The same view with left and right exchanged, padding included."""
        x1, y1, x2, y2 = self.frame
        width = self.image.shape[2]
        frame = (width - x2, y1, width - x1, y2)
        return replace(self, image=self.image.flip(2), frame=frame, flip=not self.flip)

    def entered(self, boxes: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        """Boxes of the original in the pixels of the view."""
        start, scale = self._place(boxes)
        return self._turned(boxes) * scale + start

    def left(self, boxes: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        """Boxes of the view in the pixels of the original."""
        start, scale = self._place(boxes)
        return self._turned((boxes - start) / scale)

    def _place(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        x1, y1, x2, y2 = self.frame
        height, width = self.size
        scale = [(x2 - x1) / width, (y2 - y1) / height] * 2
        return boxes.new_tensor([x1, y1, x1, y1]), boxes.new_tensor(scale)

    def _turned(self, boxes: Tensor) -> Tensor:
        """Mirrored in the original's own width, if this view is."""
        if not self.flip:
            return boxes
        x1, y1, x2, y2 = boxes.unbind(1)
        return torch.stack([self.size[1] - x2, y1, self.size[1] - x1, y2], 1)


def view(image: Shaped[Tensor, "3 h w"], transforms: tuple[AnyTransform, ...]) -> View:
    """An image after transforms that do not draw or flip, as an evaluation's are."""
    height, width = image.shape[1:]
    whole = Targets(
        torch.tensor([[0.0, 0.0, width, height]]),
        torch.ones(1, dtype=torch.long),
        torch.ones(1, height, width, dtype=torch.bool),
    )
    seen = apply(transforms, Example(image, whole, 0, ""), generator(0))
    x1, y1, x2, y2 = seen.targets.boxes[0].tolist()
    return View(seen.image, (x1, y1, x2, y2), (height, width))
