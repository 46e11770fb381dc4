"""From class scores to final boxes, each choice on both sides by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import kernels
from mrcnn.boxes import BOX_HEAD_CODER, BoxCoder, clip
from mrcnn.detection import Detection, HardNMS, SoftNMS
from mrcnn.structures import Detections

SIZE = (100, 100)
ROIS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60], [90, 40, 120, 50]])
"""The first two overlap by 80 / 100, the third is alone, the fourth leaves the image."""


def logits_of(*rows):
    return torch.tensor(rows).log()


def found(detection, scores, rois=ROIS, deltas=None, **options):
    deltas = torch.zeros(len(rois), 1, 4) if deltas is None else deltas
    return detection(logits_of(*scores), deltas, rois[: len(scores)], SIZE, **options)


SCORES = ((0.1, 0.9, 0.0), (0.2, 0.8, 0.0), (0.3, 0.0, 0.7), (0.4, 0.3, 0.3))


def test_detections_by_hand():
    """0.8 overlaps 0.9 and is dropped; the last RoI is one of each class, cut to the image."""
    seen = found(Detection(), SCORES)
    assert seen.scores.tolist() == pytest.approx([0.9, 0.7, 0.3, 0.3])
    assert seen.labels.tolist() == [1, 2, 1, 2]
    assert seen.boxes.tolist() == [[0, 0, 10, 10], [50, 50, 60, 60], *[[90, 40, 100, 50]] * 2]


@pytest.mark.parametrize(("threshold", "count"), [(0.3, 4), (0.5, 4), (0.85, 5)])
def test_nms_threshold(threshold, count):
    assert len(found(Detection(nms_iou=threshold), SCORES)) == count


def test_boxes_of_different_classes_do_not_compete():
    scores = ((0.1, 0.9, 0.0), (0.2, 0.0, 0.8))
    assert found(Detection(), scores, ROIS[:2]).labels.tolist() == [1, 2]


@pytest.mark.parametrize(("candidates", "labels"), [("all", [1, 2, 1, 2]), ("best", [1, 2])])
def test_every_class_or_the_best_alone(candidates, labels):
    """The fourth RoI's best class is background: with "best" (Matterport) it gives nothing."""
    assert found(Detection(candidates=candidates), SCORES).labels.tolist() == labels
    close = ((0.2, 0.5, 0.3),)
    best = found(Detection(candidates=candidates), close, ROIS[:1])
    assert best.labels.tolist() == labels[: {"all": 2, "best": 1}[candidates]]


@pytest.mark.parametrize(("least", "count"), [(0.05, 4), (0.31, 2), (0.71, 1), (0.91, 0)])
def test_min_score(least, count):
    assert len(found(Detection(min_score=least), SCORES)) == count


def test_limit_and_smallest_side():
    assert len(found(Detection(limit=2), SCORES)) == 2
    assert len(found(Detection(min_side=10.0), SCORES)) == 4
    assert len(found(Detection(min_side=10.01), SCORES)) == 0
    narrow = torch.tensor([[0.0, 0, 10, 10], [120, 0, 130, 10]])
    assert len(found(Detection(), SCORES[:2], narrow)) == 1, "an empty box is dropped"
    kept = found(Detection(), SCORES[:2], narrow, convention="inclusive")
    assert len(kept) == 2, "in Detectron a box outside keeps one pixel"


def test_boxes_that_are_not_finite_are_dropped():
    deltas = torch.zeros(2, 1, 4)
    deltas[0, 0, 0] = float("nan")
    assert len(found(Detection(), SCORES[:2], ROIS[:2], deltas)) == 1


def test_boxes_are_decoded_with_the_coder_of_the_head():
    """dx = 1 moves a 10 px box by 1 px with the weight 10, by 10 px with 1."""
    deltas = torch.tensor([[[1.0, 0, 0, 0]]])
    for coder, x in ((BOX_HEAD_CODER, 1.0), (BoxCoder(), 10.0)):
        seen = found(Detection(), SCORES[:1], ROIS[:1], deltas, coder=coder)
        assert seen.boxes.tolist() == [[x, 0, 10 + x, 10]]


@pytest.mark.parametrize(
    ("suppression", "scores"),
    [
        (HardNMS(), [0.9, 0.7]),
        (SoftNMS(decay="linear"), [0.9, 0.7, 0.8 * (1 - 0.8)]),  # eq. 2 of Bodla et al.
        (SoftNMS(decay="gaussian"), [0.9, 0.7, 0.8 * math.exp(-0.64 / 0.5)]),  # eq. 3
        (SoftNMS(decay="gaussian", sigma=1.0), [0.9, 0.7, 0.8 * math.exp(-0.64)]),
        (SoftNMS(decay="linear", min_score=0.2), [0.9, 0.7]),
    ],
)
def test_suppression_hard_and_soft(suppression, scores):
    """IoU of the first two is 0.8; the third has another class."""
    seen = found(Detection(suppression=suppression), SCORES[:3], ROIS[:3])
    assert seen.scores.tolist() == pytest.approx(scores)
    assert seen.boxes[2:].tolist() == [[0, 0, 10, 8]] * (len(scores) - 2)


