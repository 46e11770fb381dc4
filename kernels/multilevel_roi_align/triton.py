"""RoIAlign of all levels in one launch of a Triton kernel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.triton.interpreting import ready
from kernels.triton.rois import (
    UNFUSED,
    Plan,
    bits,
    block_of,
    odd,
    patches,
    pixels_first,
    programs,
    summed,
    warps_of,
)
from kernels.triton.samples import Level, Pyramid, choose, gather, pool, scatter


def multilevel_roi_align(
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"] | None,
    *,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    reduce: str,
) -> Float[Tensor, "k c oh ow"]:
    """The reference's samples, summed in float32 at least; channels last.

    levels   None: all on the first map

    Raises ValueError where Triton cannot run on these tensors, see `ready`.
    Source: the definition in reference.py.
    """
    return Sampled(
        features=features,
        rois=rois,
        levels=_levels(rois, levels),
        output_size=output_size,
        scales=spatial_scales,
        ratio=sampling_ratio,
        aligned=aligned,
        kind=reduce,
    ).pooled()


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"] | None,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    reduce: str,
) -> list[Tensor]:
    """The gradients of the features, see `Sampled.gradients`."""
    return Sampled(
        features=features,
        rois=rois,
        levels=_levels(rois, levels),
        output_size=output_size,
        scales=spatial_scales,
        ratio=sampling_ratio,
        aligned=aligned,
        kind=reduce,
    ).gradients(grad)


def _levels(rois: Tensor, levels: Tensor | None) -> Tensor:
    return rois.new_zeros(len(rois), dtype=torch.int64) if levels is None else levels


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Bins of bilinear samples, as the kernels in triton/samples.py are asked for them.

    features   maps (n, c, h, w) of each level
    scales     feature pixels per unit of the RoIs, per level
    ratio      samples per bin and axis, 0 is adaptive
    kind       "mean", "max" or "crop"; `fill` is what a bin of the last is outside the map
    """

    features: Sequence[Tensor]
    rois: Float[Tensor, "k 5"]
    levels: Int[Tensor, " k"]
    output_size: Sequence[int]
    scales: Sequence[float]
    ratio: int = 1
    aligned: bool = True
    kind: str = "mean"
    fill: float = 0.0

    def pooled(self) -> Float[Tensor, "k c oh ow"]:
        """Every bin of every RoI."""
        ready(self.rois)
        maps = [pixels_first(f) for f in self.features]
        bins = maps[0].new_empty((len(self.rois), *self.output_size, maps[0].shape[3]))
        if bins.numel():
            with torch.cuda.device_of(bins):
                pool[programs(bins)](
                    tuple(maps), **self._all(maps), fill=bits(self.fill), pooled=bins
                )
        return bins.permute(0, 3, 1, 2)

    def gradients(self, grad: Float[Tensor, "k c oh ow"]) -> list[Tensor]:
        """Those of the features, in the dtype of their sums.

        By atomic sums, whose order is chance; under torch.use_deterministic_algorithms by `gather`,
        which gives the same bits every time and reads more.
        """
        ready(self.rois)
        grads = pixels_first(grad)
        maps = tuple(pixels_first(f) for f in self.features) if self.kind == "max" else None
        shapes = [[f.shape[i] for i in (0, 2, 3, 1)] for f in self.features]
        kind = summed(grad)
        found = [torch.zeros(shape, dtype=kind, device=grad.device) for shape in shapes]
        if grads.numel():
            with torch.cuda.device_of(grads):
                if torch.are_deterministic_algorithms_enabled():
                    self._gather(grads, maps, found)
                else:
                    common = self._all(found)
                    scatter[programs(grads)](maps, **common, grad=grads, found=tuple(found))
        return [f.permute(0, 3, 1, 2) for f in found]

    def _gather(
        self, grads: Tensor, maps: tuple[Tensor, ...] | None, found: Sequence[Tensor]
    ) -> None:
        """Level by level; before that, which sample is the largest, where that matters."""
        which = None
        if maps is not None:
            which = torch.empty(grads.shape, dtype=torch.int32, device=grads.device)
            choose[programs(grads)](maps, **self._all(maps), which=which)
        for level, one in enumerate(found):
            if one.numel():
                sizes = odd([level, len(grads), one.shape[1], one.shape[2]])
                gather[patches(one)](
                    level=Level._make([*sizes, bits(self.scales[level])]),
                    which=which,
                    grad=grads,
                    found=one,
                    **self._each(one),
                )

    def _all(self, maps: Sequence[Tensor]) -> dict[str, Any]:
        """What kernels of all levels take, for maps (n, h, w, c)."""
        heights, widths = (odd([m.shape[axis] for m in maps]) for axis in (1, 2))
        scales = tuple(bits(scale) for scale in self.scales)
        return {"pyramid": Pyramid(heights, widths, scales), **self._each(maps[0])}

    def _each(self, one: Tensor) -> dict[str, Any]:
        """What all kernels take, for maps like (n, h, w, c)."""
        block = block_of(one)
        return {
            "rois": self.rois.contiguous(),
            "levels": self.levels.contiguous(),
            "plan": Plan(*odd([len(one), *self.output_size, self.ratio, self.aligned])),
            "channels": one.shape[3],
            "kind": self.kind,
            "block": block,
            "num_warps": warps_of(block),
            **UNFUSED,
        }
