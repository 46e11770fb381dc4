"""From class scores to the final boxes of an image."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

import kernels
from mrcnn.box_head import column
from mrcnn.boxes import BOX_HEAD_CODER, BoxCoder, BoxConvention, clip, large_enough
from mrcnn.structures import Detections

Kept = tuple[Int[Tensor, " k"], Float[Tensor, " k"]]
"""Which boxes survive, best first, and their scores, which soft-NMS lowers."""


@dataclass(frozen=True, kw_only=True)
class HardNMS:
    """A box is dropped where a better one of its class overlaps it by more than the threshold.

    The paper and every peer. Source: Girshick et al. 2014, sec. 2.2.
    """

    def __call__(
        self,
        boxes: Float[Tensor, "n 4"],
        scores: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
        *,
        iou_threshold: float,
        limit: int,
    ) -> Kept:
        """At most `limit` of the boxes, best first."""
        kept = kernels.batched_nms(boxes, scores, labels, iou_threshold=iou_threshold)[:limit]
        return kept, scores[kept]


@dataclass(frozen=True, kw_only=True)
class SoftNMS:
    """A box loses score, not its life, to each better one of its class that overlaps it.

    decay       "linear": times 1 - IoU where that is above the threshold (Detectron's default);
                "gaussian": times exp(-IoU^2 / sigma), whatever the threshold
    sigma       of the gaussian decay: 0.5 in the paper and in Detectron
    min_score   a box whose score has fallen below this is dropped: 0.0001 in Detectron

    An option of Detectron and mmdetection. Equal scores: by rising index.
    Source: Bodla et al. 2017, "Soft-NMS", eq. 2 and 3 and Figure 2.
    """

    decay: Literal["linear", "gaussian"] = "linear"
    sigma: float = 0.5
    min_score: float = 1e-4

    def __post_init__(self) -> None:
        if self.sigma <= 0 or not 0 <= self.min_score <= 1:
            raise ValueError(
                f"need sigma > 0 and min_score of 0 to 1, got {self.sigma=}, {self.min_score=}"
            )

    def __call__(
        self,
        boxes: Float[Tensor, "n 4"],
        scores: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
        *,
        iou_threshold: float,
        limit: int,
    ) -> Kept:
        """At most `limit` of the boxes, best first, with their lowered scores.

        Scores only ever fall, so the best box left is final: all classes go in one sequence, which
        ends when `limit` are found.
        """
        left, alive = scores.clone(), torch.ones_like(labels, dtype=torch.bool)
        kept: list[int] = []
        for _ in range(min(limit, len(boxes))):
            best = int(torch.where(alive, left, -1.0).argmax())  # the first of equal ones
            if not alive[best] or left[best] < self.min_score:
                break
            kept.append(best)
            alive[best] = False
            overlap = kernels.box_iou(boxes[best : best + 1], boxes)[0]
            lowered = left * self._factor(overlap, iou_threshold)
            left = torch.where(alive & (labels == labels[best]), lowered, left)
        index = torch.tensor(kept, dtype=torch.long, device=boxes.device)
        return index, left[index]

    def _factor(self, overlap: Float[Tensor, " n"], threshold: float) -> Float[Tensor, " n"]:
        if self.decay == "gaussian":
            return torch.exp(-overlap.square() / self.sigma)
        return torch.where(overlap > threshold, 1 - overlap, torch.ones_like(overlap))


@dataclass(frozen=True)
class Candidates:
    """Boxes of an image that NMS chooses from, RoI by RoI; roi: the row of each one's proposal."""

    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int[Tensor, " m"]
    roi: Int[Tensor, " m"]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """From class scores to the final boxes of an image.

    min_score    a class scoring at most this is not a candidate: 0.05; Matterport 0.7
    candidates   "all": every class of a RoI above min_score, each with its own box (all peers but
                 one); "best": the RoI's best class alone, and none if that is background
                 (Matterport)
    nms_iou      class-wise NMS: 0.3 in the paper's main tables and Matterport, 0.5 in the paper's
                 updated baseline and in all other peers
    suppression  how NMS treats a box that overlaps a better one: HardNMS() or SoftNMS()
    limit        detections kept per image, over all classes: 100 for COCO, 300 for LVIS
    min_side     boxes narrower than this are dropped: torchvision 0.01; 0 drops empty ones

    Boxes that are not finite are dropped, as in detectron2. Source: He et al. 2017, sec. 3.1
    "Inference"; appendix B for the thresholds; Matterport, refine_detections_graph (its text).
    """

    min_score: float = 0.05
    candidates: Literal["all", "best"] = "all"
    nms_iou: float = 0.5
    suppression: HardNMS | SoftNMS = HardNMS()
    limit: int = 100
    min_side: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.min_score <= 1 and 0 <= self.nms_iou <= 1) or self.limit < 1:
            raise ValueError(f"need thresholds of 0 to 1 and a limit of at least 1, got {self}")

    def __call__(
        self,
        logits: Float[Tensor, "r k1"],
        deltas: Float[Tensor, "r b 4"],
        rois: Float[Tensor, "r 4"],
        size: tuple[int, int],
        coder: BoxCoder = BOX_HEAD_CODER,
        convention: BoxConvention = "continuous",
    ) -> Detections:
        """Detections of one image of `size` (height, width), best first; masks still missing.

        Only candidates are decoded: with LVIS's 1,203 classes most (RoI, class) pairs are none.
        coder   of the head that made the deltas
        """
        found = self.candidates_of(logits, deltas, rois, size, coder, convention)
        kept, score = self.survivors(found)
        return Detections(found.boxes[kept], found.labels[kept], score)

    def candidates_of(
        self,
        logits: Float[Tensor, "r k1"],
        deltas: Float[Tensor, "r b 4"],
        rois: Float[Tensor, "r 4"],
        size: tuple[int, int],
        coder: BoxCoder = BOX_HEAD_CODER,
        convention: BoxConvention = "continuous",
    ) -> Candidates:
        """Decoded boxes that score enough, before NMS; arguments as for a call."""
        scores = logits.softmax(1)
        roi, label = self.scoring(scores)
        boxes = coder.decode(deltas[roi, column(label, deltas.shape[1])], rois[roi])
        boxes = clip(boxes, size, convention)
        good = large_enough(boxes, self.min_side) & boxes.isfinite().all(1)
        return Candidates(boxes[good], scores[roi, label][good], label[good], roi[good])

    def survivors(self, found: Candidates) -> Kept:
        """Which candidates NMS and the limit leave, best first, and their scores."""
        return self.suppression(
            found.boxes, found.scores, found.labels, iou_threshold=self.nms_iou, limit=self.limit
        )

    def scoring(self, scores: Float[Tensor, "r k1"]) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
        """RoIs and labels (1 ..) of the candidates, RoI by RoI."""
        if self.candidates == "all":
            roi, column_of_class = (scores[:, 1:] > self.min_score).nonzero(as_tuple=True)
            return roi, column_of_class + 1
        best, label = scores.max(1)
        roi = ((label > 0) & (best > self.min_score)).nonzero()[:, 0]
        return roi, label[roi]
