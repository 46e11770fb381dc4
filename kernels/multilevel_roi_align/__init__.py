"""RoIAlign of the levels of a feature pyramid in one call.

Specification
  result     row i is RoIAlign of RoI i on the map features[levels[i]], at that map's scale; bins,
             samples, frame, border, reduction, finite and dtype as in RoIAlign
  levels     index into features, not the name of a level. Which level a RoI belongs to is decided
             elsewhere
  maps       share images and channels; height and width are their own
  order      that of the RoIs, whatever their levels
  empty      no RoIs give an empty result; a map without pixels gives zeros
  gradient   with respect to every map; zeros for one that no RoI is read from
  layout     of the result: that of the first map; of each gradient: that of its map
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.multilevel_roi_align import reference
from kernels.op import Backend, Op, lazily, usual_on_gpu
from kernels.roi_align import FOR_MANY
from kernels.rois import check_rois, check_sampling, check_values, pair, pooled

NAME = "multilevel_roi_align"


def _pooled(
    *, features: Sequence[Tensor], rois: Tensor, output_size: list[int], **_: Any
) -> Tensor:
    return pooled(features=features[0], rois=rois, output_size=output_size)


def _check(*, features: Sequence[Tensor], rois: Tensor, levels: Tensor, **_: Any) -> None:
    """Raises ValueError for RoIs and levels that are not there; looked at on the CPU only."""
    check_values(features=features[0], rois=rois)
    if levels.device.type != "cpu" or not len(levels):
        return
    low, high = (int(v) for v in levels.aminmax())
    if low < 0 or high >= len(features):
        raise ValueError(f"levels must be 0 to {len(features) - 1}, got {low} to {high}")


MULTILEVEL_ROI_ALIGN = Op(
    name=NAME,
    schema="Tensor[] features, Tensor rois, Tensor levels, int[] output_size,"
    " float[] spatial_scales, int sampling_ratio, bool aligned, str reduce",
    differentiable=("features",),
    shape=_pooled,
    check=_check,
    linear=lambda *, reduce, **_: reduce == "mean",
    reference=reference.multilevel_roi_align,
    backends={
        "reference": Backend(forward=reference.multilevel_roi_align),
        "torchvision": Backend(
            forward=lazily("kernels.multilevel_roi_align.torchvision", "multilevel_roi_align"),
            backward=lazily("kernels.multilevel_roi_align.torchvision", "backward"),
        ),
        **FOR_MANY,
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("torchvision")},
    source='Lin et al. 2017, "Feature Pyramid Networks", sec. 4.2',
)


def multilevel_roi_align(
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"],
    *,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int | Literal["adaptive"] = 2,
    aligned: bool = True,
    reduce: Literal["mean", "max"] = "mean",
    backend: str | None = None,
) -> Float[Tensor, "k c oh ow"]:
    """The features of each RoI, read from the level it belongs to, in the order of the RoIs.

    rois             rows (image index, x1, y1, x2, y2); corners in image pixels
    levels           of each RoI, int64, as an index into `features`
    spatial_scales   feature pixels per image pixel of each level

    Raises ValueError for shapes, sizes, images, levels or values that the specification (top of
    this module) does not allow, and for a backend that is not there.
    Source: Lin et al. 2017, sec. 4.2; He et al. 2017, sec. 3.
    """
    if not features or len(features) != len(spatial_scales):
        raise ValueError(
            f"{NAME}: needs as many spatial_scales as features, at least one;"
            f" got {len(spatial_scales)} and {len(features)}"
        )
    for level, scale in zip(features, spatial_scales, strict=True):
        check_rois(NAME, level, rois, output_size, scale)
        if level.shape[:2] != features[0].shape[:2] or level.dtype != features[0].dtype:
            raise ValueError(f"{NAME}: levels must share images, channels and dtype")
    if levels.dtype != torch.int64 or levels.shape != rois.shape[:1]:
        raise ValueError(f"{NAME}: levels must be int64 (k), got {tuple(levels.shape)}")
    return MULTILEVEL_ROI_ALIGN(
        features=list(features),
        rois=rois,
        levels=levels,
        output_size=pair(output_size),
        spatial_scales=list(spatial_scales),
        sampling_ratio=check_sampling(NAME, sampling_ratio, reduce),
        aligned=aligned,
        reduce=reduce,
        backend=backend,
    )
