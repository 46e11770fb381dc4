"""Every stage of one image's way through the detector, as plain data that can be drawn.

All boxes and points of a trace are in pixels of the image, whatever size the network saw it in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import kernels
from mrcnn.atomic import replaced, write_arrays, write_json
from mrcnn.config import Trial
from mrcnn.data.annotations import encode_mask
from mrcnn.evaluate import detect
from mrcnn.model import MaskRCNN
from mrcnn.spec import plain
from mrcnn.stages import Stages, stages_of
from mrcnn.structures import Detections, Targets
from mrcnn.trace_anchors import anchors_of, input_of, proposals_of
from mrcnn.trace_part import EVERY, MOST_BOXES, MOST_PIXELS, Part, joined, shrunk
from mrcnn.trace_roi import focus_of

FORMAT = "mrcnn-trace 1"


@dataclass(frozen=True)
class Trace:
    """What a trace folder holds: trace.json, arrays.npz and image.png.

    about    everything that is not an array, ready for JSON
    image    the picture, at most MOST_PIXELS a side; boxes speak of the full size all the same
    found    the final detections, as `detect` gives them
    """

    about: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    image: NDArray[np.uint8]
    found: Detections = field(repr=False)

    def save(self, folder: Path) -> None:
        """Write the folder; trace.json comes last, so that it is there only with the rest."""
        write_arrays(folder / "arrays.npz", self.arrays)
        with replaced(folder / "image.png") as draft:
            Image.fromarray(self.image).save(draft, "PNG")
        write_json(folder / "trace.json", dict(self.about))


def trace(
    model: MaskRCNN,
    trial: Trial,
    image: Shaped[Tensor, "3 h w"],
    targets: Targets | None = None,
    *,
    detection: int = 0,
    shown: int | None = None,
    classes: tuple[str, ...] = (),
    source: Mapping[str, Any] | None = None,
) -> Trace:
    """The stages of one prediction, from the functions that predict with, and what they dropped.

    image       RGB, 0 .. 255
    targets     the image's objects, in its pixels: then anchors and proposals are matched to them
    detection   the one whose RoI, mask and keypoints are shown, 0 the best; without detections it
                is the proposal that came nearest to being one
    shown       instead of `detection`: the object that is followed, by the detection that overlaps
                it most, so that two networks can be seen to read the same thing
    source      what the page says of where image and weights come from

    Raises ValueError if there is no such detection or object.
    """
    stages = stages_of(model, trial, image)
    found = detect(model, [image], trial)[0]
    agree(stages, found)
    if shown is not None:
        detection = over(found, targets, shown)
    if detection and detection >= len(found):
        raise ValueError(f"detection must be below {len(found)}, got {detection}")
    size = [image.shape[1], image.shape[2]]
    picture = shrunk(image.to(torch.uint8), MOST_PIXELS)
    parts = [input_of(stages), anchors_of(stages, targets), proposals_of(stages, targets)]
    parts += [final_of(stages, found), focus_of(stages, found, detection)]
    about, arrays = joined(parts)
    about |= {
        "format": FORMAT,
        "source": dict(source or {}),
        "classes": list(classes or (f"class {i + 1}" for i in range(trial.model.num_classes))),
        "size": size,
        "transforms": plain(trial.evaluate.transforms),
        "model": plain(trial.model),
    }
    if picture.shape[:2] != tuple(size):
        about["cut"].append(f"the picture is drawn {picture.shape[1]} x {picture.shape[0]}")
    return Trace(about, arrays, picture, found)


def over(found: Detections, targets: Targets | None, shown: int) -> int:
    """The detection that overlaps an object most; 0 if there is none.

    Raises ValueError if there is no such object.
    """
    count = 0 if targets is None else len(targets)
    if targets is None or not 0 <= shown < count:
        raise ValueError(f"--object must be below {count}, the objects that are known, got {shown}")
    if not len(found):
        return 0
    return int(kernels.box_iou(targets.boxes[shown][None], found.boxes)[0].argmax())


def agree(stages: Stages, found: Detections) -> None:
    """Raises RuntimeError if the stages did not lead to what was found: a fault of ours."""
    boxes = stages.seen.left(stages.final_boxes)
    labels = stages.candidates.labels[stages.kept]
    if not torch.equal(labels, found.labels) or not torch.allclose(boxes, found.boxes, atol=1e-2):
        raise RuntimeError(
            f"the stages lead to {len(boxes)} detections other than the {len(found)} of `detect`"
        )


def final_of(stages: Stages, found: Detections) -> Part:
    """From class scores to detections: how many were dropped why, candidates, and what is left."""
    rule = stages.config.detection
    scores = stages.class_logits.softmax(1)
    pairs = scores[:, 1:].numel()
    scoring, made = len(rule.scoring(scores)[0]), stages.candidates
    unlimited, _ = replace(rule, limit=EVERY).survivors(made)
    floor = f"scored at most {rule.min_score:g}"
    if rule.candidates == "best":
        floor += " or was not its RoI's best class"
    least = f"narrower than {rule.min_side:g}" if rule.min_side else "empty"
    drops = [
        [floor, "model.detection.min_score", pairs - scoring],
        [f"decoded box {least} or not finite", "model.detection.min_side", scoring - len(made.roi)],
        [_overlap(rule), "model.detection.nms_iou", len(made.roi) - len(unlimited)],
        [f"beyond the best {rule.limit}", "model.detection.limit", len(unlimited) - len(found)],
    ]
    fate = torch.zeros(len(made.roi), dtype=torch.uint8)
    fate[unlimited] = 2
    fate[stages.kept] = 1
    order = made.scores.argsort(descending=True, stable=True)[:MOST_BOXES]
    best, label = scores[:, 1:].max(1) if pairs else (scores[:, 0], scores[:, 0])
    arrays = {
        "candidate_boxes": stages.seen.left(made.boxes[order]).numpy(),
        "candidate_scores": made.scores[order].numpy(),
        "candidate_labels": made.labels[order].numpy(),
        "candidate_fate": fate[order].numpy(),
        "roi_scores": best.numpy(),
        "roi_labels": label.long().numpy() + 1,
    }
    cut = [f"candidates: the best {MOST_BOXES} of {len(made.roi)}"] * (len(made.roi) > MOST_BOXES)
    about = {
        "pairs": pairs,
        "detection_drops": drops,
        "detections": [described(found, i, stages) for i in range(len(found))],
    }
    return Part(about, arrays, cut)


def _overlap(rule: Any) -> str:
    soft = type(rule.suppression).__name__ == "SoftNMS"
    if soft:
        return f"score lowered below {rule.suppression.min_score:g} by soft-NMS"
    return f"overlaps a better box of its class by more than {rule.nms_iou:g}"


def described(found: Detections, i: int, stages: Stages) -> dict[str, Any]:
    """One final detection for JSON."""
    return {
        "label": int(found.labels[i]),
        "score": float(found.scores[i]),
        "box": found.boxes[i].tolist(),
        "rle": encode_mask(found.masks[i]) if found.masks is not None else None,
        "keypoints": found.keypoints[i].tolist() if found.keypoints is not None else None,
        "level": int(stages.final_level[i]),
        "roi": int(stages.candidates.roi[stages.kept[i]]),
    }
