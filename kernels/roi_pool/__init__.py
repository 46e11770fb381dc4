"""RoIPool: the maximum of each bin of a RoI rounded to whole feature pixels.

Specification
  box       x1 = r(x1 s) .. x2 = r(x2 s), both pixels included, at least one wide; r rounds halves
            away from zero
  bins      bin i of n covers pixels floor(i side / n) .. ceil((i + 1) side / n) - 1 of the box,
            cut to the map; neighbours may share a pixel. The shipped kernels compute these edges
            in float32: where i side / n is whole they may take a pixel more (side 57, 7 bins)
  empty     a bin without pixels is 0; no RoIs give an empty result
  gradient  to the maximum of each bin; where several are equal, any split of it among them that
            sums to one; RoIs are constants
  finite    RoIs must be. A bin with a NaN is NaN and one of -inf alone is 0, except by the shipped
            kernels, which answer both with the lowest finite number
  dtype     that of the features; RoIs in half precision are rounded to pixels as float32
  layout    channels_last features give channels_last results and gradients, others contiguous
"""

from jaxtyping import Float
from torch import Tensor

from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu
from kernels.roi_pool import reference
from kernels.rois import check_rois, check_values, pair, pooled

ROI_POOL = Op(
    name="roi_pool",
    schema="Tensor features, Tensor rois, int[] output_size, float spatial_scale",
    differentiable=("features",),
    shape=pooled,
    check=check_values,
    reference=reference.roi_pool,
    backends={
        "reference": Backend(forward=reference.roi_pool),
        "torchvision": Backend(
            forward=lazily("kernels.roi_pool.torchvision", "roi_pool"),
            backward=lazily("kernels.roi_pool.torchvision", "backward"),
        ),
        "numba": Backend(
            forward=lazily("kernels.roi_pool.numba", "roi_pool"),
            backward=lazily("kernels.roi_pool.numba", "backward"),
            devices=("cpu",),
        ),
        **on_gpu("roi_pool", backward=True),
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("torchvision")},
    source='Girshick 2015, "Fast R-CNN", sec. 2.1',
)


def roi_pool(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    backend: str | None = None,
) -> Float[Tensor, "k c oh ow"]:
    """The maximum of each bin of each RoI; arguments as of `roi_align`.

    Raises ValueError for arguments the specification does not allow or an unknown backend.
    Source: Girshick 2015, "Fast R-CNN", sec. 2.1.
    """
    check_rois("roi_pool", features, rois, output_size, spatial_scale)
    return ROI_POOL(
        features=features,
        rois=rois,
        output_size=pair(output_size),
        spatial_scale=spatial_scale,
        backend=backend,
    )
