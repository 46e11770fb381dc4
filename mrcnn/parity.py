"""How far a network of ours is from what a peer computed, stage by stage and from end to end.

Each stage starts from the peer's own output of the stage before it, so that a fault shows where it
is made, and neither hides behind nor is excused by an earlier one. Random weights give many
near-ties: proposals and detections are compared as sets, and one that only one side has must be
explained by a near-tie.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

import kernels
from mrcnn.golden import Golden
from mrcnn.model import MaskRCNN
from mrcnn.roi_ops import roi_features
from mrcnn.rpn import propose
from mrcnn.structures import Detections, Images, Pyramid

NEAR_TIE = 1e-4
"""Of an overlap to NMS's threshold, or of two scores: closer than this is rounding."""


FEATURES = 1e-5
"""Of the largest value: rounding makes 3e-6; norms with eps 0 instead of 1e-5 make 2e-5."""


@dataclass(frozen=True)
class Comparison:
    """One stage of one network against a peer.

    error      the largest, in the stage's unit; infinite where something has no partner
    tolerance  the largest error that is rounding
    unit       what the error is in
    remark     what else was seen, e.g. how many near-ties fell the other way
    """

    error: float
    tolerance: float
    unit: str
    remark: str = ""

    @property
    def agrees(self) -> bool:
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Run:
    """A network with a golden file's weights, beside that file; what several stages need is
    computed once.
    """

    model: MaskRCNN
    golden: Golden

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image that the network sees."""
        return self.golden.image.shape[1], self.golden.image.shape[2]

    @cached_property
    def images(self) -> Images:
        """The image as the network reads it."""
        return self.model.images([self.golden.image.float()])

    @cached_property
    def own_pyramid(self) -> Pyramid:
        """The network's own features."""
        found: Pyramid = self.model.backbone(self.images.pixels)
        return found

    @cached_property
    def pyramid(self) -> Pyramid:
        """The peer's features; of a reduced file, which has too few of them, our own."""
        if self.golden.steps != (1, 1, 1):
            return self.own_pyramid
        return replace(self.own_pyramid, maps=self.golden.features)

    @cached_property
    def box_outputs(self) -> tuple[Tensor, Tensor]:
        """Class logits and deltas of the peer's first proposals."""
        boxes = self.golden.proposals[: self.golden.rows]
        found: tuple[Tensor, Tensor] = self.model.box_head(
            self.model.box_features(self.pyramid, [boxes])
        )
        return found


def compare(model: MaskRCNN, golden: Golden, stages: Sequence[str] = ()) -> dict[str, Comparison]:
    """Each stage, or those named, compared. The model has the golden file's weights."""
    run = Run(model, golden)
    with torch.no_grad():
        return {stage: STAGES[stage](run) for stage in stages or STAGES}


def features(run: Run) -> Comparison:
    """The backbone's maps, relative to the largest value of each."""
    c, y, x = run.golden.steps
    found = [level[:, ::c, ::y, ::x] for level in run.own_pyramid.maps]
    pairs = list(zip(found, run.golden.features, strict=False))
    worst = max(_gap(mine, theirs) / _largest(theirs) for mine, theirs in pairs)
    same = len(found) == len(run.golden.features)
    return Comparison(worst if same else float("inf"), FEATURES, "of the largest")


def proposals(run: Run) -> Comparison:
    """The RPN's proposals as a set, from the peer's maps."""
    golden, spec = run.golden, run.model.config.rpn
    anchors = spec.anchors(run.pyramid)
    frame = run.model.config.box_convention
    logits, deltas = run.model.rpn(run.pyramid)
    found = propose(spec, logits, deltas, anchors, (run.size,), training=False, convention=frame)[0]
    mine, theirs = _matched(found, golden.proposals, 1e-2)
    error = _largest(found[mine] - golden.proposals[theirs])
    every = torch.cat([found, golden.proposals])
    last = golden.proposals[golden.proposal_scores < golden.proposal_scores.min() + NEAR_TIE]
    alone = torch.cat([_others(found, mine), _others(golden.proposals, theirs)])
    if len(alone):
        edge = (kernels.box_iou(alone, every) - spec.nms_iou).abs().amin(1) < NEAR_TIE
        edge |= (alone[:, None] == last[None]).all(2).any(1)
        error = error if bool(edge.all()) else float("inf")
    return Comparison(error, 1e-2, "px", f"{len(alone)} near-ties" if len(alone) else "")