def test_linear_decay_starts_at_the_threshold_and_gaussian_has_none():
    third = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4]])  # IoU 0.4, under the threshold of 0.5
    scores = SCORES[:2]
    linear = found(Detection(suppression=SoftNMS()), scores, third)
    assert linear.scores.tolist() == pytest.approx([0.9, 0.8])
    gaussian = found(Detection(suppression=SoftNMS(decay="gaussian")), scores, third)
    assert gaussian.scores.tolist() == pytest.approx([0.9, 0.8 * math.exp(-0.16 / 0.5)])


def soft_by_class(boxes, scores, labels, decay):
    """Figure 2 of Bodla et al. 2017, one class after the other, one box after the other."""
    kept = []
    for label in labels.unique().tolist():
        left = {i: float(scores[i]) for i in range(len(boxes)) if int(labels[i]) == label}
        while left:
            best = max(left, key=lambda i: (left[i], -i))
            kept.append((left.pop(best), best))
            for i in left:
                iou = float(kernels.box_iou(boxes[best][None], boxes[i][None]))
                left[i] *= (
                    math.exp(-iou * iou / 0.5) if decay == "gaussian" else 1 - iou * (iou > 0.3)
                )
    return sorted((pair for pair in kept if pair[0] >= 1e-4), key=lambda pair: -pair[0])


@pytest.mark.parametrize("decay", ["linear", "gaussian"])
def test_soft_nms_of_all_classes_at_once_is_that_of_each(decay):
    g = torch.Generator().manual_seed(1)
    corner = torch.rand(60, 2, generator=g) * 40
    boxes = torch.cat([corner, corner + 10 + 30 * torch.rand(60, 2, generator=g)], 1)
    scores, labels = torch.rand(60, generator=g), torch.randint(1, 4, (60,), generator=g)
    index, lowered = SoftNMS(decay=decay)(boxes, scores, labels, iou_threshold=0.3, limit=100)
    expected = soft_by_class(boxes, scores, labels, decay)
    assert index.tolist() == [i for _, i in expected]
    torch.testing.assert_close(lowered, torch.tensor([score for score, _ in expected]))
    first, _ = SoftNMS(decay=decay)(boxes, scores, labels, iou_threshold=0.3, limit=7)
    assert first.tolist() == index[:7].tolist()


@pytest.mark.parametrize("suppression", [HardNMS(), SoftNMS(), SoftNMS(decay="gaussian")])
def test_no_candidates_give_no_detections(suppression):
    none = found(Detection(suppression=suppression), ((1.0, 0.0, 0.0),) * 2, ROIS[:2])
    assert (len(none), none.boxes.shape) == (0, (0, 4))


# LVIS: 1,203 classes


def dense(detection, logits, deltas, rois, size):
    """The same with every class of every RoI decoded: (r, 1203, 4) several times over."""
    scores = logits.softmax(1)[:, 1:]
    boxes = clip(BOX_HEAD_CODER.decode(deltas, rois), size)
    roi, label = (scores > detection.min_score).nonzero(as_tuple=True)
    boxes, scores = boxes[roi, label], scores[roi, label]
    kept = kernels.batched_nms(boxes, scores, label, iou_threshold=detection.nms_iou)
    kept = kept[: detection.limit]
    return Detections(boxes[kept], label[kept] + 1, scores[kept])


class Largest(TorchDispatchMode):
    """The most numbers that any tensor made inside holds."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        view = isinstance(out, torch.Tensor) and out._is_view()
        if isinstance(out, torch.Tensor) and not view and func.namespace == "aten":
            self.most = max(self.most, out.untyped_storage().nbytes() // out.element_size())
        return out


def lvis(rois=100, classes=1203):
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(rois, 2, generator=g) * 60
    boxes = torch.cat([corner, corner + 5 + 30 * torch.rand(rois, 2, generator=g)], 1)
    logits = 4 * torch.randn(rois, classes + 1, generator=g)
    return logits, torch.randn(rois, classes, 4, generator=g), boxes, SIZE


def test_of_1203_classes_only_candidates_are_decoded():
    """Nothing larger than the (RoI, class) scores is made, and the result is that of all boxes."""
    inputs, detection = lvis(), Detection(limit=300)
    scores = inputs[0].numel()
    with Largest() as sparse:
        few = detection(*inputs)
    with Largest() as every:
        all_of_them = dense(detection, *inputs)
    assert len(few) > 50
    assert torch.equal(few.boxes, all_of_them.boxes)
    assert torch.equal(few.labels, all_of_them.labels)
    assert torch.equal(few.scores, all_of_them.scores)
    assert sparse.most <= scores
    assert every.most >= 4 * (scores - 100), "a dense decode would be seen"


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Detection(min_score=1.5),
        lambda: Detection(limit=0),
        lambda: SoftNMS(sigma=0.0),
        lambda: replace(SoftNMS(), min_score=-1.0),
    ],
)
def test_thresholds_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="need"):
        bad()
