"""RoIWarp that is wrong on purpose."""

from typing import Any

import torch
from torch import Tensor

from kernels.conformance.zoo import Broken, faults
from kernels.conformance.zoo.rois import broken


def not_rounded(features: Tensor, rois: Tensor, *, box: str, sampling: str, **o: Any) -> Tensor:
    """RoIAlign itself."""
    return faults.right("roi_align")(features, rois, aligned=True, **o)


def mirrored(features: Tensor, rois: Tensor, *, box: str, sampling: str, **o: Any) -> Tensor:
    """RoIAlign on rounded corners of which the far one may come first."""
    corners = rois[:, 1:] * o["spatial_scale"]
    whole = corners.sign() * (corners.abs() + 0.5).floor()
    whole[:, 2:] += box == "inclusive"
    boxes = torch.cat([rois[:, :1], whole], 1)
    return faults.right("roi_align")(features, boxes, aligned=True, **{**o, "spatial_scale": 1.0})


def legacy_frame(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """Read half a pixel before the frame of RoIAlign: each pixel as the mean of it and the last."""
    grown = torch.nn.functional.pad(features, (1, 1, 1, 1), mode="replicate")
    return faults.right("roi_warp")(torch.nn.functional.avg_pool2d(grown, 2, 1), rois, **o)


def always_plain(features: Tensor, rois: Tensor, **o: Any) -> Tensor:
    """The near side of the far pixel, whatever the box."""
    return faults.right("roi_warp")(features, rois, **{**o, "box": "plain"})


def _named(name: str, killed_by: str) -> Broken:
    return broken("roi_warp", name, killed_by, faults.of("roi_warp", name))


REGULAR: dict[str, Any] = {"domain": {"sampling": ("regular",)}}
BROKEN: tuple[Broken, ...] = (
    _named("half to even", "branches"),
    _named("floor", "values"),
    _named("box ignored", "values"),
    _named("sampling ignored", "values"),
    _named("one sample", "values"),
    _named("reduce ignored", "values"),
    broken("roi_warp", "not rounded", "values", not_rounded, **REGULAR),
    broken("roi_warp", "negative sides kept", "degenerate", mirrored, **REGULAR),
    broken("roi_warp", "legacy frame", "plane", legacy_frame, **REGULAR),
    broken("roi_warp", "always plain", "values", always_plain),
)
