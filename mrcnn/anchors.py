"""The boxes that the RPN starts from."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mrcnn.structures import Pyramid


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """At every cell of every level, one box per size and aspect ratio.

    sizes     per pyramid level, finest first: square roots of the anchors' areas, image pixels
    ratios    height / width
    rounded   False: exact (detectron2, mmdetection, Matterport, the papers)
              True: the cell anchors' corners rounded to whole pixels (torchvision)
              "sides": a window of one stride gets, for each ratio, a whole width and then a whole
              height, and is then enlarged to the sizes (Faster R-CNN's code and Detectron's; its
              issue #227): 184 x 96 instead of 181.02 x 90.51 for 128 at ratio 1/2, stride 16
    offset    where in its cell an anchor is centred, in strides: 0 is the cell's corner
              (detectron2, mmdetection, torchvision, Matterport), 0.5 its centre (Detectron, whose
              window of pixels 0 .. stride - 1 is 0 to stride in continuous coordinates)
    spacing   "stride": cells lie a stride apart; "size": padded image size // map size apart, which
              is torchvision's and differs where a map's side was rounded up (P6 of 224 px: 56)

    Order inside a cell: ratio by ratio, sizes within (Detectron, mmdetection, torchvision; in
    detectron2 sizes are outside, so whoever loads its weights permutes their channels). Matterport
    lists width / height, so its 0.5, 1, 2 are 2, 1, 0.5 here.
    Raises ValueError for an empty table or a size or ratio that is not positive.
    Source: Ren et al. 2015, "Faster R-CNN", sec. 3.1.1; one size per level: Lin et al. 2017, "FPN";
    "sides": Detectron, modeling/generate_anchors.py.
    """

    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounded: bool | Literal["sides"] = False
    offset: float = 0.0
    spacing: Literal["stride", "size"] = "stride"

    def __post_init__(self) -> None:
        numbers = [*self.ratios, *(size for level in self.sizes for size in level)]
        if not all(self.sizes) or not self.sizes or not self.ratios or min(numbers) <= 0:
            raise ValueError(
                f"anchors need positive sizes and ratios, got {self.sizes=}, {self.ratios=}"
            )
        if len({len(level) for level in self.sizes}) > 1:
            raise ValueError(f"every level needs as many anchor sizes, got {self.sizes}")

    @property
    def per_cell(self) -> int:
        return len(self.ratios) * len(self.sizes[0])

    def __call__(self, pyramid: Pyramid) -> list[Float[Tensor, "_cells 4"]]:
        """Anchors of each level, row by row, cell by cell, in image pixels, float32.

        Raises ValueError if the table has not one row of sizes per level.
        """
        if len(self.sizes) != len(pyramid.maps):
            raise ValueError(
                f"{len(pyramid.maps)} levels need as many rows of anchor sizes, got {self.sizes}"
            )
        levels = zip(self.sizes, pyramid.maps, pyramid.strides, strict=True)
        return [self._level(*level, pyramid.size) for level in levels]

    def _level(
        self, sizes: tuple[float, ...], features: Tensor, stride: int, image: tuple[int, int]
    ) -> Tensor:
        cells = features.shape[-2:]
        steps = [stride, stride]
        if self.spacing == "size":
            steps = [side // count for side, count in zip(image, cells, strict=True)]
        y, x = torch.meshgrid(
            *((torch.arange(n) + self.offset) * step for n, step in zip(cells, steps, strict=True)),
            indexing="ij",
        )
        centres = torch.stack([x, y, x, y], -1).float().to(features.device)
        cell = self._cell(sizes, stride).to(features.device)
        return (centres[:, :, None] + cell).reshape(-1, 4)

    def _cell(self, sizes: tuple[float, ...], stride: int) -> Float[Tensor, "a 4"]:
        ratios, side = torch.tensor(self.ratios), torch.tensor(sizes)
        if self.rounded == "sides":  # in double precision, where 0.5 is 0.5 before it is rounded
            width = torch.sqrt(stride**2 / ratios.double()).round()
            height = (width * ratios).round()
            wide, tall = (each.float()[:, None] * side / stride for each in (width, height))
        else:
            wide = (1 / torch.sqrt(ratios))[:, None] * side
            tall = torch.sqrt(ratios)[:, None] * side
        corners = torch.stack([-wide, -tall, wide, tall], -1).reshape(-1, 4) / 2
        return corners.round() if self.rounded is True else corners
