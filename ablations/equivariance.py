"""A probe without training: what moves when a picture moves by less than a feature pixel?

python -m ablations probe equivariance --out reports/runs/pages/equivariance

(a) A RoI layer alone, on maps that are sums of waves: a shift of them is exact, whatever it is, and
the RoI is shifted along. A layer that rounds nothing gives what it gave before, but for the error
of interpolation.
(b) A whole network, trunk, RoI layer and heads, on Shapes rendered anew at each shift, with the
objects' own boxes given; the RPN and the choice of detections have no part in it.

Source: our own; He et al. 2017, sec. 3, say why it should matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mrcnn.box_head import column
from mrcnn.config import Trial
from mrcnn.data.drawing import draw
from mrcnn.data.shapes import Shapes
from mrcnn.model import MaskRCNN
from mrcnn.roi_ops import AnyRoIOp, RoIAlign, RoIPool, RoIWarp
from mrcnn.structures import Detections

LAYERS: Mapping[str, AnyRoIOp] = {
    "RoIPool, max": RoIPool(),
    "RoIWarp, mean": RoIWarp(),
    "RoIAlign, 1 point": RoIAlign(sampling_ratio=1),
    "RoIAlign, 4, mean": RoIAlign(),
    "RoIAlign, 4, max": RoIAlign(reduce="max"),
    "RoIAlign, 9, mean": RoIAlign(sampling_ratio=3),
    "RoIAlign, 16, mean": RoIAlign(sampling_ratio=4),
    "RoIAlign, adaptive, mean": RoIAlign(sampling_ratio="adaptive"),
    "RoIAlign, 4, legacy": RoIAlign(aligned=False),
}
STRIDE = 16
CELLS = 32
SHORTEST_WAVE = 4.0
"""In feature pixels: half of what a map can hold."""


@dataclass(frozen=True)
class Waves:
    """Feature maps as functions of x and y in feature pixels: each channel a sum of waves.

    frequency   (channels, waves, 2) in radians per feature pixel, along x and y
    """

    frequency: Float[Tensor, "c w 2"]
    phase: Float[Tensor, "c w"]

    @classmethod
    def drawn(cls, channels: int, waves: int, random: torch.Generator) -> "Waves":
        """Waves of all directions, none shorter than SHORTEST_WAVE."""
        angle, share, phase = torch.rand(3, channels, waves, generator=random).double()
        size = 2 * math.pi / SHORTEST_WAVE * share.sqrt()
        angle = 2 * math.pi * angle
        vectors = torch.stack([size * angle.cos(), size * angle.sin()], -1)
        return cls(vectors, 2 * math.pi * phase)

    def seen(self, cells: int, shift: float) -> Float[Tensor, "1 c h w"]:
        """The map of cells x cells, its content moved by `shift` feature pixels along x and y."""
        centre = torch.arange(cells, dtype=torch.float64) + 0.5 - shift
        along = self.frequency[..., None] * centre
        x, y = along[:, :, 0, None, :], along[:, :, 1, :, None]
        return (x + y + self.phase[..., None, None]).cos().mean(1)[None]


def layer_curves(
    layers: Mapping[str, AnyRoIOp] = LAYERS, *, steps: int = 32, rois: int = 64, seed: int = 0
) -> dict[str, Any]:
    """(a) For each layer the change of its output, as a share of the output's own deviation, when
    map and RoIs move by 0 to one stride.
    """
    random = torch.Generator().manual_seed(seed)
    waves = Waves.drawn(8, 6, random)
    sides = 3 + 9 * torch.rand(rois, 2, generator=random).double()
    low = 4 + (CELLS - 9 - sides) * torch.rand(rois, 2, generator=random).double()
    boxes = torch.cat([torch.zeros(rois, 1), low, low + sides], 1)
    shifts = [i / steps for i in range(steps + 1)]

    def outputs(layer: AnyRoIOp, shift: float) -> Tensor:
        moved = boxes + torch.tensor([0, shift, shift, shift, shift], dtype=torch.float64)
        moved[:, 1:] *= STRIDE
        features = waves.seen(CELLS, shift)
        return layer(features, moved, output_size=7, spatial_scale=1 / STRIDE)  # type: ignore[operator, no-any-return]

    curves = {}
    for name, layer in layers.items():
        still = outputs(layer, 0.0)
        errors = [(outputs(layer, s) - still).square().mean().sqrt() for s in shifts]
        curves[name] = [float(e / still.std()) for e in errors]
    shown = [STRIDE * s for s in shifts]
    return {"stride": STRIDE, "shift": shown, "layers": list(layers), "error": curves}


@dataclass(frozen=True)
class Scene:
    """One picture at every shift: images by shift, and the objects' boxes and labels unshifted."""

    images: tuple[Float[Tensor, "3 h w"], ...]
    boxes: Float[Tensor, "n 4"]
    labels: Tensor


