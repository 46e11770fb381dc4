"""The region proposal network: what in the image may be an object, whatever its class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

import kernels
from mrcnn.anchors import Anchors
from mrcnn.averages import average
from mrcnn.boxes import BoxCoder, BoxConvention, clip, inside, large_enough
from mrcnn.matching import Matching, sample
from mrcnn.structures import Pyramid, Targets


@dataclass(frozen=True, kw_only=True)
class RPN:
    """3x3 convolutions, then objectness and four deltas for every anchor, on every level.

    convs, width    of the 3x3 convolutions: 1 in every peer but torchvision v2's 2; as many
                    channels as they read (None), but 512 in Matterport
    objectness      "sigmoid": one logit an anchor (Detectron, detectron2, mmdetection,
                    torchvision); "softmax": two, background first (Ren et al., Matterport), which
                    stand for one, foreground less background, with the same loss
    coder           of the deltas; weights are 1 but in Matterport
    pre_nms_*       proposals kept before NMS on each level: 2000 and 1000 with FPN, 12000 and 6000
                    with C4 (Detectron, detectron2, mmdetection); Matterport 6000 of all levels
    post_nms_*      kept after it, of all levels: in training 1000 (detectron2, mmdetection) or 2000
                    (torchvision, Matterport, Detectron, which see below); 1000 in tests, the
                    paper's C4 300
    levels          "apart": pre_nms and NMS level by level; "together": all levels as one
                    (Matterport)
    images_together images of a batch, in its order, that share post_nms_train: 1 everywhere, but 2
                    in Detectron's FPN, which ranks what a GPU holds (its issue #459)
    ranking         what proposals are ranked by. "logits" (detectron2); "probabilities", of which
                    float32 knows no larger than 1 from a logit of 17 on, and ties keep the anchors'
                    order (Detectron, mmdetection, Matterport); "late": logits until pre_nms has
                    cut, probabilities from there on (torchvision)
    nms_iou         overlap at which NMS drops the worse proposal
    min_side        proposals narrower than this (pixels) are dropped; 0 drops empty ones
    straddle        pixels that an anchor of the loss may leave the image by; None keeps all
                    (detectron2, torchvision, Matterport, mmdetection's FPN), 0 drops those that
                    cross (Ren et al., Detectron, mmdetection's C4). Proposals come from all anchors
    matching        anchors to objects; sampled: anchors_per_image, of them positive_fraction
    beta            where the smooth L1 loss turns from quadratic to linear: 1/9 (Detectron,
                    torchvision), 1 (Matterport), 0 for plain L1 (detectron2, mmdetection)
    class_normaliser, box_normaliser   what the sums over a batch are divided by:
                    "sampled"    the anchors sampled (torchvision, mmdetection, Detectron's box
                                 term; Matterport's class term)
                    "full"       anchors_per_image times images, sampled or not (detectron2,
                                 Detectron's FPN class term): differs where an image has too few
                    "positives"  4 times the positives, the mean over their deltas (Matterport's
                                 box term)

    Source: Ren et al. 2015, sec. 3.1; counts: Lin et al. 2017 (FPN) and Detectron's configurations;
    the peers: their configurations and losses, Matterport's from its text alone.
    """

    anchors: Anchors = Anchors()
    convs: int = 1
    width: int | None = None
    objectness: Literal["sigmoid", "softmax"] = "sigmoid"
    coder: BoxCoder = BoxCoder()
    pre_nms_train: int = 2000
    pre_nms_test: int = 1000
    post_nms_train: int = 2000
    post_nms_test: int = 1000
    levels: Literal["apart", "together"] = "apart"
    images_together: int = 1
    ranking: Literal["logits", "probabilities", "late"] = "logits"
    nms_iou: float = 0.7
    min_side: float = 0.0
    straddle: float | None = None
    matching: Matching = Matching(positive=0.7, negative=0.3, keep_best=True)
    anchors_per_image: int = 256
    positive_fraction: float = 0.5
    beta: float = 1 / 9
    class_normaliser: Literal["sampled", "full"] = "sampled"
    box_normaliser: Literal["sampled", "full", "positives"] = "sampled"

    def __post_init__(self) -> None:
        counts = self.pre_nms_train, self.pre_nms_test, self.post_nms_train, self.post_nms_test
        more = self.convs, self.images_together, 1 if self.width is None else self.width
        if min(*counts, *more, self.anchors_per_image) < 1:
            raise ValueError(f"RPN counts must be at least 1, got {self}")
        if not (0 <= self.nms_iou <= 1 and 0 <= self.positive_fraction <= 1):
            raise ValueError(f"need 0 to 1, got {self.nms_iou=}, {self.positive_fraction=}")
        if min(self.beta, self.straddle or 0.0) < 0:
            raise ValueError(f"need at least 0, got {self.beta=}, {self.straddle=}")

    def build(self, channels: int) -> "RPNHead":
        width = channels if self.width is None else self.width
        scores = 1 if self.objectness == "sigmoid" else 2
        return RPNHead(channels, width, self.convs, self.anchors.per_cell, scores)


class RPNHead(nn.Module):
    """(objectness logits, deltas) of every anchor, in the anchors' order.

    scores   of each anchor: one, or background and foreground
    """

    def __init__(
        self, channels: int, width: int, convs: int, anchors_per_cell: int, scores: int
    ) -> None:
        super().__init__()
        self.scores = scores
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        more = [nn.Conv2d(width, width, 3, padding=1) for _ in range(convs - 1)]
        self.more = nn.Sequential(*(layer for conv in more for layer in (conv, nn.ReLU())))
        self.objectness = nn.Conv2d(width, scores * anchors_per_cell, 1)
        self.deltas = nn.Conv2d(width, 4 * anchors_per_cell, 1)
        for conv in (self.conv, *more, self.objectness, self.deltas):
            nn.init.normal_(conv.weight, std=0.01)
            conv.bias.data.zero_()  # type: ignore[union-attr]

    def forward(
        self, pyramid: Pyramid
    ) -> tuple[list[Float[Tensor, "n _a"]], list[Float[Tensor, "n _a 4"]]]:
        hidden = [self.more(F.relu(self.conv(level))) for level in pyramid.maps]
        scores = [_by_anchor(self.objectness(h), self.scores) for h in hidden]
        logits = [s[..., -1] if self.scores == 1 else s[..., 1] - s[..., 0] for s in scores]
        return logits, [_by_anchor(self.deltas(h), 4) for h in hidden]


def _by_anchor(maps: Float[Tensor, "n c h w"], each: int) -> Float[Tensor, "n a {each}"]:
    """Channels as rows of `each` numbers per anchor, cell by cell, in float32."""
    return maps.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, each)).float()


@torch.no_grad()
def propose(
    spec: RPN,
    logits: list[Float[Tensor, "n _a"]],
    deltas: list[Float[Tensor, "n _a 4"]],
    anchors: list[Float[Tensor, "_a 4"]],
    sizes: tuple[tuple[int, int], ...],
    *,
    training: bool,
    convention: BoxConvention = "continuous",
) -> list[Float[Tensor, "_p 4"]]:
    """Proposals of each image, best first. No gradient flows through them.

    Source: the paper's approximate joint training (appendix B of He et al. 2017).
    """
    before = spec.pre_nms_train if training else spec.pre_nms_test
    after = spec.post_nms_train if training else spec.post_nms_test
    if spec.levels == "together":
        logits, deltas = [torch.cat(logits, 1)], [torch.cat(deltas, 1)]
        anchors = [torch.cat(anchors)]
    scores: list[list[Tensor]] = [[] for _ in sizes]
    boxes: list[list[Tensor]] = [[] for _ in sizes]
    for level in zip(logits, deltas, anchors, strict=True):
        best, index = _ranked(spec, level[0], before)
        chosen = level[1].take_along_dim(index[..., None], 1).flatten(0, 1)
        decoded = spec.coder.decode(chosen, level[2][index.flatten()]).view(*index.shape, 4)
        for i, size in enumerate(sizes):
            found = clip(decoded[i], size, convention)
            kept = large_enough(found, spec.min_side)
            found, score = found[kept], best[i][kept]
            kept = kernels.nms(found, score, iou_threshold=spec.nms_iou)[:after]
            boxes[i].append(found[kept])
            scores[i].append(score[kept])
    every = [(torch.cat(b), torch.cat(s)) for b, s in zip(boxes, scores, strict=True)]
    together = spec.images_together if training else 1
    groups = (every[i : i + together] for i in range(0, len(every), together))
    return [boxes for group in groups for boxes in _best(group, after)]


def _ranked(
    spec: RPN, logits: Float[Tensor, "n a"], count: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The scores of each image's best anchors and which they are; equal ones in their order."""
    scores = logits.sigmoid() if spec.ranking == "probabilities" else logits
    best, index = (x[:, :count] for x in scores.sort(dim=1, descending=True, stable=True))
    return best.sigmoid() if spec.ranking == "late" else best, index


def _best(images: list[tuple[Tensor, Tensor]], count: int) -> list[Float[Tensor, "_p 4"]]:
    """Of the (boxes, scores) of some images, the best `count` of all, image by image."""
    scores = torch.cat([scores for _, scores in images])
    kept = scores.argsort(descending=True, stable=True)[:count]
    start, found = 0, []
    for boxes, _ in images:
        own = kept[(kept >= start) & (kept < start + len(boxes))]
        found.append(boxes[own - start])
        start += len(boxes)
    return found


def rpn_losses(
    spec: RPN,
    logits: list[Float[Tensor, "n _a"]],
    deltas: list[Float[Tensor, "n _a 4"]],
    anchors: list[Float[Tensor, "_a 4"]],
    targets: list[Targets],
    generators: Sequence[torch.Generator],
    sizes: tuple[tuple[int, int], ...] | None = None,
    convention: BoxConvention = "continuous",
) -> dict[str, Float[Tensor, ""]]:
    """Binary cross-entropy of objectness and smooth L1 of the deltas of positive anchors.

    Each image's generator draws which of its anchors are looked at.
    sizes   (height, width) of the images, which `spec.straddle` is measured against

    Raises ValueError if `spec.straddle` is set and `sizes` are missing.
    Source: Ren et al. 2015, eq. 1; its normalisers: see `RPN`.
    """
    if spec.straddle is not None and sizes is None:
        raise ValueError(f"rpn_losses: straddle={spec.straddle} needs the images' sizes, got None")
    every = torch.cat(anchors)
    all_logits, all_deltas = torch.cat(logits, 1), torch.cat(deltas, 1)
    chosen_logits, wanted_logits, errors = [], [], []
    for i, (target, generator) in enumerate(zip(targets, generators, strict=True)):
        if spec.straddle is None or sizes is None:
            positive, negative, wanted = sampled(spec, every, target, generator)
        else:
            usable = inside(every, sizes[i], spec.straddle, convention).nonzero()[:, 0]
            positive, negative, wanted = sampled(spec, every[usable], target, generator)
            positive, negative = usable[positive], usable[negative]
        chosen_logits.append(all_logits[i][torch.cat([positive, negative])])
        wanted_logits.append(torch.cat([torch.ones_like(positive), torch.zeros_like(negative)]))
        errors.append(all_deltas[i][positive] - wanted)
    chosen, object_or_not = torch.cat(chosen_logits), torch.cat(wanted_logits).float()
    entropy = F.binary_cross_entropy_with_logits(chosen, object_or_not, reduction="sum")
    error = smooth_l1(torch.cat(errors), spec.beta) + 0.0 * all_deltas.sum()
    counts = {
        "sampled": len(chosen),
        "full": spec.anchors_per_image * len(targets),
        "positives": sum(each.numel() for each in errors),
    }
    return {
        "objectness": average(entropy, counts[spec.class_normaliser]),
        "proposal box": average(error, counts[spec.box_normaliser]),
    }


def sampled(
    spec: RPN, anchors: Float[Tensor, "a 4"], target: Targets, generator: torch.Generator
) -> tuple[Int[Tensor, " p"], Int[Tensor, " q"], Float[Tensor, "p 4"]]:
    """Of one image's anchors, which are its positives and negatives, and the positives' deltas."""
    match = spec.matching(kernels.box_iou(target.boxes, anchors))
    positive, negative = sample(
        match.state, spec.anchors_per_image, spec.positive_fraction, generator
    )
    if not len(positive):  # without objects there is no row to look up
        return positive, negative, anchors[:0]
    wanted = spec.coder.encode(target.boxes[match.index[positive]], anchors[positive])
    return positive, negative, wanted


def smooth_l1(error: Float[Tensor, "n 4"], beta: float) -> Float[Tensor, ""]:
    """Sum of smooth L1 over all errors: quadratic below `beta`; plain L1 where that is 0."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="sum")
