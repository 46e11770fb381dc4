"""What a workload is: an operator, inputs as Mask R-CNN makes them at 800 x 1216, and the peer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision import ops
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

import kernels
from kernels.roi_warp.reference import rounded_boxes

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


def _align(features: Tensor, rois: Tensor, output_size: int, spatial_scale: float) -> Tensor:
    boxes = rois.to(features.dtype)
    return ops.roi_align(features, boxes, output_size, spatial_scale, 2, aligned=True)


def _pool(features: Tensor, rois: Tensor, output_size: int, spatial_scale: float) -> Tensor:
    return ops.roi_pool(features, rois.to(features.dtype), output_size, spatial_scale)


def _warp(features: Tensor, rois: Tensor, output_size: int, spatial_scale: float) -> Tensor:
    """RoIWarp as a user of torchvision has it: RoIAlign of rounded boxes."""
    boxes = rounded_boxes(rois, spatial_scale, "inclusive").to(features.dtype)
    return ops.roi_align(features, boxes, output_size, 1.0, 2, aligned=True)


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


def _targets(masks: Tensor, index: Tensor, boxes: Tensor, size: int, **_: Any) -> Tensor:
    return project_masks_on_boxes(masks, boxes, index, size)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    return ops.box_iou(a, b)


PEERS: dict[str, Callable[..., Tensor]] = {
    "roi_align": _align,
    "roi_pool": _pool,
    "roi_warp": _warp,
    "multilevel_roi_align": _pooler,
    "nms": _nms,
    "batched_nms": _batched,
    "box_iou": _iou,
    "paste_masks": _paste,
    "crop_masks": _targets,
}
"""Operator -> the same by torchvision, called with the same arguments, where it has such."""


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
