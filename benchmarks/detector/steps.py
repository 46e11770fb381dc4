"""Inference and a training step as named steps, which together do exactly what the detector does.

A step takes what those before it have made, by name, and returns what it makes; it changes nothing,
so that it can be repeated. In training, the graph is cut between the backbone, the RoI features and
the heads, and gradients are handed over there: so each part's backward pass is a step of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mrcnn.box_head import box_losses
from mrcnn.config import Trial
from mrcnn.model import MaskRCNN
from mrcnn.optimise import TrainConfig
from mrcnn.roi_ops import roi_features
from mrcnn.rpn import propose, rpn_losses
from mrcnn.seeds import generator
from mrcnn.structures import Detections, Pyramid
from mrcnn.views import view

Seen = Mapping[str, Any]
Step = Callable[[Seen], dict[str, Any]]

INFERENCE = (
    "transform",
    "backbone",
    "RPN head",
    "anchors",
    "proposals",
    "RoI features, boxes",
    "box head",
    "detections",
    "RoI features, masks",
    "mask head",
    "paste",
)
TRAINING = (
    "transform",
    "backbone",
    "RPN head",
    "anchors",
    "RPN matching and losses",
    "proposals",
    "RoI matching and sampling",
    "RoI features, boxes",
    "box head",
    "box losses",
    "RoI features, masks",
    "mask head",
    "mask targets and loss",
    "mask head, backward",
    "box head, backward",
    "RoI features, backward",
    "RPN, backward",
    "backbone, backward",
    "optimiser",
)
"""The steps by name, in their order."""


def through(steps: Mapping[str, Step], given: Seen, until: str | None = None) -> dict[str, Any]:
    """All that the steps make from what is given; those before `until` alone where it is named."""
    seen = dict(given)
    for name, step in steps.items():
        if name == until:
            return seen
        seen |= step(seen)
    return seen


@dataclass(frozen=True)
class Inference:
    """The steps of `mrcnn.evaluate.detect`, from {"given": images} to {"found": detections}."""

    model: MaskRCNN
    trial: Trial

    @property
    def steps(self) -> dict[str, Step]:
        """By name."""
        model = self.model
        made: tuple[Step, ...] = (
            self.transform,
            lambda seen: {"pyramid": model.rpn_pyramid(seen["images"])},
            lambda seen: {"objectness": model.rpn(seen["pyramid"])},
            lambda seen: {"anchors": model.config.rpn.anchors(seen["pyramid"])},
            self.proposals,
            lambda seen: {"box_features": model.box_features(seen["pyramid"], seen["proposals"])},
            lambda seen: {"classified": model.box_head(seen["box_features"])},
            self.detections,
            self.mask_features,
            self.mask_head,
            self.paste,
        )
        return dict(zip(INFERENCE, made, strict=True))

    def transform(self, seen: Seen) -> dict[str, Any]:
        views = [view(image.float(), self.trial.evaluate.transforms) for image in seen["given"]]
        return {"views": views, "images": self.model.images([one.image for one in views])}

    def proposals(self, seen: Seen) -> dict[str, Any]:
        spec, frame = self.model.config.rpn, self.model.config.box_convention
        sizes = seen["images"].sizes
        given = (*seen["objectness"], seen["anchors"], sizes)
        return {"proposals": propose(spec, *given, training=False, convention=frame)}

    def detections(self, seen: Seen) -> dict[str, Any]:
        config = self.model.config
        counts = [len(boxes) for boxes in seen["proposals"]]
        logits, deltas = (one.split(counts) for one in seen["classified"])
        parts = zip(logits, deltas, seen["proposals"], seen["images"].sizes, strict=True)
        rule = config.box_head.coder, config.box_convention
        return {"boxed": [config.detection(*part, *rule) for part in parts]}

    def mask_features(self, seen: Seen) -> dict[str, Any]:
        boxes = [one.boxes for one in seen["boxed"]]
        return {"mask_features": pooled_for_masks(self.model, seen["pyramid"], boxes)}

    def mask_head(self, seen: Seen) -> dict[str, Any]:
        found: list[Detections] = seen["boxed"]
        labels = self.model.mask_labels(torch.cat([one.labels for one in found]))
        boxes = [one.boxes for one in found]
        logits = self.model.mask_logits(seen["pyramid"], boxes, labels, seen["mask_features"])
        masks = self.model.config.mask_loss.probabilities(logits, labels)
        parts = masks.split([len(one) for one in found])
        pairs = zip(found, parts, strict=True)
        return {"masked": [replace(one, mask_probabilities=part) for one, part in pairs]}

    def paste(self, seen: Seen) -> dict[str, Any]:
        found = []
        for one, shown in zip(seen["masked"], seen["views"], strict=True):
            one = one.to("cpu")
            one = replace(one, boxes=shown.left(one.boxes))
            masks = self.model.config.paste(one.mask_probabilities, one.boxes, shown.size)
            found.append(replace(one, masks=masks))
        return {"found": found}


def pooled_for_masks(model: MaskRCNN, pyramid: Pyramid, boxes: list[Tensor]) -> Tensor:
    """RoI features as the mask head reads them, through res5 where RoIs run it."""
    config = model.config
    rule = config.canonical_side, config.levels
    frames = model.frames(boxes)
    pooled = roi_features(pyramid, frames, config.roi_op, config.mask_roi_size, *rule)
    return model.roi_trunk(pooled) if model.roi_trunk is not None else pooled


@dataclass(frozen=True)
class Training:
    """The steps of a training step, from {"given": images, "targets", "seed"} on: those of
    `mrcnn.train.train` once the batch is there.

    retain   keep the graph, so that backward steps can be repeated
    """

    model: MaskRCNN
    config: TrainConfig
    optimiser: torch.optim.Optimizer
    retain: bool = False

    @property
    def steps(self) -> dict[str, Step]:
        """By name."""
        model = self.model
        made: tuple[Step, ...] = (
            lambda seen: {"images": model.images(seen["given"])},
            self.backbone,
            lambda seen: {"objectness": model.rpn(seen["pyramid"])},
            lambda seen: {"anchors": model.config.rpn.anchors(seen["pyramid"])},
            self.rpn_losses,
            self.proposals,
            self.sampling,
            self.box_features,
            lambda seen: {"classified": model.box_head(seen["box_features"])},
            self.box_losses,
            self.mask_features,
            self.mask_head,
            self.mask_loss,
            self.mask_head_backward,
            self.box_head_backward,
            self.roi_backward,
            self.rpn_backward,
            self.backbone_backward,
            self.optimise,
        )
        return dict(zip(TRAINING, made, strict=True))

    def backbone(self, seen: Seen) -> dict[str, Any]:
        built = self.model.backbone(seen["images"].pixels)
        draws = [generator(seen["seed"], "sampling", i) for i in range(len(seen["targets"]))]
        cut = replace(built, maps=tuple(_cut(one) for one in built.maps), generators=draws)
        return {"built": built, "pyramid": cut}

    def rpn_losses(self, seen: Seen) -> dict[str, Any]:
        spec, frame = self.model.config.rpn, self.model.config.box_convention
        draws = _copies(seen["pyramid"].generators)
        (logits, deltas), anchors = seen["objectness"], seen["anchors"]
        targets, sizes = seen["targets"], seen["images"].sizes
        losses = rpn_losses(spec, logits, deltas, anchors, targets, draws, sizes, frame)
        return {"rpn_losses": losses, "draws": draws}

    def proposals(self, seen: Seen) -> dict[str, Any]:
        spec, frame = self.model.config.rpn, self.model.config.box_convention
        given = (*seen["objectness"], seen["anchors"], seen["images"].sizes)
        return {"proposals": propose(spec, *given, training=True, convention=frame)}

    def sampling(self, seen: Seen) -> dict[str, Any]:
        draws = _copies(seen["draws"])
        rois, index, labels = self.model.sample_rois(seen["proposals"], seen["targets"], draws)
        label = torch.cat(labels)
        chosen = [(one > 0).nonzero()[:, 0] for one in labels]
        return {
            "rois": rois,
            "index": index,
            "label": label,
            "mask_label": self.model.mask_labels(label[label > 0]),
            "positives": [roi[c] for roi, c in zip(rois, chosen, strict=True)],
            "objects": [i[c] for i, c in zip(index, chosen, strict=True)],
        }

    def box_features(self, seen: Seen) -> dict[str, Any]:
        pooled = self.model.box_features(seen["pyramid"], seen["rois"])
        return {"box_pooled": pooled, "box_features": _cut(pooled)}

    def box_losses(self, seen: Seen) -> dict[str, Any]:
        matched = [
            target.boxes[i] if len(target) else roi.new_zeros(len(roi), 4)
            for target, i, roi in zip(seen["targets"], seen["index"], seen["rois"], strict=True)
        ]
        given = (*seen["classified"], seen["label"], torch.cat(seen["rois"]), torch.cat(matched))
        return {"box_losses": box_losses(self.model.config.box_head, *given)}

    def mask_features(self, seen: Seen) -> dict[str, Any]:
        if self.model.roi_trunk is not None:  # what the box branch has made serves masks as well
            return {"mask_features": seen["box_features"][seen["label"] > 0]}
        pooled = pooled_for_masks(self.model, seen["pyramid"], seen["positives"])
        return {"mask_pooled": pooled, "mask_features": _cut(pooled)}

    def mask_head(self, seen: Seen) -> dict[str, Any]:
        given = seen["positives"], seen["mask_label"], seen["mask_features"]
        return {"mask_logits": self.model.mask_logits(seen["pyramid"], *given)}

    def mask_loss(self, seen: Seen) -> dict[str, Any]:
        config = self.model.config
        frames = self.model.frames(seen["positives"])
        wanted = [
            config.mask_targets(target, i, roi, config.mask_size)
            for target, i, roi in zip(seen["targets"], seen["objects"], frames, strict=True)
        ]
        given = seen["mask_logits"], seen["mask_label"], torch.cat(wanted)
        return {"mask_losses": {"mask": config.mask_loss(*given)}}

    def mask_head_backward(self, seen: Seen) -> dict[str, Any]:
        at = "box_features" if self.model.roi_trunk is not None else "mask_features"
        found = self._gradients(seen["mask_losses"], [seen[at]], self.model.mask_head)
        return {"mask_gradient": found[0][0], "of_mask_head": found[1]}

    def box_head_backward(self, seen: Seen) -> dict[str, Any]:
        found = self._gradients(seen["box_losses"], [seen["box_features"]], self.model.box_head)
        return {"box_gradient": found[0][0], "of_box_head": found[1]}

    def rpn_backward(self, seen: Seen) -> dict[str, Any]:
        maps = seen["pyramid"].maps
        found = self._gradients(seen["rpn_losses"], maps, self.model.rpn)
        return {"rpn_gradients": found[0], "of_rpn": found[1]}

    def roi_backward(self, seen: Seen) -> dict[str, Any]:
        maps = seen["pyramid"].maps[: seen["pyramid"].roi_levels]
        if self.model.roi_trunk is not None:
            ends, given = [seen["box_pooled"]], [seen["box_gradient"] + seen["mask_gradient"]]
        else:
            ends = [seen["box_pooled"], seen["mask_pooled"]]
            given = [seen["box_gradient"], seen["mask_gradient"]]
        found = self._gradients(ends, maps, self.model.roi_trunk, given)
        return {"roi_gradients": found[0], "of_roi_trunk": found[1]}

    def backbone_backward(self, seen: Seen) -> dict[str, Any]:
        given = list(seen["rpn_gradients"])
        for i, gradient in enumerate(seen["roi_gradients"]):
            given[i] = given[i] + gradient
        return {
            "of_backbone": self._gradients(seen["built"].maps, [], self.model.backbone, given)[1]
        }

    def optimise(self, seen: Seen) -> dict[str, Any]:
        parts = "mask_head", "box_head", "rpn", "roi_trunk", "backbone"
        for part in parts:
            for parameter, gradient in seen[f"of_{part}"]:
                parameter.grad = gradient
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return {}

    def _gradients(
        self,
        ends: Any,
        inputs: Sequence[Tensor],
        part: nn.Module | None,
        given: list[Tensor] | None = None,
    ) -> tuple[list[Tensor], list[tuple[nn.Parameter, Tensor]]]:
        """Gradients of the inputs, and with them the part's parameters, of losses or from `given`
        gradients of what a part has made.
        """
        outputs = [torch.stack(list(ends.values())).sum()] if isinstance(ends, dict) else list(ends)
        trained = [p for p in part.parameters() if p.requires_grad] if part is not None else []
        found = torch.autograd.grad(
            outputs,
            [*inputs, *trained],
            given,
            retain_graph=self.retain,
            materialize_grads=True,
        )
        return list(found[: len(inputs)]), list(zip(trained, found[len(inputs) :], strict=True))


def training_step(
    model: MaskRCNN, config: TrainConfig, optimiser: torch.optim.Optimizer, given: Seen
) -> dict[str, Tensor]:
    """The whole of it in one piece, as `mrcnn.optimise` takes a step; returns the losses."""
    optimiser.zero_grad(set_to_none=True)
    images = model.images(given["given"])
    draws = [generator(given["seed"], "sampling", i) for i in range(len(given["targets"]))]
    losses = model.losses(images, given["targets"], draws)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    if config.clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimiser.step()
    return {name: value.detach() for name, value in losses.items()}


def _cut(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _copies(draws: Sequence[torch.Generator]) -> list[torch.Generator]:
    """Generators that will draw the same, so that a step that is repeated draws it again."""
    copies = [torch.Generator() for _ in draws]
    for copy, draw in zip(copies, draws, strict=True):
        copy.set_state(draw.get_state())
    return copies