def scenes(data: Shapes, count: int, shifts: Sequence[float], seed: int) -> list[Scene]:
    """Pictures drawn twice as large with room to move in, cut out at each shift and averaged over
    2 x 2: rendered anew in steps of half a pixel. Objects that touch the border are left out.
    """
    room = math.ceil(max(shifts))
    return [_scene(data, shifts, room, np.random.default_rng([seed, i, 7])) for i in range(count)]


def _scene(data: Shapes, shifts: Sequence[float], room: int, random: np.random.Generator) -> Scene:
    picture = draw(2 * (data.size + room), data.texture, random)
    canvas = torch.from_numpy(picture.image).permute(2, 0, 1).float()
    images = []
    for shift in shifts:
        start = 2 * room - round(2 * shift)
        window = canvas[:, start : start + 2 * data.size, start : start + 2 * data.size]
        images.append(torch.nn.functional.avg_pool2d(window, 2))
    boxes, labels = [], []
    for i, label in enumerate(picture.labels.tolist(), start=1):
        y, x = np.nonzero(picture.owner == i)
        if not len(x):
            continue
        edges = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1]) / 2 - room
        if edges.min() >= 0 and edges.max() + room <= data.size:
            boxes.append(edges)
            labels.append(label)
    found = torch.stack(boxes).float() if boxes else torch.zeros(0, 4)
    return Scene(tuple(images), found, torch.tensor(labels, dtype=torch.long))


@torch.no_grad()
def network_curves(
    model: MaskRCNN, trial: Trial, *, images: int = 32, steps: int = 16, seed: int = 0
) -> dict[str, Any]:
    """(b) By shift: the IoU of each object's mask, and of its refined box, with the unshifted ones
    moved along; and how far the box's centre strays, in pixels. Means over objects.

    Raises ValueError for a network that was not made for Shapes.
    """
    if not isinstance(trial.data, Shapes):
        raise ValueError("the probe of a network renders Shapes: the checkpoint has other data")
    model = model.eval()
    stride = model.backbone.strides[: getattr(model.backbone, "roi_levels", 1)][-1]
    shifts = [round(2 * stride * i / steps) / 2 for i in range(steps + 1)]
    drawn = scenes(trial.data, images, shifts, seed)
    found = [_seen(model, drawn, i, shift) for i, shift in enumerate(shifts)]
    still = found[0]
    result: dict[str, Any] = {"stride": stride, "shift": shifts, "objects": len(still[0])}
    result["box IoU"] = [float(_box_iou(boxes, still[0]).mean()) for boxes, _ in found]
    strays = [(_centres(boxes) - _centres(still[0])).norm(dim=1) for boxes, _ in found]
    result["box strays, px"] = [float(stray.mean()) for stray in strays]
    if still[1] is not None:
        result["mask IoU"] = [float(_mask_iou(masks, still[1]).mean()) for _, masks in found]
    return result


def _seen(
    model: MaskRCNN, drawn: Sequence[Scene], place: int, shift: float
) -> tuple[Tensor, Tensor | None]:
    """Refined boxes of all objects, moved back, and the probabilities of their masks."""
    images = model.images([scene.images[place] for scene in drawn])
    pyramid = model.pyramid(images, None)
    boxes = [(scene.boxes + shift).to(model.device) for scene in drawn]
    labels = [scene.labels.to(model.device) for scene in drawn]
    _, deltas = model.classified(pyramid, boxes)
    every = torch.cat(labels)
    rows = torch.arange(len(every), device=model.device)
    chosen = deltas[rows, column(every, deltas.shape[1])]
    refined = model.config.box_head.coder.decode(chosen, torch.cat(boxes))
    given = [Detections(b, n, torch.ones_like(b[:, 0])) for b, n in zip(boxes, labels, strict=True)]
    masks = [one.mask_probabilities for one in model.detect_masks(pyramid, given)]
    known = [mask for mask in masks if mask is not None]
    return refined - shift, torch.cat(known) if known else None


def _centres(boxes: Float[Tensor, "n 4"]) -> Float[Tensor, "n 2"]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _box_iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Of each box with its partner."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    return both / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both)


def _mask_iou(a: Tensor | None, b: Tensor) -> Float[Tensor, " n"]:
    """Of each mask with its partner, both in the frame of their box; two empty ones agree."""
    assert a is not None
    one, other = a >= 0.5, b >= 0.5
    both, either = (one & other).flatten(1).sum(1), (one | other).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(either) * 1.0)
