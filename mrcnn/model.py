"""Mask R-CNN, put together: `losses` to train it, `predict` to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

import kernels
from mrcnn.box_head import box_losses
from mrcnn.boxes import corners
from mrcnn.config import ModelConfig
from mrcnn.detection import Detection
from mrcnn.keypoint_rois import drawn, keypoints_of, posed_positives
from mrcnn.loading import load_weights
from mrcnn.mask_head import own_logits
from mrcnn.matching import sample
from mrcnn.optimise import Stage
from mrcnn.roi_ops import as_rois, roi_features, roi_levels
from mrcnn.rpn import propose, rpn_losses
from mrcnn.seeds import seeded
from mrcnn.structures import Detections, Images, Pyramid, Targets
from mrcnn.trunk import RES5


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
        self.rpn_backbone: nn.Module | None = None
        if config.rpn_features == "separate":
            own = seeded(seed, "rpn trunk", config.backbone.trunk.build)
            if trunk_weights is not None:
                load_weights(own, trunk_weights, "the trunk's initial weights")
            self.rpn_backbone = seeded(seed, "rpn backbone", lambda: config.backbone.build(own))
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
            side = config.mask_features_size
            self.mask_head = seeded(seed, "mask head", lambda: head.build(channels, masks, side))
        self.keypoint_head: nn.Module | None = None
        if pose := config.keypoint_head:
            points = config.num_keypoints
            self.keypoint_head = seeded(seed, "keypoint head", lambda: pose.build(channels, points))

    def images(self, pixels: list[Shaped[Tensor, "3 _h _w"]]) -> Images:
        """RGB images of 0 .. 255, of any sizes, as the batch this network reads."""
        return self.config.pixels(pixels, self.device)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def losses(
        self,
        images: Images,
        targets: list[Targets],
        generators: Sequence[torch.Generator],
        stage: Stage = "joint",
    ) -> dict[str, Float[Tensor, ""]]:
        """Each term of the training loss by name; their sum is what is minimised.

        generators   one per image, on the CPU: each draws which of its image's anchors and RoIs are
                     looked at, whatever batch the image is in
        stage        "rpn": its two terms alone; "detector": the others, with the RPN constant

        Source: He et al. 2017, sec. 3: L = L_cls + L_box + L_mask, plus the RPN's two; with a
        keypoint branch plus its own (sec. 5, "Multi-task").
        """
        losses: dict[str, Tensor] = {}
        seen = None
        if stage == "detector":
            proposals = self.settled_proposals(images)
        else:
            seen, logits, deltas, anchors = self.scored_anchors(images)
            spec, sizes, frame = self.config.rpn, images.sizes, self.config.box_convention
            losses = rpn_losses(spec, logits, deltas, anchors, targets, generators, sizes, frame)
            if stage == "rpn":
                return losses
            proposals = propose(
                spec, logits, deltas, anchors, sizes, training=True, convention=frame
            )
        pyramid = replace(self.pyramid(images, seen), generators=generators)
        rois, index, labels = self.sample_rois(proposals, targets, generators)
        posed = None
        if self.keypoint_head is not None and self.config.keypoint_loss.rois == "own draw":
            posed = drawn(self.config, proposals, targets, generators)
        return losses | self.roi_losses(pyramid, rois, index, labels, targets, posed)

    def rpn_pyramid(self, images: Images) -> Pyramid:
        """What the RPN reads: the detector's maps, or those of a backbone of its own."""
        backbone = self.backbone if self.rpn_backbone is None else self.rpn_backbone
        return backbone(images.pixels)  # type: ignore[no-any-return]

    def scored_anchors(
        self, images: Images
    ) -> tuple[Pyramid, list[Tensor], list[Tensor], list[Tensor]]:
        """What the RPN reads, and level by level its logits, its deltas and their anchors."""
        seen = self.rpn_pyramid(images)
        logits, deltas = self.rpn(seen)
        return seen, logits, deltas, self.config.rpn.anchors(seen)

    def pyramid(self, images: Images, seen: Pyramid | None) -> Pyramid:
        """What the RoIs read: what the RPN has `seen`, where they share features."""
        shared = seen is not None and self.rpn_backbone is None
        return seen if shared else self.backbone(images.pixels)  # type: ignore[return-value]

    @torch.no_grad()
    def settled_proposals(self, images: Images) -> list[Tensor]:
        """Training proposals of an RPN that is constant, its statistics included."""
        for part in (self.rpn, self.rpn_backbone):
            if part is not None:
                part.eval()
        _, logits, deltas, anchors = self.scored_anchors(images)
        spec, frame = self.config.rpn, self.config.box_convention
        return propose(spec, logits, deltas, anchors, images.sizes, training=True, convention=frame)

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
                match.state,
                config.rois_per_image,
                config.positive_fraction,
                generator,
                fill=config.fill_negatives,
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
        posed: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The losses of the box, mask and keypoint branch on given RoIs.

        posed   RoIs of the keypoint branch alone, and the object of each; None: the positives
        """
        label = torch.cat(labels)
        matched = [
            target.boxes[i] if len(target) else roi.new_zeros(len(roi), 4)
            for target, i, roi in zip(targets, index, rois, strict=True)
        ]
        features = self.box_features(pyramid, rois)
        logits, deltas = self.box_head(features)
        head = self.config.box_head
        losses = box_losses(head, logits, deltas, label, torch.cat(rois), torch.cat(matched))
        if self.keypoint_head is not None:
            posed = posed or posed_positives(self.config, rois, index, labels, targets)
            losses["keypoint"] = self.keypoint_loss(pyramid, *posed, targets)
        if self.mask_head is None:
            return losses
        chosen = [(one > 0).nonzero()[:, 0] for one in labels]
        positives = [roi[c] for roi, c in zip(rois, chosen, strict=True)]
        objects = [i[c] for i, c in zip(index, chosen, strict=True)]
        shared = features[label > 0] if self.roi_trunk is not None else None
        mask_label = self.mask_labels(label[label > 0])
        found = self.mask_logits(pyramid, positives, mask_label, shared)
        wanted = [
            self.config.mask_targets(target, i, roi, self.config.mask_size)
            for target, i, roi in zip(targets, objects, self.frames(positives), strict=True)
        ]
        losses["mask"] = self.config.mask_loss(found, mask_label, torch.cat(wanted))
        return losses

    @torch.no_grad()
    def predict(self, images: Images) -> list[Detections]:
        """Detections of each image, in the pixels of `images`, masks not yet pasted."""
        pyramid, proposals = self.proposed(images)
        found = self.detect(pyramid, proposals, images.sizes)
        return self.detect_keypoints(pyramid, self.detect_masks(pyramid, found))

    def proposed(self, images: Images) -> tuple[Pyramid, list[Tensor]]:
        """The features of a batch, and the proposals in each image, as prediction has them."""
        seen, logits, deltas, anchors = self.scored_anchors(images)
        spec, frame = self.config.rpn, self.config.box_convention
        proposals = propose(
            spec, logits, deltas, anchors, images.sizes, training=False, convention=frame
        )
        return self.pyramid(images, seen), proposals

    def classified(
        self, pyramid: Pyramid, boxes: list[Tensor]
    ) -> tuple[Float[Tensor, "r k1"], Float[Tensor, "r b 4"]]:
        """Class logits, background first, and deltas of the boxes of all images."""
        logits, deltas = self.box_head(self.box_features(pyramid, boxes))
        return logits, deltas

    def detect(
        self,
        pyramid: Pyramid,
        proposals: list[Tensor],
        sizes: tuple[tuple[int, int], ...],
        detection: Detection | None = None,
    ) -> list[Detections]:
        """Classified and refined boxes from proposals, image by image.

        detection   in place of the configured one
        """
        detection = detection or self.config.detection
        logits, deltas = self.classified(pyramid, proposals)
        counts = [len(boxes) for boxes in proposals]
        parts = zip(logits.split(counts), deltas.split(counts), proposals, sizes, strict=True)
        coder, frame = self.config.box_head.coder, self.config.box_convention
        return [detection(*part, coder, frame) for part in parts]

    def detect_masks(self, pyramid: Pyramid, found: list[Detections]) -> list[Detections]:
        """The same detections with the mask of each one's class, seen in its final box."""
        if self.mask_head is None:
            return found
        logits, labels = self.final_mask_logits(pyramid, found)
        masks = self.config.mask_loss.probabilities(logits, labels)
        parts = masks.split([len(one) for one in found])
        return [
            replace(one, mask_probabilities=part) for one, part in zip(found, parts, strict=True)
        ]

    def final_mask_logits(
        self, pyramid: Pyramid, found: list[Detections]
    ) -> tuple[Float[Tensor, "r k m m"], Int[Tensor, " r"]]:
        """The mask logits of all detections, and the labels that they are read by."""
        labels = self.mask_labels(torch.cat([one.labels for one in found]))
        return self.mask_logits(pyramid, [one.boxes for one in found], labels, None), labels

    def box_features(self, pyramid: Pyramid, boxes: list[Tensor]) -> Float[Tensor, "r c s s"]:
        """RoI features as the box head reads them, through res5 where RoIs run it."""
        features = self._pool(pyramid, boxes, self.config.box_roi_size)
        return self.roi_trunk(features) if self.roi_trunk is not None else features

    def mask_logits(
        self,
        pyramid: Pyramid,
        boxes: list[Tensor],
        labels: Int[Tensor, " r"],
        shared: Tensor | None,
    ) -> Float[Tensor, "r k m m"]:
        """Mask logits of boxes, of their label alone where classes do not compete.

        shared   res5 features of the boxes where those are already there
        """
        assert self.mask_head is not None
        features = shared
        if features is None:
            features = self._pool(pyramid, boxes, self.config.mask_roi_size)
            features = self.roi_trunk(features) if self.roi_trunk is not None else features
        if self.config.mask_loss.competing:
            return self.mask_head(features).float()
        return own_logits(self.mask_head, features, labels).float()

    def keypoint_loss(
        self, pyramid: Pyramid, rois: list[Tensor], index: list[Tensor], targets: list[Targets]
    ) -> Float[Tensor, ""]:
        """The loss of the keypoint branch on RoIs that show the objects at `index`."""
        config, count = self.config, self.config.num_keypoints
        wanted = [
            keypoints_of(target.keypoints, i, count)
            for target, i in zip(targets, index, strict=True)
        ]
        possible = len(targets) * config.rois_per_image * config.positive_fraction * count
        logits = self.keypoint_logits(pyramid, rois)
        frames = torch.cat(self.frames(rois))
        return config.keypoint_loss(logits, torch.cat(wanted), frames, possible)

    def keypoint_logits(self, pyramid: Pyramid, boxes: list[Tensor]) -> Float[Tensor, "r p m m"]:
        """A heat map for each keypoint of each box."""
        assert self.keypoint_head is not None
        features = self._pool(pyramid, boxes, self.config.keypoint_roi_size)
        features = self.roi_trunk(features) if self.roi_trunk is not None else features
        return self.keypoint_head(features).float()

    def detect_keypoints(self, pyramid: Pyramid, found: list[Detections]) -> list[Detections]:
        """The same detections with keypoints, seen in their final boxes."""
        if self.keypoint_head is None:
            return found
        boxes = [one.boxes for one in found]
        maps = self.keypoint_logits(pyramid, boxes).split([len(one) for one in found])
        decode = self.config.keypoint_decode
        return [
            replace(one, keypoints=decode(part, frame))
            for one, part, frame in zip(found, maps, self.frames(boxes), strict=True)
        ]

    def mask_labels(self, labels: Int[Tensor, " r"]) -> Int[Tensor, " r"]:
        """The mask channel's label: the class, or 1 for all when masks are class-agnostic."""
        return torch.ones_like(labels) if self.config.class_agnostic_masks else labels

    def roi_levels(self, pyramid: Pyramid, boxes: list[Tensor]) -> Int[Tensor, " r"]:
        """Index of the level that each box is read from."""
        rois = as_rois(self.frames(boxes))
        return roi_levels(pyramid, rois, self.config.canonical_side, self.config.levels)

    def _pool(self, pyramid: Pyramid, boxes: list[Tensor], size: int) -> Tensor:
        config, frames = self.config, self.frames(boxes)
        side, levels = config.canonical_side, config.levels
        return roi_features(pyramid, frames, config.roi_op, size, side, levels)

    def frames(self, boxes: list[Tensor]) -> list[Tensor]:
        """Boxes as RoI layers, mask targets and keypoints read them: see `BoxConvention`."""
        return [corners(one, self.config.box_convention) for one in boxes]