def pooled(run: Run) -> Comparison:
    """RoI features of the first proposals, from the peer's maps."""
    config, golden = run.model.config, run.golden
    frames = run.model.frames([golden.proposals[: len(golden.pooled)]])
    rule = config.canonical_side, config.levels
    found = roi_features(run.pyramid, frames, config.roi_op, config.box_roi_size, *rule)
    return Comparison(_gap(found, golden.pooled) / _largest(golden.pooled), 1e-4, "of the largest")


def logits(run: Run) -> Comparison:
    """Class logits, from the peer's maps and proposals."""
    wanted = run.golden.class_logits[: run.golden.rows]
    return Comparison(_gap(run.box_outputs[0], wanted), 1e-4, "")


def deltas(run: Run) -> Comparison:
    """Box deltas, from the same."""
    return Comparison(_gap(run.box_outputs[1], run.golden.deltas[: run.golden.rows]), 1e-4, "")


def detections(run: Run) -> Comparison:
    """Final boxes in network pixels, from the peer's proposals, logits and deltas."""
    config, golden = run.model.config, run.golden
    parts = golden.class_logits, golden.deltas, golden.proposals
    coder, frame = config.box_head.coder, config.box_convention
    found = config.detection(*parts, run.size, coder, frame)
    error, remark, (mine, theirs) = _detected(run.model, found, golden.found)
    if _largest(found.scores[mine] - golden.found.scores[theirs]) > NEAR_TIE:
        error = float("inf")
    return Comparison(error, 1e-2, "px", remark)


def mask_probabilities(run: Run) -> Comparison:
    """Mask probabilities of the peer's detections, from its maps."""
    rows = torch.arange(len(run.golden.mask_probabilities))
    found = run.model.detect_masks(run.pyramid, [run.golden.found[rows]])[0].mask_probabilities
    assert found is not None
    return Comparison(_gap(found, run.golden.mask_probabilities), 1e-4, "")


def pasted(run: Run) -> Comparison:
    """Bitmaps at the output size, from the peer's boxes and mask probabilities."""
    golden, rows = run.golden, torch.arange(len(run.golden.mask_probabilities))
    with_masks = replace(golden.found[rows], mask_probabilities=golden.mask_probabilities)
    final = in_output(run, with_masks)
    assert final.masks is not None
    error = _gap(final.boxes, golden.final_boxes[rows])
    differing = int((final.masks != golden.final_masks).sum())
    remark = f"of {int(golden.final_masks.sum())} set; boxes within {error:.1e} px"
    return Comparison(float(differing) if error <= 1e-2 else float("inf"), 10.0, "pixels", remark)


def end_to_end(run: Run) -> Comparison:
    """Final boxes at the output size, from the image; scores and masks have to agree as well.

    A mask pixel may differ where its probability is within rounding of the threshold: its own, and
    what the boxes' error moves it by, a pixel of a mask being a pixel of the image or more.
    """
    golden = run.golden
    final = in_output(run, run.model.predict(run.images)[0])
    wanted = replace(golden.found, boxes=golden.final_boxes)
    error, remark, (mine, theirs) = _detected(run.model, final, wanted)
    if _largest(final.scores[mine] - wanted.scores[theirs]) > NEAR_TIE:
        error = float("inf")
    shown = theirs < len(golden.final_masks)
    assert final.masks is not None
    differing = final.masks[mine[shown]] != golden.final_masks[theirs[shown]]
    if _largest(_to_threshold(run, final[mine[shown]])[differing]) > NEAR_TIE + error:
        error = float("inf")
    masks = f"{int(differing.sum())} mask pixels of {int(golden.final_masks.sum())} differ"
    return Comparison(error, 1e-2, "px", "; ".join(filter(None, [masks, remark])))


