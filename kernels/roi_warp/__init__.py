"""RoIWarp: the rounded RoI of RoIPool, read bilinearly as in RoIAlign - smooth, still misaligned.

Specification
  box       "inclusive": from pixel r(x1 s) to the far side of pixel r(x2 s), at least one wide;
            "plain": to its near side, at least zero wide; r rounds halves away from zero
  samples   "regular": as in RoIAlign (aligned) on the rounded box; "mnc": one sample at the
            top-left corner of each bin of the plain box, pixel i centred at i; a sample more than
            half a pixel outside the map reads 0
  other     border, reduction, empty and gradient as in RoIAlign

The paper compares with RoIWarp without saying how it was implemented; "mnc" is the published layer.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from kernels.op import Backend, Op, usual_on_gpu
from kernels.roi_align import ROI_ALIGN
from kernels.roi_warp import reference
from kernels.rois import check_rois, check_sampling, check_values, pair, pooled

ROI_WARP = Op(
    name="roi_warp",
    schema="Tensor features, Tensor rois, int[] output_size, float spatial_scale,"
    " int sampling_ratio, str reduce, str box, str sampling",
    differentiable=("features",),
    shape=pooled,
    check=check_values,
    linear=lambda *, reduce, sampling, **_: reduce == "mean" or sampling == "mnc",
    reference=reference.roi_warp,
    backends={
        "reference": Backend(forward=reference.roi_warp),
        **{name: reference.through(name) for name in ROI_ALIGN.backends if name != "reference"},
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("torchvision")},
    source='Dai et al. 2016, "Multi-task Network Cascades", sec. 4',
)


def roi_warp(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int = 2,
    reduce: Literal["mean", "max"] = "mean",
    box: Literal["inclusive", "plain"] = "inclusive",
    sampling: Literal["regular", "mnc"] = "regular",
    backend: str | None = None,
) -> Float[Tensor, "k c oh ow"]:
    """The features of each rounded RoI; arguments as of `roi_align`.

    sampling="mnc" uses its own box and sample: `box`, `sampling_ratio` and `reduce` then mean
    nothing, and only the reference computes it.
    Raises ValueError for arguments the specification does not allow or an unknown backend.
    Source: Dai et al. 2016, sec. 4; He et al. 2017, Table 2c.
    """
    check_rois("roi_warp", features, rois, output_size, spatial_scale)
    ratio = check_sampling("roi_warp", sampling_ratio, reduce)
    if box not in ("inclusive", "plain") or sampling not in ("regular", "mnc"):
        raise ValueError(f"roi_warp: there is no {box=} with {sampling=}")
    return ROI_WARP(
        features=features,
        rois=rois,
        output_size=pair(output_size),
        spatial_scale=spatial_scale,
        sampling_ratio=ratio,
        reduce=reduce,
        box=box,
        sampling=sampling,
        backend="reference" if sampling == "mnc" and backend is None else backend,
    )
