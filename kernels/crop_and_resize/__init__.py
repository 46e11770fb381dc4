"""CropAndResize: a box of a map, resampled so that its corners are samples; TensorFlow's operator.

Specification
  box        normalised: 0 is the centre of the first pixel, 1 that of the last. x2 < x1 mirrors,
             y2 < y1 turns upside down
  samples    one per bin, read bilinearly. Row i of n lies at y1 (H - 1) + i (y2 - y1) (H - 1) /
             (n - 1), the only row of one at (y1 + y2) (H - 1) / 2; columns likewise. Interpolated
             from the nearer end, so that the first and last are the ends exactly, which TensorFlow
             reaches up to rounding
  outside    a sample outside 0 .. H - 1 or 0 .. W - 1, by however little, is extrapolation_value
  empty      no RoIs give an empty result; a map without pixels gives extrapolation_value
  gradient   with respect to features only; RoIs are constants, unlike in TensorFlow
  finite     RoIs must be. A pixel that is not makes each bin not finite that reads it with a
             weight above zero; a backend may spread it further
  dtype      that of the features (TensorFlow: always float32); half precision is computed in
             float32
  layout     channels_last features give channels_last results and gradients, others contiguous

Matterport's Mask R-CNN calls this RoIAlign. With (H - 1) pixels to a map and one sample per bin it
is another function: its first sample lies on the edge of the box, not half a bin inside.
"""

from jaxtyping import Float
from torch import Tensor

from kernels.crop_and_resize import reference
from kernels.op import Backend, Op, lazily, on_gpu, usual_on_gpu
from kernels.rois import check_rois, check_values, pair, pooled

CROP_AND_RESIZE = Op(
    name="crop_and_resize",
    schema="Tensor features, Tensor rois, int[] output_size, float extrapolation_value",
    differentiable=("features",),
    shape=pooled,
    check=check_values,
    linear=lambda *, extrapolation_value, **_: extrapolation_value == 0,
    reference=reference.crop_and_resize,
    backends={
        "reference": Backend(forward=reference.crop_and_resize),
        "numba": Backend(
            forward=lazily("kernels.crop_and_resize.numba", "crop_and_resize"),
            backward=lazily("kernels.crop_and_resize.numba", "backward"),
            devices=("cpu",),
        ),
        **on_gpu("crop_and_resize", backward=True),
    },
    default={"cpu": "numba", "cuda": usual_on_gpu("reference")},
    source="TensorFlow, tf.image.crop_and_resize, method bilinear",
)


def crop_and_resize(
    features: Float[Tensor, "n c h w"],
    rois: Float[Tensor, "k 5"],
    *,
    output_size: int | tuple[int, int],
    extrapolation_value: float = 0.0,
    backend: str | None = None,
) -> Float[Tensor, "k c oh ow"]:
    """Each box resampled to output_size, its corners read at the corners of the result.

    rois   rows (image index, x1, y1, x2, y2), x before y, normalised: 0 and 1 are the centres of
           the first and last pixel

    Raises ValueError for arguments the specification (top of this module) does not allow or an
    unknown backend.
    Source: TensorFlow, tf.image.crop_and_resize; Matterport, Mask_RCNN, PyramidROIAlign.
    """
    check_rois("crop_and_resize", features, rois, output_size, 1.0)
    return CROP_AND_RESIZE(
        features=features,
        rois=rois,
        output_size=pair(output_size),
        extrapolation_value=extrapolation_value,
        backend=backend,
    )
