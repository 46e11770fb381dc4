"""Which anchor or proposal answers for which object, and which of them a loss looks at."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

IGNORE = -1


@dataclass(frozen=True, kw_only=True)
class Match:
    """For each box: `index` of its object (0 where there is none) and `state` 1 | 0 | IGNORE."""

    index: Int[Tensor, " n"]
    state: Int[Tensor, " n"]


@dataclass(frozen=True, kw_only=True)
class Matching:
    """IoU at or above `positive` makes a positive, below `negative` a negative, between: ignored.

    keep_best   every object also claims the boxes that overlap it most, however little, so that no
                object is without an anchor: every peer's RPN; mmdetection's FPN box head as well
    least_best  an object whose best overlap is below this claims nothing: 0 in Detectron,
                detectron2, torchvision and Matterport; mmdetection 0.3 (RPN), 0.5 (box head)
    claimed_by  whom a claimed box answers for. "best": the object it overlaps most, as ever
                (Detectron, detectron2, torchvision, Matterport); "claimer": the object that claimed
                it, the last one of several (mmdetection)

    Source: Ren et al. 2015, sec. 3.1.2 (RPN: 0.7, 0.3, keep_best); Girshick 2015 (box head: 0.5);
    mmdetection, MaxIoUAssigner.
    """

    positive: float
    negative: float
    keep_best: bool = False
    least_best: float = 0.0
    claimed_by: Literal["best", "claimer"] = "best"

    def __post_init__(self) -> None:
        if not 0 <= self.negative <= self.positive <= 1:
            raise ValueError(
                f"thresholds need 0 <= negative <= positive <= 1, "
                f"got {self.negative=}, {self.positive=}"
            )
        if not 0 <= self.least_best <= 1:
            raise ValueError(f"least_best must be 0 to 1, got {self.least_best}")

    def __call__(self, iou: Float[Tensor, "g n"]) -> Match:
        """Match n boxes to g objects by their IoU; without objects every box is a negative."""
        if iou.shape[0] == 0:
            nothing = torch.zeros(iou.shape[1], dtype=torch.long, device=iou.device)
            return Match(index=nothing, state=nothing)
        best, index = iou.max(0)
        state = torch.full_like(index, IGNORE)
        state[best < self.negative] = 0
        state[best >= self.positive] = 1
        if self.keep_best and iou.shape[1]:
            highest = iou.amax(1, keepdim=True)
            claims = (iou == highest) & (highest >= self.least_best)
            claimed = claims.any(0)
            state[claimed] = 1
            if self.claimed_by == "claimer":
                last = len(claims) - 1 - claims.flip(0).long().argmax(0)
                index = torch.where(claimed, last, index)
        return Match(index=index, state=state)


def sample(
    state: Int[Tensor, " n"],
    count: int,
    positive_fraction: float,
    generator: torch.Generator,
    *,
    fill: bool = True,
) -> tuple[Int[Tensor, " p"], Int[Tensor, " q"]]:
    """Indices of positives and of negatives, at most `count` together, drawn without replacement.

    At most `positive_fraction` of `count` are positives. Both come in ascending order. `generator`
    lives on the CPU, so that every device draws the same sample.

    fill   True: negatives fill what is left (the papers and all peers but one); False: there are
           only as many as keep the fraction with the positives drawn, so none without positives
           (Matterport's RoIs)

    Source: Ren et al. 2015, sec. 3.1.3; Girshick 2015, sec. 2.3; Matterport, model.py.
    """
    positive, negative = (state == 1).nonzero()[:, 0], (state == 0).nonzero()[:, 0]
    positives = min(len(positive), int(count * positive_fraction))
    wanted = count - positives
    if not fill:
        wanted = int(positives / positive_fraction) - positives if positives else 0
    negatives = min(len(negative), wanted)
    return (
        positive[_choose(len(positive), positives, generator).to(state.device)],
        negative[_choose(len(negative), negatives, generator).to(state.device)],
    )


def _choose(n: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator)[:count].sort().values


def any_of(index: Int[Tensor, " k"], n: int) -> Bool[Tensor, " {n}"]:
    """A mask of length n that is True at `index`."""
    mask = torch.zeros(n, dtype=torch.bool, device=index.device)
    mask[index] = True
    return mask
