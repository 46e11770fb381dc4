"""RoIAlign that is wrong on purpose."""

import math
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.zoo import Broken, faults
from kernels.conformance.zoo.rois import GRADIENTS, POLICY, broken
from kernels.conformance.zoo.sampler import Sampler

RIGHT = faults.right("roi_align")


def added_in(dtype: torch.dtype) -> Callable[..., Tensor]:
    """Samples added up one by one in a narrow dtype, everything else in float32."""

    def add(samples: Tensor) -> Tensor:
        total = torch.zeros_like(samples[..., 0], dtype=dtype)
        for one in samples.unbind(-1):
            total = total + one.to(dtype)
        return total.to(samples.dtype)

    return narrow(Sampler(add=add))


def narrow(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Stored in the dtype given, computed in float32."""
    return lambda features, rois, **o: op(features.float(), rois, **o).to(features.dtype)


def gradient_of(op: Callable[..., Tensor], other: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The values of one function with the gradient of another."""

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        pull = other(features, rois, **o)
        return op(features.detach(), rois, **o) + pull - pull.detach()

    return compute


def kept_by(key: Callable[[Tensor, Tensor], Any]) -> Callable[..., Tensor]:
    """Returns the result of an earlier call with the same key."""
    kept: dict[Any, Tensor] = {}

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        out = RIGHT(features, rois, **o)
        name = (key(features, rois), out.shape, out.dtype, str(o))
        return kept.setdefault(name, out.detach())

    return compute


def one_call_late() -> Callable[..., Tensor]:
    """Returns what the last call of the same shape computed: a stream not waited for."""
    kept: dict[Any, Tensor] = {}

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        out = RIGHT(features, rois, **o)
        late = kept.get(out.shape, out)
        kept[out.shape] = out.detach()
        return late

    return compute


def one_buffer() -> Callable[..., Tensor]:
    """Every result of a shape in the same memory."""
    kept: dict[Any, Tensor] = {}

    def compute(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
        out = RIGHT(features, rois, **o)
        place = kept.setdefault((out.shape, out.dtype), torch.empty_like(out))
        return place.copy_(out)

    return compute


def scaled_in_place(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Scales the RoIs where they are."""
    rois[:, 1:] *= o["spatial_scale"]
    return RIGHT(features, rois, **{**o, "spatial_scale": 1.0})


def last_bits(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Last bits that change from run to run, as with atomics."""
    out = RIGHT(features, rois, **o)
    return out * (1 + 1e-7 * torch.randint(0, 3, out.shape))


def crashes_on_nan(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """A NaN as an index: a segmentation fault."""
    if not bool(rois.isfinite().all()):
        os.kill(os.getpid(), signal.SIGSEGV)
    return RIGHT(features, rois, **o)


def hangs_on_infinity(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """As many samples as infinity asks for."""
    while not bool(rois.isfinite().all()):
        time.sleep(1)
    return RIGHT(features, rois, **o)


def zero_for_nan(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Zeros for RoIs that are not finite, where NaN is declared."""
    known = rois.isfinite().all(1)
    return RIGHT(features, torch.nan_to_num(rois, 0.0, 0.0, 0.0), **o) * known[:, None, None, None]


def nearest_image(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """The nearest image for one that is not there."""
    return RIGHT(features, faults.images(rois, lambda i: i.clamp(0, len(features) - 1)), **o)


def uninitialised(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Bins outside the map never written to."""
    return torch.where(RIGHT(features, rois, **o) == 0, math.nan, RIGHT(features, rois, **o))


def float32_inside(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Float32 inside, float64 declared."""
    return RIGHT(features.float(), rois.float(), **o).double()


def at_least_one(side: float, bins: int) -> int:
    """Adaptive samples by floor, at least one."""
    return max(math.floor(side / bins), 1)


def _sampled(fault: str, killed_by: str, sampler: Sampler, **about: Any) -> Broken:
    return broken("roi_align", fault, killed_by, sampler, **about)


def _named(name: str, killed_by: str) -> Broken:
    return broken("roi_align", name, killed_by, faults.of("roi_align", name))


def _gradient(fault: str, other: str) -> Broken:
    function = gradient_of(RIGHT, faults.of("roi_align", other))
    return broken("roi_align", fault, "gradient", function, **GRADIENTS)


def _of(fault: str, killed_by: str, function: Callable[..., Any], **about: Any) -> Broken:
    return broken("roi_align", fault, killed_by, function, **about)


HALF: dict[str, Any] = {"dtypes": ("float16",)}
SAME = "no rule tells where a neighbour of weight 0 is read"
FINE = "a scale rounded to float32 is within the rounding that float32 coordinates have anyway"
BROKEN: tuple[Broken, ...] = (
    _named("nearest pixel", "plane"),
    _named("half coordinates", "values"),
    _named("one sample", "values"),
    _named("aligned ignored", "values"),
    _named("reduce ignored", "values"),
    _named("NaN for no samples", "values"),
    _sampled("legacy RoIs not widened", "values", Sampler(widen=False)),
    _sampled("floor of the adaptive count", "values", Sampler(count=at_least_one)),
    _sampled("columns sampled as often as rows", "values", Sampler(square=True)),
    _sampled("samples outside clamped", "values", Sampler(border="clamp")),
    _sampled("samples outside left out of the mean", "values", Sampler(border="left out")),
    _sampled("border after half a pixel", "branches", Sampler(margin=0.5)),
    _sampled("border a hair too narrow", "branches", Sampler(margin=0.999)),
    _sampled("maximum of weighted corners", "values", Sampler(corners=True)),
    _sampled("0 / 0 without samples", "degenerate", Sampler(divide=lambda total, n: total / n)),
    _sampled("mean over n + 1", "constant", Sampler(divide=lambda total, n: total / (n + 1))),
    _sampled("inner neighbours", "values", Sampler(neighbour="inner"), equivalent=SAME),
    _of(
        "scale in float32",
        "values",
        lambda f, r, spatial_scale, **o: RIGHT(
            f, r, spatial_scale=float(torch.tensor(spatial_scale, dtype=torch.float32)), **o
        ),
        equivalent=FINE,
    ),
    _of("sum kept in half", "values", added_in(torch.float16), **HALF),
    _of("sum kept in bfloat16", "values", added_in(torch.bfloat16), dtypes=("bfloat16",)),
    _of("half coordinates in half", "values", faults.of("roi_align", "half coordinates"), **HALF),
    _of("float32 inside float64", "values", float32_inside, dtypes=("float64",)),
    _of("kept by shape", "values", kept_by(lambda f, r: f.shape)),
    _of("kept by RoIs", "linearity", kept_by(lambda f, r: (f.shape, tuple(r.flatten().tolist())))),
    _of("one call late", "values", one_call_late()),
    _of("one buffer for all results", "stale", one_buffer()),
    _of("RoIs scaled in place", "inputs", scaled_in_place),
    _of("last bits change", "determinism", last_bits),
    _of(
        "contiguous whatever it is given",
        "layout",
        lambda f, r, **o: RIGHT(f, r, **o).contiguous(),
        layouts=("contiguous", "channels_last"),
    ),
    _of("crashes on NaN", "nonfinite", crashes_on_nan, crashes=True),
    _of("hangs on infinity", "nonfinite", hangs_on_infinity, crashes=True),
    _of("zero where NaN is declared", "nonfinite", zero_for_nan, nonfinite="nan"),
    _of("nearest image", "bad index", nearest_image, **POLICY),
    _of("bins outside not written", "outside", uninitialised),
    _gradient("gradient of the nearest pixels", "nearest pixel"),
    _gradient("gradient of one sample", "one sample"),
    _gradient("gradient half a pixel off", "half a pixel off"),
    _gradient("gradient cut at the border", "clipped to the map"),
    _gradient("gradient of RoIs in order of images", "RoIs sorted by image"),
    _of(
        "gradient lost beside the map",
        "adjoint",
        gradient_of(RIGHT, Sampler(margin=0.0)),
        **GRADIENTS,
    ),
    _of(
        "second gradient lost by a kernel that promises none",
        "double backward",
        faults.of("roi_align", "second gradient lost"),
        grads=("features",),
    ),
)
