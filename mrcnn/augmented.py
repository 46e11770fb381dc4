"""Detection in several views of each image, their boxes and masks brought together."""

from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mrcnn.config import EvaluateConfig
from mrcnn.detection import Detection, HardNMS
from mrcnn.model import MaskRCNN
from mrcnn.structures import Detections
from mrcnn.views import TestTimeAugmentation, View


@torch.no_grad()
def predict_augmented(
    model: MaskRCNN, image: Shaped[Tensor, "3 h w"], evaluation: EvaluateConfig
) -> Detections:
    """Detections of one image in its own pixels, masks not yet pasted.

    Boxes first, in all views; then the features of each view once more for the masks, so that only
    one view is held at a time. Raises ValueError for a network with keypoints.
    """
    augment = evaluation.augment
    assert augment is not None
    if model.config.keypoint_head is not None:
        raise ValueError("evaluate.augment works for boxes and masks; set model.keypoint_head=None")
    views = augment.views(image.float(), evaluation.transforms)
    gathered = [boxes_of_view(model, view, augment) for view in views]
    found = suppressed(model.config.detection, gathered)
    if model.mask_head is None:
        return found
    seen = [masks_in(model, view, found) for view in (views if len(found) else views[:1])]
    return replace(found, mask_probabilities=augment.merged(torch.stack(seen)))


def boxes_of_view(model: MaskRCNN, view: View, augment: TestTimeAugmentation) -> Detections:
    """What a view adds to the boxes to choose from, in the original's pixels."""
    images = model.images([view.image])
    detection = model.config.detection
    if augment.gather == "candidates":
        # no IoU is above 1, so this drops nothing
        detection = replace(detection, nms_iou=1.0, suppression=HardNMS(), limit=2**31 - 1)
    pyramid, proposals = model.proposed(images)
    found = model.detect(pyramid, proposals, images.sizes, detection)[0]
    return replace(found, boxes=view.left(found.boxes))


def suppressed(detection: Detection, gathered: list[Detections]) -> Detections:
    """The boxes of all views after class-wise NMS and the limit, best first."""
    boxes, labels, scores = (
        torch.cat([getattr(one, name) for one in gathered])
        for name in ("boxes", "labels", "scores")
    )
    kept, scores = detection.suppression(
        boxes, scores, labels, iou_threshold=detection.nms_iou, limit=detection.limit
    )
    return Detections(boxes[kept], labels[kept], scores)


def masks_in(model: MaskRCNN, view: View, found: Detections) -> Float[Tensor, "n m m"]:
    """The masks of detections of the original as a view shows them, turned back."""
    pyramid = model.backbone(model.images([view.image]).pixels)
    seen = model.detect_masks(pyramid, [replace(found, boxes=view.entered(found.boxes))])[0]
    masks = seen.mask_probabilities
    assert masks is not None
    return masks.flip(2) if view.flip else masks
