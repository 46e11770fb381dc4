"""torchvision's detector taken apart under our names, and made to draw as ours does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.models.detection.rpn import concat_box_prediction_layers

from benchmarks.detector.peer_network import Scale
from benchmarks.detector.steps import INFERENCE, Seen, Step
from mrcnn.matching import sample
from mrcnn.structures import Detections


@dataclass(frozen=True)
class PeerInference:
    """The steps of torchvision's detector under our names, from {"given": images}."""

    model: Any

    @property
    def steps(self) -> dict[str, Step]:
        """By name."""
        made: tuple[Step, ...] = (
            self.transform,
            lambda seen: {"maps": self.model.backbone(seen["images"].tensors)},
            lambda seen: {"rpn": self.model.rpn.head(list(seen["maps"].values()))},
            self.anchors,
            self.proposals,
            self.box_features,
            self.box_head,
            self.detections,
            self.mask_features,
            self.mask_head,
            self.paste,
        )
        return dict(zip(INFERENCE, made, strict=True))

    def transform(self, seen: Seen) -> dict[str, Any]:
        given = [image.float() / 255 for image in seen["given"]]
        images, _ = self.model.transform(given)
        return {"images": images, "sizes": [tuple(one.shape[-2:]) for one in given]}

    def anchors(self, seen: Seen) -> dict[str, Any]:
        maps = list(seen["maps"].values())
        return {"anchors": self.model.rpn.anchor_generator(seen["images"], maps)}

    def proposals(self, seen: Seen) -> dict[str, Any]:
        rpn, (logits, deltas) = self.model.rpn, seen["rpn"]
        counts = [one[0].numel() for one in logits]
        logits, deltas = concat_box_prediction_layers(logits, deltas)
        boxes = rpn.box_coder.decode(deltas, seen["anchors"]).view(len(seen["anchors"]), -1, 4)
        found, _ = rpn.filter_proposals(boxes, logits, seen["images"].image_sizes, counts)
        return {"proposals": found}

    def box_features(self, seen: Seen) -> dict[str, Any]:
        given = seen["maps"], seen["proposals"], seen["images"].image_sizes
        return {"box_features": self.model.roi_heads.box_roi_pool(*given)}

    def box_head(self, seen: Seen) -> dict[str, Any]:
        heads = self.model.roi_heads
        return {"classified": heads.box_predictor(heads.box_head(seen["box_features"]))}

    def detections(self, seen: Seen) -> dict[str, Any]:
        given = *seen["classified"], seen["proposals"], seen["images"].image_sizes
        return {"boxed": self.model.roi_heads.postprocess_detections(*given)}

    def mask_features(self, seen: Seen) -> dict[str, Any]:
        given = seen["maps"], seen["boxed"][0], seen["images"].image_sizes
        return {"mask_features": self.model.roi_heads.mask_roi_pool(*given)}

    def mask_head(self, seen: Seen) -> dict[str, Any]:
        heads = self.model.roi_heads
        logits = heads.mask_predictor(heads.mask_head(seen["mask_features"]))
        return {"masks": maskrcnn_inference(logits, seen["boxed"][2])}

    def paste(self, seen: Seen) -> dict[str, Any]:
        found = [
            {"boxes": boxes, "scores": scores, "labels": labels, "masks": masks}
            for boxes, scores, labels, masks in zip(*seen["boxed"], seen["masks"], strict=True)
        ]
        sizes = seen["images"].image_sizes, seen["sizes"]
        return {"found": self.model.transform.postprocess(found, *sizes)}


def as_detections(found: list[dict[str, Tensor]]) -> list[Detections]:
    """torchvision's answer in our terms: its soft masks set where they reach one half."""
    return [
        Detections(
            one["boxes"].float(),
            one["labels"],
            one["scores"].float(),
            masks=one["masks"][:, 0] >= 0.5,
        )
        for one in found
    ]


@contextmanager
def sampled_as_ours(model: Any, scale: Scale, draws: list[torch.Generator]) -> Iterator[None]:
    """Within the block torchvision's network draws its anchors and RoIs as ours would."""

    def sampler(count: int, fraction: float) -> Callable[[list[Tensor]], tuple[list[Tensor], ...]]:
        def choose(matched: list[Tensor]) -> tuple[list[Tensor], ...]:
            chosen = [
                sample(one.sign().long(), count, fraction, draw)
                for one, draw in zip(matched, draws, strict=True)
            ]
            kinds = zip(*chosen, strict=True)
            return tuple(
                [_marked(len(one), index) for one, index in zip(matched, kind, strict=True)]
                for kind in kinds
            )

        return choose

    before = model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler
    model.rpn.fg_bg_sampler = sampler(256, 0.5)
    model.roi_heads.fg_bg_sampler = sampler(scale.rois, 0.25)
    try:
        yield
    finally:
        model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler = before


@contextmanager
def proposing(model: Any, proposals: list[Tensor] | None) -> Iterator[None]:
    """Within the block torchvision's heads get these proposals, if any."""

    def put(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return inputs if proposals is None else (inputs[0], list(proposals), *inputs[2:])

    hook = model.roi_heads.register_forward_pre_hook(put)
    try:
        yield
    finally:
        hook.remove()


def _marked(count: int, index: Tensor) -> Tensor:
    mask = torch.zeros(count, dtype=torch.uint8)
    mask[index] = 1
    return mask
