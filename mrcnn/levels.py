"""Which level of a feature pyramid a box is read from."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LevelRule:
    """Boxes of the canonical side go to the level of stride 16, twice as large one level coarser.

    level = floor(4 + log2(side / canonical)), side = sqrt(width * height), in float32 as every
    peer. They differ near the thresholds, and one of them everywhere:

    epsilon       1e-6 in Detectron, mmdetection and torchvision, 1e-8 in detectron2 (which float32
                  rounds away but for boxes of no area), 0 in the FPN paper and in Matterport
    epsilon_in    where it is added. "quotient": to side / canonical, inside the logarithm, in all
                  but torchvision; "level": to the level, outside
    counted_from  "canonical": floor(4 + log2(side / canonical)), all but mmdetection; "finest":
                  floor(log2(side / finest)) levels above the finest, whose side is 56 where the
                  canonical is 224. Adding 4 rounds away a quotient just below 1
    rounding      "floor"; "nearest" in Matterport, ties to even: thresholds a factor 2 ** 0.5 lower
    side_growth   added to width and height first: 1 in Detectron, -1 in Matterport, whose
                  normalised boxes span (x2 - 1 - x1) / (width - 1) of the image
    by_image      Matterport's: the side is a share of the image, times the root of its area, so
                  that it grows by a hair, sqrt(h w / ((h - 1) (w - 1)))

    Source: Lin et al. 2017, "Feature Pyramid Networks", eq. 1; Detectron modeling/FPN.py,
    detectron2 modeling/poolers.py, mmdetection SingleRoIExtractor.map_roi_levels, torchvision
    ops/poolers.py LevelMapper, Matterport PyramidROIAlign.
    """

    epsilon: float = 1e-6
    epsilon_in: Literal["quotient", "level"] = "level"
    counted_from: Literal["canonical", "finest"] = "canonical"
    rounding: Literal["floor", "nearest"] = "floor"
    side_growth: float = 0.0
    by_image: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon must be 0 to 1, got {self.epsilon}")

    def __call__(
        self,
        boxes: Float[Tensor, "k 4"],
        strides: list[int],
        canonical_side: float,
        size: tuple[int, int],
    ) -> Int[Tensor, " k"]:
        """Index of each box's level among `strides`; the ends of the pyramid take the rest.

        size   (height, width) of the padded batch, pixels: what Matterport calls the image
        """
        x1, y1, x2, y2 = boxes.unbind(1)
        side = self._grown(x2 - x1).mul(self._grown(y2 - y1)).sqrt()
        if self.by_image:
            height, width = size
            side = side * (height * width / ((height - 1) * (width - 1))) ** 0.5
        finest = strides[0].bit_length() - 1  # log2 of the finest stride
        if self.counted_from == "finest":
            base, quotient = 0, side / (canonical_side * 2.0 ** (finest - 4))
        else:
            base, quotient = 4, side / canonical_side
        if self.epsilon_in == "quotient":
            level = base + torch.log2(quotient + self.epsilon)
        else:
            level = base + torch.log2(quotient) + self.epsilon  # -inf for an empty box
        level = level.floor() if self.rounding == "floor" else level.round()
        return (level - finest * (base == 4)).clamp(0, len(strides) - 1).long()

    def _grown(self, side: Tensor) -> Tensor:
        return (side + self.side_growth).clamp(min=0)
