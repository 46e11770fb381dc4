"""The part of a trace up to the proposals: input, anchors, objectness, NMS."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

import kernels
from mrcnn.boxes import inside
from mrcnn.data.annotations import encode_mask
from mrcnn.matching import IGNORE
from mrcnn.rpn import propose
from mrcnn.spec import plain
from mrcnn.stages import Stages
from mrcnn.structures import Targets
from mrcnn.trace_part import EVERY, MOST_BOXES, Part, pooled, shrunk

MOST_INPUT = 512
"""Pixels a side of the picture of the network's input."""
STATES = {"positive": 1, "ignored": IGNORE, "negative": 0}


def input_of(stages: Stages) -> Part:
    """What the network reads, turned back into a picture: the padding is the mean colour."""
    config, seen = stages.config, stages.seen
    mean, std = (torch.tensor(x)[:, None, None] for x in (config.pixel_mean, config.pixel_std))
    pixels = stages.images.pixels[0] * std + mean
    if config.pixel_range == 1:
        pixels = pixels * 255
    if config.pixel_order == "bgr":
        pixels = pixels.flip(0)
    picture = shrunk(pixels.round().clamp(0, 255).to(torch.uint8), MOST_INPUT)
    about = {
        "size": list(stages.images.sizes[0]),
        "padded": list(pixels.shape[1:]),
        "frame": list(seen.frame),
        "strides": list(stages.pyramid.strides),
        "roi_levels": stages.pyramid.roi_levels,
        "canonical_side": config.canonical_side,
        "separate": config.rpn_features == "separate",
    }
    cut = [f"the input is drawn {picture.shape[1]} x {picture.shape[0]}"]
    shown = picture.shape[:2] == tuple(about["padded"])  # type: ignore[arg-type]
    return Part({"network": about}, {"network": picture}, [] if shown else cut)


