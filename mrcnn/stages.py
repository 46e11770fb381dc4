"""One prediction, stage by stage: what each of the model's own functions handed to the next."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mrcnn.config import ModelConfig, Trial
from mrcnn.detection import Candidates
from mrcnn.model import MaskRCNN
from mrcnn.precision import float32_products
from mrcnn.structures import Images, Pyramid
from mrcnn.views import View, view


@dataclass(frozen=True)
class Stages:
    """The stages of `MaskRCNN.predict` for one image, on the CPU, in the network's pixels.

    read              the maps that the RPN reads, logits and deltas of their anchors, by level
    pyramid           the maps that RoIs read
    roi_level         of each proposal
    class_logits, class_deltas   of each proposal
    candidates, kept  (RoI, class) pairs before NMS, and which of them are detections, best first
    final_level       of each detection, whose mask and keypoints are read there
    mask_logits       of each detection, with the label that they are read by; None without masks
    keypoint_logits   of each detection
    """

    config: ModelConfig
    seen: View
    images: Images
    read: Pyramid
    logits: list[Float[Tensor, " _a"]]
    deltas: list[Float[Tensor, "_a 4"]]
    anchors: list[Float[Tensor, "_a 4"]]
    pyramid: Pyramid
    proposals: Float[Tensor, "p 4"]
    roi_level: Int[Tensor, " p"]
    class_logits: Float[Tensor, "p k1"]
    class_deltas: Float[Tensor, "p b 4"]
    candidates: Candidates
    kept: Int[Tensor, " d"]
    final_level: Int[Tensor, " d"]
    mask_logits: tuple[Float[Tensor, "d k m m"], Int[Tensor, " d"]] | None
    keypoint_logits: Float[Tensor, "d q n n"] | None

    @property
    def final_boxes(self) -> Float[Tensor, "d 4"]:
        """The boxes of the detections."""
        return self.candidates.boxes[self.kept]


@torch.no_grad()
def stages_of(model: MaskRCNN, trial: Trial, image: Shaped[Tensor, "3 h w"]) -> Stages:
    """Run the stages on an image (RGB, 0 .. 255), as `detect` would.

    Raises ValueError for a trial that looks at an image in several views.
    """
    if trial.evaluate.augment is not None:
        raise ValueError(
            "evaluate.augment looks at an image in several views, of which a trace shows one: "
            "set evaluate.augment=None"
        )
    training = model.training
    model.eval()
    try:
        with float32_products("ieee"):
            return _run(model, view(image.float(), trial.evaluate.transforms))
    finally:
        model.train(training)


def _run(model: MaskRCNN, seen: View) -> Stages:
    config = model.config
    images = model.images([seen.image])
    read, logits, deltas, anchors = model.scored_anchors(images)
    pyramid, proposals = model.proposed(images)
    class_logits, class_deltas = model.classified(pyramid, proposals)
    coder, frame = config.box_head.coder, config.box_convention
    found = config.detection.candidates_of(
        class_logits, class_deltas, proposals[0], images.sizes[0], coder, frame
    )
    kept, _ = config.detection.survivors(found)
    final = model.detect(pyramid, proposals, images.sizes)
    boxes = [one.boxes for one in final]
    masks = model.final_mask_logits(pyramid, final) if model.mask_head is not None else None
    poses = model.keypoint_logits(pyramid, boxes) if model.keypoint_head is not None else None
    return Stages(
        config=config,
        seen=seen,
        images=Images(images.pixels.cpu(), images.sizes),
        read=_on_cpu(read),
        logits=[one[0].cpu() for one in logits],
        deltas=[one[0].cpu() for one in deltas],
        anchors=[one.cpu() for one in anchors],
        pyramid=_on_cpu(pyramid),
        proposals=proposals[0].cpu(),
        roi_level=model.roi_levels(pyramid, proposals).cpu(),
        class_logits=class_logits.cpu(),
        class_deltas=class_deltas.cpu(),
        candidates=Candidates(**{name: value.cpu() for name, value in vars(found).items()}),
        kept=kept.cpu(),
        final_level=model.roi_levels(pyramid, boxes).cpu(),
        mask_logits=masks and (masks[0].cpu(), masks[1].cpu()),
        keypoint_logits=None if poses is None else poses.cpu(),
    )


def _on_cpu(pyramid: Pyramid) -> Pyramid:
    maps = tuple(one.cpu() for one in pyramid.maps)
    return Pyramid(maps, pyramid.strides, pyramid.roi_levels, pyramid.size)