STAGES: dict[str, Callable[[Run], Comparison]] = {
    "features": features,
    "proposals": proposals,
    "RoI features": pooled,
    "class logits": logits,
    "box deltas": deltas,
    "final boxes": detections,
    "mask probabilities": mask_probabilities,
    "pasted masks": pasted,
    "end to end": end_to_end,
}
"""Every stage by name, in the order in which an image goes through them."""


def in_output(run: Run, found: Detections) -> Detections:
    """Detections in network pixels as they stand in an image of the golden file's output size."""
    height, width = run.golden.output_size
    ratio = torch.tensor([width / run.size[1], height / run.size[0]])
    boxes = found.boxes * ratio.repeat(2)
    assert found.mask_probabilities is not None
    masks = run.model.config.paste(found.mask_probabilities, boxes, (height, width))
    return replace(found, boxes=boxes, masks=masks)


def _to_threshold(run: Run, final: Detections) -> Tensor:
    """How far each pixel of the pasted masks is from the threshold, as a probability."""
    paste = run.model.config.paste
    assert final.mask_probabilities is not None
    soft = kernels.paste_masks(
        final.mask_probabilities,
        final.boxes,
        size=run.golden.output_size,
        method="exact" if paste.method in ("exact", "whole") else "grown",
        threshold=None,
    )
    return (soft - paste.threshold).abs()


def _detected(
    model: MaskRCNN, mine: Detections, theirs: Detections
) -> tuple[float, str, tuple[Tensor, Tensor]]:
    """The largest gap of boxes of one class, a remark, and the pairs.

    One without a partner has to be on the edge: of a score to the least score or the last place,
    or of an overlap to NMS's threshold.
    """
    apart = [torch.cat([one.boxes, 1e5 * one.labels[:, None]], 1) for one in (mine, theirs)]
    pairs = _matched(apart[0], apart[1], 1e-2)
    error = _largest(mine.boxes[pairs[0]] - theirs.boxes[pairs[1]])
    both = (mine, theirs, pairs[0]), (theirs, mine, pairs[1])
    alone = [(one, other, i) for one, other, own in both for i in _missing(len(one), own)]
    if not all(_on_edge(model, *each) for each in alone):
        error = float("inf")
    return error, f"{len(alone)} near-ties" if alone else "", pairs


def _on_edge(model: MaskRCNN, one: Detections, other: Detections, i: int) -> bool:
    """Whether rounding decides if detection i of `one` is there."""
    spec = model.config.detection
    ends = [float(x.scores.min()) for x in (one, other)]
    if min(abs(float(one.scores[i]) - end) for end in (*ends, spec.min_score)) < NEAR_TIE:
        return True
    same = torch.cat([x.boxes[x.labels == one.labels[i]] for x in (one, other)])
    overlap = kernels.box_iou(one.boxes[i : i + 1], same)
    return float((overlap - spec.nms_iou).abs().min()) < NEAR_TIE


def _matched(
    mine: Float[Tensor, "n c"], theirs: Float[Tensor, "m c"], tolerance: float
) -> tuple[Tensor, Tensor]:
    """Pairs of nearest boxes within the tolerance, each box in one pair at most."""
    gap = (mine[:, None] - theirs[None]).abs().amax(2)
    if not gap.numel():
        nobody = torch.zeros(0, dtype=torch.long)
        return nobody, nobody
    nearest, back = gap.argmin(1), gap.argmin(0)
    rows = torch.arange(len(mine))
    both = (back[nearest] == rows) & (gap[rows, nearest] <= tolerance)
    return rows[both], nearest[both]


def _missing(count: int, paired: Tensor) -> list[int]:
    return sorted(set(range(count)) - set(paired.tolist()))


def _others(boxes: Float[Tensor, "n 4"], paired: Tensor) -> Float[Tensor, "k 4"]:
    return boxes[_missing(len(boxes), paired)]


def _gap(mine: Tensor, theirs: Tensor) -> float:
    """The largest difference; infinite between different shapes or with anything not finite."""
    if mine.shape != theirs.shape or not bool(mine.isfinite().all()):
        return float("inf")
    return _largest(mine - theirs)


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
