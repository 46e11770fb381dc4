"""How much arithmetic it takes to look at one image."""

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mrcnn.model import MaskRCNN
from mrcnn.structures import Images


@torch.no_grad()
def flops_g(model: MaskRCNN, image: Images) -> float:
    """Billions of floating point operations to predict in one image that fills every limit.

    image   a batch of one

    That is rpn.post_nms_test proposals and detection.limit detections, so that the number belongs
    to the configuration and the size of the image, not to what a trained network finds. Two for
    each multiplication and addition of convolutions and matrix products, as PyTorch counts them.
    Not counted: RoI layers, NMS, pasting, normalisation, activations, resizing.
    """
    config = model.config
    detections = config.detection.limit
    with FlopCounterMode(display=False) as counter:
        seen = model.rpn_pyramid(image)
        model.rpn(seen)
        pyramid = model.pyramid(image, seen)
    total = counter.get_total_flops()
    channels = pyramid.maps[0].shape[1]

    def features(side: int) -> Tensor:
        found = torch.zeros(1, channels, side, side, device=model.device)
        return model.roi_trunk(found) if model.roi_trunk is not None else found

    with FlopCounterMode(display=False) as counter:
        model.box_head(features(config.box_roi_size))
    total += config.rpn.post_nms_test * counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        if model.mask_head is not None:
            label = torch.ones(1, dtype=torch.long, device=model.device)
            shared = features(config.mask_roi_size)
            model.mask_logits(pyramid, [], label, shared)
        if model.keypoint_head is not None:
            model.keypoint_head(features(config.keypoint_roi_size))
    total += detections * counter.get_total_flops()
    return total / 1e9
