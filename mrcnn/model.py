"""Mask R-CNN, put together: `losses` to train it, `predict` to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

import kernels
from mrcnn.backbone import RES5
from mrcnn.box_head import box_losses
from mrcnn.config import ModelConfig
from mrcnn.loading import load_weights
from mrcnn.matching import sample
from mrcnn.roi_ops import roi_features
from mrcnn.rpn import propose, rpn_losses
from mrcnn.seeds import seeded
from mrcnn.structures import Detections, Images, Pyramid, Targets, normalised


class MaskRCNN(nn.Module):
    """The network of a `ModelConfig`. Equal configs and seeds give equal weights, part by part:
    changing one part leaves the initial weights of the others as they were.
    """

    def __init__(
        self,
        config: ModelConfig,
        seed: int = 0,
        trunk_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        trunk = seeded(seed, "trunk", config.backbone.trunk.build)
        if trunk_weights is not None:
            load_weights(trunk, trunk_weights, "the trunk's initial weights")
        res5 = trunk.stages[RES5]  # a backbone drops the stages that it does not read
        self.backbone = seeded(seed, "backbone", lambda: config.backbone.build(trunk))
        levels, rows = len(self.backbone.strides), len(config.rpn.anchors.sizes)
        if levels != rows:
            raise ValueError(
                f"{levels} pyramid levels need as many rows of anchor sizes, got {rows}"
            )
        self.roi_trunk = config.roi_trunk.build(res5) if config.roi_trunk else None
        channels = trunk.channels[RES5] if self.roi_trunk else self.backbone.channels
        k = config.num_classes
        self.rpn = seeded(seed, "rpn", lambda: config.rpn.build(self.backbone.channels))
        self.box_head = seeded(seed, "box head", lambda: config.box_head.build(channels, k))
        self.mask_head: nn.Module | None = None
        if head := config.mask_head:
            masks = config.mask_loss.channels(1 if config.class_agnostic_masks else k)
            side = config.mask_size // 2
            self.mask_head = seeded(seed, "mask head", lambda: head.build(channels, masks, side))

    def images(self, pixels: list[Shaped[Tensor, "3 _h _w"]]) -> Images:
        """RGB images of 0 .. 255, of any sizes, as the batch this network reads."""
        return normalised(pixels, self.config.pixel_mean, self.config.pixel_std, self.device)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def losses(
        self, images: Images, targets: list[Targets], generators: Sequence[torch.Generator]
    ) -> dict[str, Float[Tensor, ""]]:
        """Each term of the training loss by name; their sum is what is minimised.

        generators   one per image, on the CPU: each draws which of its image's anchors and RoIs are
                     looked at, whatever batch the image is in

        Source: He et al. 2017, sec. 3: L = L_cls + L_box + L_mask, plus the RPN's two.
        """
        pyramid = self.backbone(images.pixels)
        logits, deltas = self.rpn(pyramid)
        anchors = self.config.rpn.anchors(pyramid)
        losses = rpn_losses(self.config.rpn, logits, deltas, anchors, targets, generators)
        proposals = propose(self.config.rpn, logits, deltas, anchors, images.sizes, training=True)
        rois, index, labels = self.sample_rois(proposals, targets, generators)
        return losses | self.roi_losses(pyramid, rois, index, labels, targets)

    def sample_rois(
        self,
        proposals: list[Tensor],
        targets: list[Targets],
        generators: Sequence[torch.Generator],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Per image: the RoIs to train on, positives first, the object of each, and its label."""
        config = self.config
        rois, index, labels = [], [], []
        for boxes, target, generator in zip(proposals, targets, generators, strict=True):
            if config.add_ground_truth:
                boxes = torch.cat([boxes, target.boxes])
            match = config.roi_matching(kernels.box_iou(target.boxes, boxes))
            positive, negative = sample(
                match.state, config.rois_per_image, config.positive_fraction, generator
            )
            chosen = torch.cat([positive, negative])
            rois.append(boxes[chosen])
            index.append(match.index[chosen])
            background = torch.zeros_like(negative)
            labels.append(torch.cat([target.labels[match.index[positive]], background]))
        return rois, index, labels

    def roi_losses(
        self,
        pyramid: Pyramid,
        rois: list[Float[Tensor, "_r 4"]],
        index: list[Int[Tensor, " _r"]],
        labels: list[Int[Tensor, " _r"]],
        targets: list[Targets],
    ) -> dict[str, Float[Tensor, ""]]:
        """The losses of the box and the mask branch on given RoIs."""
        label = torch.cat(labels)
        matched = [
            target.boxes[i] if len(target) else roi.new_zeros(len(roi), 4)
            for target, i, roi in zip(targets, index, rois, strict=True)
        ]
        features = self.box_features(pyramid, rois)
        logits, deltas = self.box_head(features)
        beta = self.config.box_head.beta
        losses = box_losses(logits, deltas, label, torch.cat(rois), torch.cat(matched), beta)
        if self.mask_head is None:
            return losses
        chosen = [(one > 0).nonzero()[:, 0] for one in labels]
        positives = [roi[c] for roi, c in zip(rois, chosen, strict=True)]
        objects = [i[c] for i, c in zip(index, chosen, strict=True)]
        shared = features[label > 0] if self.roi_trunk is not None else None
        found = self.mask_logits(pyramid, positives, shared)
        wanted = [
            self.config.mask_targets(target.masks, i, roi, self.config.mask_size)
            for target, i, roi in zip(targets, objects, positives, strict=True)
        ]
        mask_label = self.mask_labels(label[label > 0])
        losses["mask"] = self.config.mask_loss(found, mask_label, torch.cat(wanted))
        return losses

    @torch.no_grad()
    def predict(self, images: Images) -> list[Detections]:
        """Detections of each image, in the pixels of `images`, masks not yet pasted."""
        pyramid = self.backbone(images.pixels)
        logits, deltas = self.rpn(pyramid)
        anchors = self.config.rpn.anchors(pyramid)
        proposals = propose(self.config.rpn, logits, deltas, anchors, images.sizes, training=False)
        return self.detect_masks(pyramid, self.detect(pyramid, proposals, images.sizes))

    def detect(
        self, pyramid: Pyramid, proposals: list[Tensor], sizes: tuple[tuple[int, int], ...]
    ) -> list[Detections]:
        """Classified and refined boxes from proposals, image by image."""
        logits, deltas = self.box_head(self.box_features(pyramid, proposals))
        counts = [len(boxes) for boxes in proposals]
        parts = zip(logits.split(counts), deltas.split(counts), proposals, sizes, strict=True)
        return [self.config.detection(*part) for part in parts]

    def detect_masks(self, pyramid: Pyramid, found: list[Detections]) -> list[Detections]:
        """The same detections with the mask of each one's class, seen in its final box."""
        if self.mask_head is None:
            return found
        labels = self.mask_labels(torch.cat([one.labels for one in found]))
        logits = self.mask_logits(pyramid, [one.boxes for one in found], None)
        masks = self.config.mask_loss.probabilities(logits, labels)
        parts = masks.split([len(one) for one in found])
        return [
            replace(one, mask_probabilities=part) for one, part in zip(found, parts, strict=True)
        ]

    def box_features(self, pyramid: Pyramid, boxes: list[Tensor]) -> Float[Tensor, "r c s s"]:
        """RoI features as the box head reads them, through res5 where RoIs run it."""
        features = self._pool(pyramid, boxes, self.config.box_roi_size)
        return self.roi_trunk(features) if self.roi_trunk is not None else features

    def mask_logits(
        self, pyramid: Pyramid, boxes: list[Tensor], shared: Tensor | None
    ) -> Float[Tensor, "r k m m"]:
        """Mask logits of boxes; `shared` are their res5 features where those are already there."""
        assert self.mask_head is not None
        if shared is not None:
            return self.mask_head(shared).float()
        features = self._pool(pyramid, boxes, self.config.mask_roi_size)
        features = self.roi_trunk(features) if self.roi_trunk is not None else features
        return self.mask_head(features).float()

    def mask_labels(self, labels: Int[Tensor, " r"]) -> Int[Tensor, " r"]:
        """The mask channel's label: the class, or 1 for all when masks are class-agnostic."""
        return torch.ones_like(labels) if self.config.class_agnostic_masks else labels

    def _pool(self, pyramid: Pyramid, boxes: list[Tensor], size: int) -> Tensor:
        side = self.config.canonical_side
        return roi_features(pyramid, boxes, self.config.roi_op, size, side)
