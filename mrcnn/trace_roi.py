"""The part of a trace about one RoI: bins, points, scores, refined box, mask, keypoints."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from mrcnn.box_head import column
from mrcnn.boxes import clip, corners
from mrcnn.roi_ops import JitteredRoIAlign
from mrcnn.sampling_points import Reading, reading
from mrcnn.stages import Stages
from mrcnn.structures import Detections
from mrcnn.trace_part import MOST_CELLS, Part

MARGIN = 3
"""Cells of the feature map that are shown around what a RoI reads."""


def focus_of(stages: Stages, found: Detections, detection: int) -> Part:
    """One RoI from its anchor to its mask: a detection's, or without any the nearest to one."""
    scores = stages.class_logits.softmax(1)
    if not len(stages.proposals):
        return Part({"focus": None})
    if len(found):
        candidate = int(stages.kept[detection])
        roi = int(stages.candidates.roi[candidate])
        label = int(stages.candidates.labels[candidate])
    else:
        flat = int(scores[:, 1:].argmax())
        roi, label = flat // (scores.shape[1] - 1), flat % (scores.shape[1] - 1) + 1
    of_class = column(torch.tensor([label]), stages.class_deltas.shape[1])
    deltas = stages.class_deltas[roi, of_class]
    decoded = stages.config.box_head.coder.decode(deltas, stages.proposals[roi][None])
    about = {
        "detection": detection if len(found) else None,
        "roi": roi,
        "label": label,
        "score": float(scores[roi, label]),
        "anchor": _anchor(stages, roi),
        "proposal": _left(stages, stages.proposals[roi]),
        "decoded": _left(stages, decoded[0]),
        "deltas": deltas[0].tolist(),
        "agnostic": stages.class_deltas.shape[1] == 1,
    }
    parts = [_layer(stages, "box", stages.proposals[roi], int(stages.roi_level[roi]))]
    if len(found):
        parts += [_mask(stages, found, detection), _pose(stages, found, detection)]
    arrays = {"focus_scores": scores[roi].numpy()}
    for part in parts:
        about |= part.about
        arrays |= part.arrays
    return Part({"focus": about}, arrays, [line for part in parts for line in part.cut])


def _anchor(stages: Stages, roi: int) -> dict[str, Any] | None:
    """The anchor that a proposal was decoded from, found by decoding them all."""
    config, proposal = stages.config, stages.proposals[roi]
    levels = zip(stages.deltas, stages.anchors, stages.read.strides, stages.logits, strict=True)
    for deltas, anchors, stride, logits in levels:
        boxes = clip(
            config.rpn.coder.decode(deltas, anchors), stages.images.sizes[0], config.box_convention
        )
        same = (boxes == proposal).all(1).nonzero()[:, 0]
        if len(same):
            best = int(same[logits[same].argmax()])
            objectness = float(logits[best].sigmoid())
            box = _left(stages, anchors[best])
            return {"box": box, "stride": stride, "objectness": objectness}
    return None


