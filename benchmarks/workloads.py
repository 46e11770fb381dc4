"""The workloads: what Mask R-CNN asks of its operators at 800 x 1216, and the peer's answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision import ops
from torchvision.models.detection.roi_heads import paste_masks_in_image

import kernels

HEIGHT, WIDTH = 800, 1216
Arguments = dict[str, Any]
Layout = Literal["contiguous", "channels_last"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and on what a workload runs; `dtype` and `layout` are those of the maps."""

    device: str = "cpu"
    dtype: str = "float32"
    layout: Layout = "channels_last"
    threads: int = 1

    def put(self, tensor: Tensor) -> Tensor:
        """A map in this dtype and layout."""
        form = torch.channels_last if self.layout == "channels_last" else torch.contiguous_format
        found = tensor.to(getattr(torch, self.dtype))
        return found.contiguous(memory_format=form) if tensor.dim() == 4 else found


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One operator on inputs of one size.

    inputs     (generator) -> the operator's arguments, on the generator's device, in float32
    peer       the same by torchvision, called with the same arguments; None where it has no such
    few        the same arguments cut to a part small enough for the reference
    backward   the forward pass and then the gradient of the maps
    maps       names of the arguments that have the place's dtype and layout
    """

    operator: str
    inputs: Callable[[torch.Generator], Arguments]
    peer: Callable[..., Tensor] | None = None
    few: Callable[[Arguments], Arguments] = lambda arguments: arguments
    backward: bool = False
    maps: tuple[str, ...] = ()

    def arguments(self, place: Place, seed: int, *, few: bool = False) -> Arguments:
        """Arguments that depend on the seed and the place alone; `few` of them where asked."""
        found = self.inputs(torch.Generator(place.device).manual_seed(seed))
        found = self.few(found) if few else found
        for name in self.maps:
            value = found[name]
            put = [place.put(v) for v in value] if isinstance(value, list) else place.put(value)
            found[name] = put
        return found

    def peer_at(self, place: Place) -> Callable[..., Tensor] | None:
        """The peer, where it takes maps of the place's dtype: torchvision has no bfloat16."""
        return None if self.maps and place.dtype == "bfloat16" else self.peer

    def run(self, function: Callable[..., Tensor], arguments: Arguments) -> list[Tensor]:
        """The result, or where asked the gradients of the maps for one fixed gradient of it."""
        if not self.backward:
            return [function(**arguments)]
        given = {n: _leaves(v) if n in self.maps else v for n, v in arguments.items()}
        out = function(**given)
        leaves = [t for n in self.maps for t in _listed(given[n])]
        return list(torch.autograd.grad(out, leaves, torch.ones_like(out)))

    def usual(self, device: str) -> str:
        """The backend that this operator takes on a device type."""
        return kernels.operators()[self.operator].chosen(device)

    def ours(self, backend: str) -> Callable[..., Tensor]:
        """Our operator by one backend."""
        operator = getattr(kernels, self.operator)
        return lambda **arguments: operator(**arguments, backend=backend)


def _listed(value: Any) -> list[Tensor]:
    return value if isinstance(value, list) else [value]


def _leaves(value: Any) -> Any:
    if isinstance(value, list):
        return [v.detach().requires_grad_() for v in value]
    return value.detach().requires_grad_()


def rois(count: int, low: float, high: float, g: torch.Generator) -> Tensor:
    """RoIs inside one image; their sides, in pixels, spread evenly over the logarithm."""
    at: Any = {"generator": g, "device": g.device}
    extent = torch.tensor([WIDTH, HEIGHT], device=g.device)
    side = low * (high / low) ** torch.rand(count, 2, **at)
    corner = torch.rand(count, 2, **at) * (extent - side).clamp(min=0)
    return torch.cat([torch.zeros(count, 1, device=g.device), corner, corner + side], 1)


def levels_of(boxes: Tensor) -> Tensor:
    """Lin et al. 2017, eq. 1: which of four levels a box of that size is read from."""
    side = ((boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])).sqrt()
    return (torch.floor(4 + torch.log2(side / 224) + 1e-6).clamp(2, 5) - 2).long()


