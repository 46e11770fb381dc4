"""RoIAlign: resample each RoI onto a grid of bins without ever rounding a coordinate.

Specification
  bins       the RoI, scaled to feature pixels, is cut into output_size equal bins
  samples    sampling_ratio ** 2 regular points per bin, each read bilinearly; "adaptive" takes
             ceil(RoI side / bins) per side, none for a RoI of no size, whose bins are then 0
  frame      aligned: pixel i is centred at i + 0.5. Legacy (False): at i, and RoIs narrower than
             one feature pixel are widened to it
  border     a point more than one pixel outside the centres reads 0, nearer ones the border pixel
  reduction  mean or maximum over a bin's samples (of samples, not of weighted corners)
  empty      no RoIs give an empty result; a map without pixels gives zeros
  gradient   with respect to features only; RoIs are constants. That of a maximum goes to one of
             its largest samples
  finite     RoIs must be. A pixel that is not makes each bin not finite that reads it with a
             weight above zero, and NaN comes through a maximum; a backend may spread it further
  dtype      that of the features; half precision is computed in float32. RoIs in float32 or wider
             keep coordinates exact to a thousandth of a pixel near column 1000
  layout     channels_last features give channels_last results and gradients, others contiguous
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu
from kernels.roi_align import reference
from kernels.roi_align.one_level import one_level
from kernels.rois import check_rois, check_sampling, check_values, pair, pooled

MANY = "multilevel_roi_align"
FOR_MANY = {
    "numba": Backend(
        forward=lazily(f"kernels.{MANY}.numba", MANY),
        backward=lazily(f"kernels.{MANY}.numba", "backward"),
        devices=("cpu",),
    ),
    **on_gpu(MANY, backward=True),
}
"""Kernels for the levels of a pyramid, which is where those of a single map are."""
ROI_ALIGN = Op(
    name="roi_align",
    schema="Tensor features, Tensor rois, int[] output_size, float spatial_scale,"
    " int sampling_ratio, bool aligned, str reduce",
    differentiable=("features",),
    shape=pooled,
    check=check_values,
    linear=lambda *, reduce, **_: reduce == "mean",
    reference=reference.roi_align,
    backends={
        "reference": Backend(forward=reference.roi_align),
        "torchvision": Backend(
            forward=lazily("kernels.roi_align.torchvision", "roi_align"),
            backward=lazily("kernels.roi_align.torchvision", "backward"),
        ),
        **{name: one_level(many) for name, many in FOR_MANY.items()},
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("torchvision")},
    source='He et al. 2017, "Mask R-CNN", sec. 3',
)


def roi_align(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int | Literal["adaptive"] = 2,
    aligned: bool = True,
    reduce: Literal["mean", "max"] = "mean",
    backend: str | None = None,
) -> Float[Tensor, "k c oh ow"]:
    """The features of each RoI on an output_size grid, no coordinate rounded.

    rois            rows (image index, x1, y1, x2, y2); corners in image pixels
    spatial_scale   feature pixels per image pixel, 1 / stride

    Raises ValueError for shapes, sizes, image indices or values that the specification (top of
    this module) does not allow, and for a backend that is not there.
    Source: He et al. 2017, "Mask R-CNN", sec. 3, "RoIAlign".
    """
    check_rois("roi_align", features, rois, output_size, spatial_scale)
    return ROI_ALIGN(
        features=features,
        rois=rois,
        output_size=pair(output_size),
        spatial_scale=spatial_scale,
        sampling_ratio=check_sampling("roi_align", sampling_ratio, reduce),
        aligned=aligned,
        reduce=reduce,
        backend=backend,
    )