def _layer(stages: Stages, branch: str, box: Float[Tensor, " 4"], level: int) -> Part:
    """Where the RoI layer of a branch reads a box, over the strength of the features there."""
    config, map_ = stages.config, stages.pyramid.maps[level][0].float()
    sizes = {
        "box": config.box_roi_size,
        "mask": config.mask_roi_size,
        "keypoint": config.keypoint_roi_size,
    }
    size = sizes[branch]
    stride, (height, width) = stages.pyramid.strides[level], map_.shape[-2:]
    frame = corners(box, config.box_convention)
    read = reading(
        config.roi_op, frame, output_size=size, spatial_scale=1 / stride, size=(height, width)
    )
    cells = np.array([[x1, y1, x2, y2] for y1, y2 in read.rows for x1, x2 in read.columns])
    points = [
        (*point, row * size + place)
        for row in range(size)
        for place in range(size)
        for point in read.points(row, place)
    ]
    at = np.array(points, np.float64).reshape(-1, 3)
    crop, start = _crop(cells, height, width)
    strength = map_.square().mean(0).sqrt()[crop]
    step = -(-max(strength.shape) // MOST_CELLS)
    edges = [start[0], start[1], start[0] + strength.shape[1], start[1] + strength.shape[0]]
    cut = [f"features of the {branch} branch: every {step}th cell"] * (step > 1)
    if isinstance(config.roi_op, JitteredRoIAlign):
        cut.append(f"points of the {branch} branch: those drawn for an image's first box")
    about = {
        "level": level,
        "stride": stride,
        "bins": size,
        "extent": _left(stages, torch.tensor(edges) * float(stride)),
        "frame": _left(stages, frame),
        "reading": _words(read),
    }
    arrays = {
        f"{branch}_bins": _cells_left(stages, cells, stride),
        f"{branch}_points": _cells_left(stages, at[:, [0, 1, 0, 1]], stride)[:, :2],
        f"{branch}_point_bin": at[:, 2].astype(np.int32),
        f"{branch}_features": strength[::step, ::step].to(torch.float16).numpy(),
    }
    return Part({f"{branch}_layer": about}, arrays, cut)


def _words(read: Reading) -> str:
    """What the points of a layer are."""
    counts = {
        len(read.points(i, j)) for i in range(len(read.rows)) for j in range(len(read.columns))
    }
    least, most = min(counts), max(counts)
    return f"{most} a bin" if least == most else f"{least} to {most} a bin"


def _crop(
    cells: NDArray[np.float64], height: int, width: int
) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """The cells around some bins, inside the map, and the first of them, x before y."""
    low = np.floor(cells.min(0)) - MARGIN
    high = np.ceil(cells.max(0)) + MARGIN
    x1, y1 = int(np.clip(low[0], 0, width - 1)), int(np.clip(low[1], 0, height - 1))
    x2, y2 = int(np.clip(high[2], x1 + 1, width)), int(np.clip(high[3], y1 + 1, height))
    return (slice(y1, y2), slice(x1, x2)), (x1, y1)


def _mask(stages: Stages, found: Detections, detection: int) -> Part:
    """The logits of a detection's mask, and what they become."""
    if stages.mask_logits is None or found.mask_probabilities is None:
        return Part({"mask": None})
    logits, labels = stages.mask_logits
    classes = logits.shape[1] - (1 if stages.config.mask_loss.competing else 0)
    channel = int(column(labels[detection][None], classes))
    level = int(stages.final_level[detection])
    layer = _layer(stages, "mask", stages.final_boxes[detection], level)
    about = {
        "label": int(labels[detection]),
        "competing": stages.config.mask_loss.competing,
        "agnostic": stages.config.class_agnostic_masks,
        "threshold": stages.config.paste.threshold,
        "paste": stages.config.paste.method,
    }
    arrays = {
        "mask_logits": logits[detection, channel].numpy(),
        "mask_probabilities": found.mask_probabilities[detection].numpy(),
    }
    return Part({"mask": about, **layer.about}, layer.arrays | arrays, layer.cut)


def _pose(stages: Stages, found: Detections, detection: int) -> Part:
    """The heat maps of a detection's keypoints."""
    if stages.keypoint_logits is None or found.keypoints is None:
        return Part({"keypoints": None})
    level = int(stages.final_level[detection])
    layer = _layer(stages, "keypoint", stages.final_boxes[detection], level)
    maps = stages.keypoint_logits[detection].flatten(1).softmax(1)
    about = {
        "count": len(maps),
        "score": stages.config.keypoint_decode.score,
        "points": found.keypoints[detection].tolist(),
    }
    heat = maps.view_as(stages.keypoint_logits[detection]).to(torch.float32).numpy()
    arrays = layer.arrays | {"keypoint_maps": heat}
    return Part({"keypoints": about, **layer.about}, arrays, layer.cut)


def _left(stages: Stages, box: Float[Tensor, " 4"]) -> list[float]:
    """One box of the network's input in pixels of the image."""
    return stages.seen.left(box[None])[0].tolist()  # type: ignore[no-any-return]


def _cells_left(stages: Stages, cells: NDArray[np.float64], stride: int) -> NDArray[np.float32]:
    """Boxes in cells of a level in pixels of the image."""
    boxes = torch.from_numpy(cells) * float(stride)
    return stages.seen.left(boxes).to(torch.float32).numpy()  # type: ignore[no-any-return]
