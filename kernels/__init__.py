"""The operators of Mask R-CNN, each with a readable reference and faster backends.

from kernels import roi_align, using
roi_align(features, rois, output_size=7, spatial_scale=1 / 16)
with using(roi_align="reference"): ...
"""

from importlib import metadata

from kernels.batched_nms import batched_nms
from kernels.box_iou import box_iou
from kernels.crop_and_resize import crop_and_resize
from kernels.crop_masks import crop_masks
from kernels.multilevel_roi_align import multilevel_roi_align
from kernels.nms import nms
from kernels.op import Backend, Op, in_use, operators, using
from kernels.paste_masks import paste_masks
from kernels.roi_align import roi_align
from kernels.roi_pool import roi_pool
from kernels.roi_warp import roi_warp

__all__ = [
    "Backend",
    "Op",
    "batched_nms",
    "box_iou",
    "crop_and_resize",
    "crop_masks",
    "foreign",
    "in_use",
    "multilevel_roi_align",
    "nms",
    "operators",
    "paste_masks",
    "roi_align",
    "roi_pool",
    "roi_warp",
    "using",
]


def foreign() -> str | None:
    """One line if Hugging Face's `kernels` is installed in this environment, else None.

    Both install a top-level package `kernels`, so that `import kernels` finds whichever comes first
    on the path: ours from a checkout, possibly theirs elsewhere.
    """
    try:
        found = metadata.version("kernels")
    except metadata.PackageNotFoundError:
        return None
    return (
        f"Hugging Face's `kernels` {found} is installed here and has the same import name;"
        " run from a checkout, or use an environment without it"
    )
