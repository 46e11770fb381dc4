"""The region proposal network: what in the image may be an object, whatever its class."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

import kernels
from mrcnn.anchors import Anchors
from mrcnn.averages import average
from mrcnn.boxes import clip, decode, encode, large_enough
from mrcnn.matching import Matching, sample
from mrcnn.structures import Pyramid, Targets


@dataclass(frozen=True, kw_only=True)
class RPN:
    """A 3x3 convolution, then objectness and four deltas for every anchor, on every level.

    pre_nms_*, post_nms_*  proposals kept per level before NMS and per image after it
    nms_iou                overlap at which NMS, within a level, drops the worse proposal
    min_side               proposals narrower than this (pixels) are dropped; 0 drops empty ones
    matching               anchors to objects; sampled: anchors_per_image, of them positive_fraction
    beta                   where the smooth L1 loss turns from quadratic to linear

    Source: Ren et al. 2015, sec. 3.1; counts: Lin et al. 2017 (FPN) and Detectron's configurations.
    """

    anchors: Anchors = Anchors()
    pre_nms_train: int = 2000
    pre_nms_test: int = 1000
    post_nms_train: int = 2000
    post_nms_test: int = 1000
    nms_iou: float = 0.7
    min_side: float = 0.0
    matching: Matching = Matching(positive=0.7, negative=0.3, keep_best=True)
    anchors_per_image: int = 256
    positive_fraction: float = 0.5
    beta: float = 1 / 9

    def __post_init__(self) -> None:
        counts = self.pre_nms_train, self.pre_nms_test, self.post_nms_train, self.post_nms_test
        if min(*counts, self.anchors_per_image) < 1:
            raise ValueError(f"RPN counts must be at least 1, got {self}")
        if not (0 <= self.nms_iou <= 1 and 0 <= self.positive_fraction <= 1):
            raise ValueError(f"need 0 to 1, got {self.nms_iou=}, {self.positive_fraction=}")

    def build(self, channels: int) -> "RPNHead":
        return RPNHead(channels, self.anchors.per_cell)


class RPNHead(nn.Module):
    """(objectness logits, deltas) of every anchor, in the anchors' order."""

    def __init__(self, channels: int, anchors_per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, anchors_per_cell, 1)
        self.deltas = nn.Conv2d(channels, 4 * anchors_per_cell, 1)
        for conv in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(conv.weight, std=0.01)
            conv.bias.data.zero_()  # type: ignore[union-attr]

    def forward(
        self, pyramid: Pyramid
    ) -> tuple[list[Float[Tensor, "n _a"]], list[Float[Tensor, "n _a 4"]]]:
        hidden = [F.relu(self.conv(level)) for level in pyramid.maps]
        logits = [self.objectness(h).permute(0, 2, 3, 1).flatten(1) for h in hidden]
        deltas = [
            self.deltas(h).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for h in hidden
        ]
        return [x.float() for x in logits], [x.float() for x in deltas]


@torch.no_grad()
def propose(
    spec: RPN,
    logits: list[Float[Tensor, "n _a"]],
    deltas: list[Float[Tensor, "n _a 4"]],
    anchors: list[Float[Tensor, "_a 4"]],
    sizes: tuple[tuple[int, int], ...],
    *,
    training: bool,
) -> list[Float[Tensor, "_p 4"]]:
    """Proposals of each image, best first. No gradient flows through them.

    Source: the paper's approximate joint training (appendix B of He et al. 2017).
    """
    before = spec.pre_nms_train if training else spec.pre_nms_test
    after = spec.post_nms_train if training else spec.post_nms_test
    scores: list[list[Tensor]] = [[] for _ in sizes]
    boxes: list[list[Tensor]] = [[] for _ in sizes]
    for level in zip(logits, deltas, anchors, strict=True):
        best, index = level[0].topk(min(before, level[0].shape[1]), dim=1)
        for i, size in enumerate(sizes):
            found = clip(decode(level[1][i][index[i]], level[2][index[i]]), size)
            kept = large_enough(found, spec.min_side)
            found, score = found[kept], best[i][kept]
            kept = kernels.nms(found, score, iou_threshold=spec.nms_iou)[:after]
            boxes[i].append(found[kept])
            scores[i].append(score[kept])
    ranked = (torch.cat(s).argsort(descending=True, stable=True)[:after] for s in scores)
    return [torch.cat(b)[order] for b, order in zip(boxes, ranked, strict=True)]


def rpn_losses(
    spec: RPN,
    logits: list[Float[Tensor, "n _a"]],
    deltas: list[Float[Tensor, "n _a 4"]],
    anchors: list[Float[Tensor, "_a 4"]],
    targets: list[Targets],
    generators: Sequence[torch.Generator],
) -> dict[str, Float[Tensor, ""]]:
    """Binary cross-entropy of objectness and smooth L1 of the deltas of positive anchors.

    Both are averaged over all sampled anchors of the batch, which each image's generator draws.
    Source: Ren et al. 2015, eq. 1, with the normaliser of Detectron and torchvision.
    """
    every = torch.cat(anchors)
    all_logits, all_deltas = torch.cat(logits, 1), torch.cat(deltas, 1)
    chosen_logits, wanted_logits, errors = [], [], []
    for i, (target, generator) in enumerate(zip(targets, generators, strict=True)):
        match = spec.matching(kernels.box_iou(target.boxes, every))
        positive, negative = sample(
            match.state, spec.anchors_per_image, spec.positive_fraction, generator
        )
        chosen_logits.append(all_logits[i][torch.cat([positive, negative])])
        wanted_logits.append(torch.cat([torch.ones_like(positive), torch.zeros_like(negative)]))
        if len(positive):
            wanted = encode(target.boxes[match.index[positive]], every[positive])
            errors.append(all_deltas[i][positive] - wanted)
    chosen, wanted = torch.cat(chosen_logits), torch.cat(wanted_logits).float()
    entropy = F.binary_cross_entropy_with_logits(chosen, wanted, reduction="sum")
    return {
        "objectness": average(entropy, len(chosen)),
        "proposal box": average(smooth_l1(errors, spec.beta, all_deltas), len(chosen)),
    }


def smooth_l1(errors: list[Tensor], beta: float, like: Tensor) -> Float[Tensor, ""]:
    """Sum of smooth L1 over all errors; without any, a zero that still has a gradient."""
    if not errors:
        return like.sum() * 0.0
    error = torch.cat(errors)
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="sum")