def anchors_of(stages: Stages, targets: Targets | None) -> Part:
    """The anchors of each level, those of one cell, the objectness of all, and which match."""
    state, index, overlap = matched(stages, targets)
    level = _level_of_anchors(stages)
    about: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for i, stride in enumerate(stages.read.strides):
        height, width = stages.read.maps[i].shape[-2:]
        each = len(stages.anchors[i]) // (height * width)
        first = (height // 2 * width + width // 2) * each
        arrays[f"anchors_cell_{i}"] = _left(stages, stages.anchors[i][first : first + each])
        likely = stages.logits[i].sigmoid().view(height, width, each).amax(2)
        arrays[f"objectness_{i}"], factor = pooled(likely)
        rows, columns = arrays[f"objectness_{i}"].shape
        step = factor * stride
        extent = _left(stages, torch.tensor([[0.0, 0, columns * step, rows * step]]))[0]
        here = {"stride": stride, "map": [height, width], "anchors": len(stages.anchors[i])}
        here |= {"sizes": list(stages.config.rpn.anchors.sizes[i])}
        here |= {"extent": extent.tolist(), "cells_a_pixel": factor}
        if targets is not None:
            here |= {name: int((state[level == i] == s).sum()) for name, s in STATES.items()}
            here["outside"] = int((state[level == i] == OUTSIDE).sum())
        about.append(here)
    cut = [
        f"objectness of stride {a['stride']}: the largest of {a['cells_a_pixel']} x "
        f"{a['cells_a_pixel']} cells"
        for a in about
        if a["cells_a_pixel"] > 1
    ]
    if targets is not None:
        more, words = _drawn(stages, state, index, overlap, level)
        arrays, cut = arrays | more, cut + words
    rule = stages.config.rpn
    wanted = {"ratios": list(rule.anchors.ratios), "matching": plain(rule.matching)}
    return Part({"anchors": about, "anchor_rule": wanted}, arrays, cut)


OUTSIDE = -2
"""An anchor that leaves the image by more than `RPN.straddle`, which no loss looks at."""


def matched(
    stages: Stages, targets: Targets | None
) -> tuple[Int[Tensor, " a"], Int[Tensor, " a"], Float[Tensor, " a"]]:
    """Of every anchor its state in training, its object, and the overlap with that."""
    anchors, rule = torch.cat(stages.anchors), stages.config.rpn
    state = torch.full((len(anchors),), OUTSIDE)
    index, overlap = torch.zeros_like(state), torch.zeros(len(anchors))
    if targets is None:
        return state, index, overlap
    usable = torch.ones(len(anchors), dtype=torch.bool)
    if rule.straddle is not None:
        frame = stages.config.box_convention
        usable = inside(anchors, stages.images.sizes[0], rule.straddle, frame)
    iou = kernels.box_iou(stages.seen.entered(targets.boxes), anchors[usable])
    match = rule.matching(iou)
    state[usable], index[usable] = match.state, match.index
    if len(targets):
        overlap[usable] = iou.gather(0, match.index[None])[0]
    return state, index, overlap


def _drawn(
    stages: Stages, state: Tensor, index: Tensor, overlap: Tensor, level: Tensor
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The positive and the ignored anchors themselves, those that overlap most first."""
    arrays: dict[str, NDArray[Any]] = {}
    cut, anchors = [], torch.cat(stages.anchors)
    for name in ("positive", "ignored"):
        rows = (state == STATES[name]).nonzero()[:, 0]
        rows = rows[overlap[rows].argsort(descending=True, stable=True)]
        if len(rows) > MOST_BOXES:
            cut.append(f"{name} anchors: the {MOST_BOXES} of {len(rows)} that overlap most")
        rows = rows[:MOST_BOXES]
        arrays[f"{name}_anchors"] = _left(stages, anchors[rows])
        arrays[f"{name}_level"] = level[rows].numpy()
        arrays[f"{name}_object"] = index[rows].numpy()
        arrays[f"{name}_overlap"] = overlap[rows].numpy()
    return arrays, cut


def proposals_of(stages: Stages, targets: Targets | None) -> Part:
    """Decoded anchors level by level, which of them NMS and the limit left, and where RoIs go."""
    spec = stages.config.rpn
    together = spec.levels == "together"
    count = len(stages.anchors)
    groups = [slice(0, count)] if together else [slice(i, i + 1) for i in range(count)]
    about: list[dict[str, Any]] = []
    drawn, every = [], []
    levels: list[int] = []
    fates: list[int] = []
    final = _rows(stages.proposals)
    origin = np.full(len(final), -1)
    for i, group in enumerate(groups):
        before = _proposed(replace(spec, nms_iou=1.0, post_nms_test=EVERY), stages, group)
        after = _proposed(replace(spec, post_nms_test=EVERY), stages, group)
        mine = Counter(_rows(after))
        for place, row in enumerate(final):
            if origin[place] < 0 and mine[row]:
                origin[place] = i
                mine[row] -= 1
        kept = Counter(row for row, one in zip(final, origin, strict=True) if one == i)
        anchors = sum(len(one) for one in stages.anchors[group])
        about.append(
            {
                "strides": list(stages.read.strides[group]),
                "anchors": anchors,
                "ranked": min(spec.pre_nms_test, anchors),
                "before": len(before),
                "after": len(after),
                "kept": kept.total(),
            }
        )
        share = MOST_BOXES // len(groups)
        drawn.append(before[:share])
        levels += [i] * len(drawn[-1])
        fates += _fates(_rows(before), Counter(_rows(after)), kept)[:share]
        every.append(before)
    total = sum(len(one) for one in every)
    arrays: dict[str, NDArray[Any]] = {
        "before_boxes": _left(stages, torch.cat(drawn)),
        "before_level": np.array(levels, np.int64),
        "before_fate": np.array(fates, np.uint8),
        "proposals": _left(stages, stages.proposals),
        "proposal_origin": origin,
        "roi_level": stages.roi_level.numpy(),
        "roi_side": _sides(stages.proposals),
    }
    cut = [f"proposals before NMS: the best {len(levels)} of {total}"] * (total > len(levels))
    limits: dict[str, Any] = {"pre_nms": spec.pre_nms_test, "post_nms": spec.post_nms_test}
    limits |= {"nms_iou": spec.nms_iou, "together": together}
    truth = None if targets is None else truth_of(stages, targets, torch.cat(every))
    return Part({"proposals": about, "proposal_rule": limits, "truth": truth}, arrays, cut)


def _fates(before: list[bytes], after: Counter[bytes], kept: Counter[bytes]) -> list[int]:
    """Of each box, best first: 1 a proposal, 2 left by NMS and cut by the limit, 0 neither."""
    kept, cut, fates = kept.copy(), after - kept, []
    for row in before:
        fates.append(1 if kept[row] else 2 if cut[row] else 0)
        (kept if kept[row] else cut)[row] -= 1
    return fates


def _proposed(spec: Any, stages: Stages, group: slice) -> Float[Tensor, "p 4"]:
    """What `propose` makes of some levels under a rule."""
    found = propose(
        spec,
        [one[None] for one in stages.logits[group]],
        [one[None] for one in stages.deltas[group]],
        stages.anchors[group],
        stages.images.sizes,
        training=False,
        convention=stages.config.box_convention,
    )
    return found[0]


def truth_of(
    stages: Stages, targets: Targets, before: Float[Tensor, "b 4"]
) -> list[dict[str, Any]]:
    """The objects for JSON, each with its positive anchors and its best overlaps on the way."""
    state, index, _ = matched(stages, targets)
    seen = stages.seen.entered(targets.boxes)
    ways = {"anchor": torch.cat(stages.anchors), "decoded anchor": before}
    ways |= {"proposal": stages.proposals, "detection": stages.final_boxes}
    best = {name: _best(seen, boxes) for name, boxes in ways.items()}
    return [
        {
            "label": int(targets.labels[i]),
            "box": targets.boxes[i].tolist(),
            "rle": encode_mask(targets.masks[i]),
            "positive": int(((state == 1) & (index == i)).sum()),
            "overlaps": {name: values[i] for name, values in best.items()},
        }
        for i in range(len(targets))
    ]


def _best(objects: Float[Tensor, "g 4"], boxes: Float[Tensor, "n 4"]) -> list[float]:
    """The largest overlap of each object with any of the boxes."""
    if not len(boxes):
        return [0.0] * len(objects)
    return kernels.box_iou(objects, boxes).amax(1).tolist()  # type: ignore[no-any-return]


def _level_of_anchors(stages: Stages) -> Int[Tensor, " a"]:
    return torch.cat([torch.full((len(a),), i) for i, a in enumerate(stages.anchors)])


def _left(stages: Stages, boxes: Float[Tensor, "n 4"]) -> NDArray[np.float32]:
    """Boxes of the network's input in pixels of the image."""
    return stages.seen.left(boxes).numpy()  # type: ignore[no-any-return]


def _rows(boxes: Float[Tensor, "n 4"]) -> list[bytes]:
    """Each box as something to compare exactly."""
    return [row.tobytes() for row in boxes.numpy()]


def _sides(boxes: Float[Tensor, "n 4"]) -> NDArray[np.float32]:
    """Square roots of areas, in pixels of the network's input, which choose the level."""
    wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return (wide * tall).sqrt().numpy()  # type: ignore[no-any-return]
