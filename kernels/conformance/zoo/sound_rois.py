"""RoI operators that are right in another way: what the checks must not accuse."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torchvision import ops

from kernels.conformance.declaration import Kernel, Known
from kernels.conformance.zoo import faults, separable
from kernels.conformance.zoo.pooler import Pooler
from kernels.conformance.zoo.roi_align import narrow
from kernels.conformance.zoo.rois import called
from kernels.conformance.zoo.sampler import Sampler, points_along

RIGHT = faults.right("roi_align")
WIDE = ("float32", "float64")
GRADS: dict[str, Any] = {"grads": ("features",), "double_backward": True}


def one_by_one(samples: Tensor) -> Tensor:
    """Samples added up in order, the last first."""
    total = torch.zeros_like(samples[..., 0])
    for one in samples.unbind(-1)[::-1]:
        total = total + one
    return total


def by_reciprocal(total: Tensor, n: int) -> Tensor:
    """A mean by multiplication."""
    return total * (1.0 / max(n, 1))


def by_channels(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Channel by channel, over RoIs in reverse."""
    rows = rois.flip(0)
    return torch.cat([RIGHT(one, rows, **o) for one in features.split(1, 1)], 1).flip(0)


def float64_inside(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """More precise than it need be."""
    return RIGHT(features.double(), rois.double(), **o).to(features.dtype)


def from_table(
    features: Tensor,
    rois: Tensor,
    *,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    reduce: str,
) -> Tensor:
    """Rows of a table of pixels, channels last, weighted corner by corner over all RoIs at once."""
    n, c, h, w = features.shape
    if not features.numel():
        return features.new_zeros(len(rois), c, *output_size)
    table = features.permute(0, 2, 3, 1).reshape(n * h * w, c)
    ratio, (rows, columns) = sampling_ratio, output_size
    out = []
    for row in rois:
        x1, y1, x2, y2 = (row[1:] * spatial_scale - 0.5 * aligned).unbind()
        high, wide = y2 - y1, x2 - x1
        if not aligned:
            high, wide = high.clamp(min=1), wide.clamp(min=1)
        y = points_along(y1, high, rows, ratio)[:, None, :, None].expand(-1, columns, -1, ratio)
        x = points_along(x1, wide, columns, ratio)[None, :, None].expand(rows, -1, ratio, -1)
        inside = (y >= -1) & (y <= h) & (x >= -1) & (x <= w)
        y, x = y.clamp(0, h - 1), x.clamp(0, w - 1)
        total = torch.zeros(*y.shape, c, dtype=features.dtype)
        for top, weight_y in ((y.floor(), 1 - y % 1), (y.ceil(), y % 1)):
            for left, weight_x in ((x.floor(), 1 - x % 1), (x.ceil(), x % 1)):
                index = (int(row[0]) * h + top.long()) * w + left.long()
                total = total + table[index] * (weight_y * weight_x)[..., None]
        read = torch.where(inside[..., None], total, 0.0).flatten(2, 3)
        out.append((read.amax(2) if reduce == "max" else read.mean(2)).permute(2, 0, 1))
    return torch.stack(out) if out else features.new_zeros(0, c, rows, columns)


def by_grid_sample(
    features: Tensor,
    rois: Tensor,
    *,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    reduce: str,
) -> Tensor:
    """PyTorch's own bilinear sampler on the grid of all samples, then an ordinary pooling."""
    h, w = features.shape[2:]
    if not len(rois) or not features.numel():
        return features.new_zeros(len(rois), features.shape[1], *output_size)
    corners = rois[:, 1:] * spatial_scale - 0.5 * aligned
    low, side = corners[:, :2], corners[:, 2:] - corners[:, :2]
    side = side if aligned else side.clamp(min=1)
    fine = [output_size[1] * sampling_ratio, output_size[0] * sampling_ratio]
    x, y = (
        low[:, i, None] + (torch.arange(n) + 0.5) / n * side[:, i, None] for i, n in enumerate(fine)
    )
    inside = ((y >= -1) & (y <= h))[:, :, None] & ((x >= -1) & (x <= w))[:, None]
    x, y = (2 * x + 1) / w - 1, (2 * y + 1) / h - 1
    grid = torch.stack(
        [x[:, None].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], -1
    )
    maps = features[rois[:, 0].long()]
    read = F.grid_sample(maps, grid, "bilinear", "border", align_corners=False)
    read = torch.where(inside[:, None], read, 0.0)
    pool = F.max_pool2d if reduce == "max" else F.avg_pool2d
    return pool(read, sampling_ratio)


def guarded(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torchvision's operator kept from what crashes it: NaN, infinity, maps without pixels."""

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        if not bool(rois.isfinite().all()):
            raise ValueError("a RoI is not finite")
        if not features.numel():
            return features.new_zeros(len(rois), features.shape[1], *o["output_size"])
        if o.get("sampling_ratio") == 0 and o["aligned"]:  # it multiplies both negative counts
            flat = (rois[:, 3:] <= rois[:, 1:3]).any(1)
            far = torch.where(flat[:, None], rois[:, 1:3], rois[:, 3:])
            rois = torch.cat([rois[:, :3], far], 1)
        o.pop("reduce", None)
        return op(features, rois, **o)

    return compute


def sampled_warp(features: Tensor, rois: Tensor, *, box: str, sampling: str, **o: Any) -> Tensor:
    """Corners rounded one by one, then RoIAlign sample by sample."""
    rows = []
    for image, *corners in rois.tolist():
        scaled = [v * o["spatial_scale"] for v in corners]
        x1, y1, x2, y2 = (math.copysign(math.floor(abs(v) + 0.5), v) for v in scaled)
        more = box == "inclusive"
        rows.append([image, x1, y1, max(x2, x1) + more, max(y2, y1) + more])
    boxes = torch.tensor(rows, dtype=rois.dtype).reshape(-1, 5)
    return Sampler()(features, boxes, aligned=True, **{**o, "spatial_scale": 1.0})


class _Once(torch.autograd.Function):
    """A gradient of its own that says it has none: PyTorch's usual way to declare it."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rois: Tensor, options: dict[str, Any]) -> Tensor:
        ctx.options = options
        ctx.save_for_backward(features, rois)
        return RIGHT(features, rois, **options)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> Any:
        features, rois = ctx.saved_tensors
        with torch.enable_grad():
            leaf = features.detach().requires_grad_()
            out = RIGHT(leaf, rois, **ctx.options)
        return torch.autograd.grad(out, leaf, grad)[0], None, None


def once(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """The definition with a gradient that cannot be differentiated again."""
    out: Tensor = _Once.apply(features, rois, o)  # type: ignore[no-untyped-call]
    return out


def _sound(operator: str, name: str, function: Callable[..., Any], **about: Any) -> Kernel:
    return Kernel(operator=operator, name=name, function=called(function), **about)


FIXED: dict[str, Any] = {"domain": {"sampling_ratio": (1, 2, 3)}}
MEAN: dict[str, Any] = {
    "domain": {"reduce": ("mean",)},
    "nonfinite": "raise",
    "grads": ("features",),
}
REGULAR: dict[str, Any] = {"domain": {"sampling": ("regular",)}}
SWALLOWS = (Known(check="NaN features", reason="its maximum starts at the least float"),)
SOUND: tuple[Kernel, ...] = (
    _sound("roi_align", "sample-by-sample", Sampler(), dtypes=WIDE, **GRADS),
    _sound("roi_align", "one-by-one", Sampler(add=one_by_one), dtypes=WIDE, **GRADS),
    _sound("roi_align", "reciprocal", Sampler(divide=by_reciprocal), dtypes=WIDE, **GRADS),
    _sound("roi_align", "inner-neighbours", Sampler(neighbour="inner"), dtypes=WIDE, **GRADS),
    _sound("roi_align", "matrices", separable.roi_align, dtypes=WIDE, **GRADS),
    _sound("roi_align", "by-channels", by_channels, dtypes=WIDE, **GRADS),
    _sound("roi_align", "float64-inside", float64_inside, **GRADS),
    _sound("roi_align", "half-storage", narrow(Sampler()), dtypes=("float16", "bfloat16"), **GRADS),
    _sound("roi_align", "from-table", from_table, dtypes=WIDE, **GRADS, **FIXED),
    _sound("roi_align", "once-differentiable", once, dtypes=WIDE, grads=("features",)),
    _sound("roi_align", "grid-sample", by_grid_sample, grads=("features",), **FIXED),
    _sound("roi_align", "torchvision-guarded", guarded(ops.roi_align), dtypes=WIDE, **MEAN),
    _sound("roi_pool", "bin-by-bin", Pooler(), dtypes=WIDE, **GRADS),
    _sound("roi_pool", "half-storage", narrow(Pooler()), dtypes=("float16", "bfloat16"), **GRADS),
    _sound(
        "roi_pool", "torchvision-guarded", guarded(ops.roi_pool), dtypes=WIDE, known=SWALLOWS,
        grads=("features",), nonfinite="raise",
    ),
    _sound("roi_warp", "sample-by-sample", sampled_warp, dtypes=WIDE, **GRADS, **REGULAR),
)  # fmt: skip