def one_map(
    count: int,
    channels: int,
    stride: int,
    size: int,
    sides: tuple[float, float] | None = None,
) -> Callable[[torch.Generator], Arguments]:
    """RoIs over one map of the given stride; their sides, else 4 to 40 feature pixels."""
    low, high = sides or (4.0 * stride, 40.0 * stride)

    def inputs(g: torch.Generator) -> Arguments:
        shape = (1, channels, HEIGHT // stride, WIDTH // stride)
        return {
            "features": torch.randn(shape, generator=g, device=g.device),
            "rois": rois(count, low, high, g),
            "output_size": size,
            "spatial_scale": 1 / stride,
        }

    return inputs


def pyramid(count: int, size: int) -> Callable[[torch.Generator], Arguments]:
    """RoIs over the levels P2 to P5 of a feature pyramid, 256 channels each."""

    def inputs(g: torch.Generator) -> Arguments:
        boxes = rois(count, 16.0, 640.0, g)
        shapes = [(1, 256, HEIGHT // s, WIDTH // s) for s in (4, 8, 16, 32)]
        return {
            "features": [torch.randn(s, generator=g, device=g.device) for s in shapes],
            "rois": boxes,
            "levels": levels_of(boxes),
            "output_size": size,
            "spatial_scales": [1 / 4, 1 / 8, 1 / 16, 1 / 32],
            "aligned": False,
        }

    return inputs


def proposals(count: int, classes: int = 0) -> Callable[[torch.Generator], Arguments]:
    """Boxes as an RPN has them: 60 % crowd around 40 objects. Labels where there are classes."""

    def inputs(g: torch.Generator) -> Arguments:
        at: Any = {"generator": g, "device": g.device}
        extent = torch.tensor([WIDTH, HEIGHT], device=g.device)
        crowd = round(0.6 * count)
        place, size = torch.rand(40, 2, **at) * extent, 2 ** (5 + 4 * torch.rand(40, 1, **at))
        near = torch.randint(40, (crowd,), **at)
        centre = place[near] + size[near] * 0.12 * torch.randn(crowd, 2, **at)
        side = size[near] * torch.exp(0.15 * torch.randn(crowd, 2, **at))
        centre = torch.cat([centre, torch.rand(count - crowd, 2, **at) * extent])
        side = torch.cat([side, 2 ** (5 + 4 * torch.rand(count - crowd, 2, **at))])
        boxes = torch.cat([centre - side / 2, centre + side / 2], 1)
        boxes = torch.minimum(boxes.clamp(min=0), extent.repeat(2))
        found = {"boxes": boxes, "scores": torch.rand(count, **at), "iou_threshold": 0.7}
        return found | ({"labels": torch.randint(classes, (count,), **at)} if classes else {})

    return inputs


def two_sets(g: torch.Generator) -> Arguments:
    """Anchors' worth of boxes and an image's worth of ground truth."""
    return {"a": proposals(20_000)(g)["boxes"], "b": proposals(50)(g)["boxes"]}


def detections(threshold: float | None) -> Callable[[torch.Generator], Arguments]:
    """100 masks to be pasted into an image: as bits by the threshold, or as they are."""
    return lambda g: {
        "masks": torch.rand(100, 28, 28, generator=g, device=g.device),
        "boxes": rois(100, 16.0, 320.0, g)[:, 1:],
        "size": (HEIGHT, WIDTH),
        "method": "grown",
        "threshold": threshold,
    }


def _align(features: Tensor, rois: Tensor, output_size: int, spatial_scale: float) -> Tensor:
    boxes = rois.to(features.dtype)
    return ops.roi_align(features, boxes, output_size, spatial_scale, 2, aligned=True)


def _pool(features: Tensor, rois: Tensor, output_size: int, spatial_scale: float) -> Tensor:
    return ops.roi_pool(features, rois.to(features.dtype), output_size, spatial_scale)


def _pooler(
    features: list[Tensor],
    rois: Tensor,
    levels: Tensor,
    output_size: int,
    spatial_scales: list[float],
    aligned: bool,
) -> Tensor:
    names = [str(i) for i in range(len(features))]
    pooler = ops.MultiScaleRoIAlign(names, output_size, 2)
    pooler.scales, pooler.map_levels = spatial_scales, lambda _: levels
    boxes = rois[:, 1:].to(features[0].dtype)
    out: Tensor = pooler(dict(zip(names, features, strict=True)), [boxes], [(HEIGHT, WIDTH)])
    return out


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return ops.nms(boxes, scores, iou_threshold)


def _batched(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    return ops.batched_nms(boxes, scores, labels, iou_threshold)


def _paste(
    masks: Tensor, boxes: Tensor, size: tuple[int, int], method: str, threshold: float | None
) -> Tensor:
    soft: Tensor = paste_masks_in_image(masks[:, None], boxes, size)[:, 0]
    return soft if threshold is None else soft >= threshold


def _iou(a: Tensor, b: Tensor) -> Tensor:
    return ops.box_iou(a, b)


def first(count: int, *names: str) -> Callable[[Arguments], Arguments]:
    """Cuts these arguments to their first rows."""
    return lambda arguments: {n: v[:count] if n in names else v for n, v in arguments.items()}


def few_rois(arguments: Arguments) -> Arguments:
    """Six RoIs on eight channels."""
    maps = arguments["features"]
    cut = [m[:, :8] for m in maps] if isinstance(maps, list) else maps[:, :8]
    return first(6, "rois", "levels")({**arguments, "features": cut})


def few_untied(arguments: Arguments) -> Arguments:
    """Few RoIs on maps without two equal pixels within a bin, in half precision too: which of two
    equal maxima gets a gradient is open.
    """
    few = few_rois(arguments)
    height, width = few["features"].shape[2:]
    y, x = torch.arange(height)[:, None], torch.arange(width)
    ramp = ((16 * y + x) % 251 - 125).to(few["features"])
    return {**few, "features": few["features"] * 0 + ramp}


_ROI: Mapping[str, Any] = {"maps": ("features",), "few": few_rois}

WORKLOADS: dict[str, Workload] = {
    "roi_align": Workload(
        operator="roi_align", inputs=one_map(1000, 256, 4, 7), peer=_align, **_ROI
    ),
    "roi_align of C4": Workload(
        operator="roi_align", inputs=one_map(300, 1024, 16, 14), peer=_align, **_ROI
    ),
    "roi_align, training": Workload(
        operator="roi_align", inputs=one_map(512, 256, 4, 7), peer=_align, backward=True, **_ROI
    ),
    "roi_pool": Workload(operator="roi_pool", inputs=one_map(1000, 256, 4, 7), peer=_pool, **_ROI),
    "roi_pool, training": Workload(
        operator="roi_pool",
        inputs=one_map(512, 256, 4, 7),
        peer=_pool,
        backward=True,
        maps=("features",),
        few=few_untied,
    ),
    "multilevel_roi_align": Workload(
        operator="multilevel_roi_align", inputs=pyramid(1000, 7), peer=_pooler, **_ROI
    ),
    "multilevel_roi_align, masks": Workload(
        operator="multilevel_roi_align", inputs=pyramid(100, 14), peer=_pooler, **_ROI
    ),
    "multilevel_roi_align, training": Workload(
        operator="multilevel_roi_align",
        inputs=pyramid(512, 7),
        peer=_pooler,
        backward=True,
        **_ROI,
    ),
    "nms of 1,000": Workload(operator="nms", inputs=proposals(1000), peer=_nms),
    "nms of 4,000": Workload(operator="nms", inputs=proposals(4000), peer=_nms),
    "batched_nms of 4,000": Workload(
        operator="batched_nms", inputs=proposals(4000, classes=80), peer=_batched
    ),
    "box_iou": Workload(operator="box_iou", inputs=two_sets, peer=_iou, few=first(50, "a")),
    "paste_masks": Workload(
        operator="paste_masks",
        inputs=detections(0.5),
        peer=_paste,
        few=first(4, "masks", "boxes"),
    ),
    "paste_masks, soft": Workload(
        operator="paste_masks",
        inputs=detections(None),
        peer=_paste,
        few=first(4, "masks", "boxes"),
    ),
}
