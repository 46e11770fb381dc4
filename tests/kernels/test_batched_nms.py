"""NMS within labels: every backend, and what a label means."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.library import opcheck

import kernels

BACKENDS = kernels.operators()["batched_nms"].native("cpu")


def case(n, labels, seed=0, dtype=torch.float32):
    """Boxes in 100 x 100 px with scores all different, and labels -3, 4, 11, ..."""
    g = torch.Generator().manual_seed(seed)
    corner, side = torch.rand(n, 2, generator=g) * 40, torch.rand(n, 2, generator=g) * 50 + 10
    boxes = torch.cat([corner, corner + side], 1)
    scores = torch.randperm(n, generator=g) / max(n, 1)
    return boxes.to(dtype), scores.to(dtype), torch.randint(labels, (n,), generator=g) * 7 - 3


def alone(boxes, scores, labels, threshold):
    """One list of survivors per label, then all of them sorted: plain Python."""
    kept = []
    for label in set(labels.tolist()):
        here = [i for i in range(len(labels)) if labels[i] == label]
        for k in kernels.nms(boxes[here], scores[here], iou_threshold=threshold).tolist():
            kept.append(here[k])
    return sorted(kept, key=lambda i: (-float(scores[i]), i))


@pytest.mark.parametrize("backend", BACKENDS)
@given(n=st.integers(0, 90), labels=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_each_label_is_alone(backend, n, labels, seed):
    boxes, scores, names = case(n, labels, seed)
    names = names + 3 if backend == "torchvision" else names  # it makes coordinates of them
    found = kernels.batched_nms(boxes, scores, names, iou_threshold=0.5, backend=backend)
    assert found.tolist() == alone(boxes, scores, names, 0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_with_one_label_it_is_nms(backend):
    boxes, scores, labels = case(80, 1)
    found = kernels.batched_nms(boxes, scores, labels, iou_threshold=0.5, backend=backend)
    alone = kernels.nms(boxes, scores, iou_threshold=0.5, backend=backend)
    assert 0 < len(alone) < 80
    assert torch.equal(found, alone)


@given(
    n=st.integers(0, 200),
    seed=st.integers(0, 2**16),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    double=st.booleans(),
)
def test_numba_keeps_the_references_list_at_ties_too(n, seed, threshold, double):
    boxes, scores, labels = case(n, 3, seed, torch.float64 if double else torch.float32)
    boxes, scores = (boxes / 10).round() * 10, (scores * 20).round() / 20
    run = dict(iou_threshold=threshold)
    expected = kernels.batched_nms(boxes, scores, labels, **run, backend="reference")
    assert torch.equal(kernels.batched_nms(boxes, scores, labels, **run, backend="numba"), expected)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_far_labels_cost_no_digits(backend):
    """Moved by label x 1,000 px, these boxes would be rounded to 64 px and found equal."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 15], [900, 900, 1000, 1000]])
    labels = torch.full((3,), 1_000_000)
    run = dict(iou_threshold=0.5, backend=backend)
    assert kernels.batched_nms(boxes, torch.tensor([3.0, 2, 1]), labels, **run).tolist() == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type(backend, dtype):
    boxes, scores, labels = case(60, 3, dtype=dtype)
    scores, labels = torch.linspace(0, 1, 60).to(dtype), labels + 3
    run = dict(iou_threshold=0.5, backend=backend)
    found = kernels.batched_nms(boxes, scores, labels, **run)
    assert found.dtype == torch.long
    assert found.tolist() == alone(boxes, scores, labels, 0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_in_gives_nothing_out(backend):
    found = kernels.batched_nms(*case(0, 1), iou_threshold=0.5, backend=backend)
    assert found.shape == (0,)
    assert found.dtype == torch.long


def test_bad_input_is_named_in_one_line():
    boxes, scores, labels = case(4, 2)
    plain = getattr(kernels.batched_nms, "__wrapped__", kernels.batched_nms)
    with pytest.raises(ValueError, match="scores and labels"):
        plain(boxes, scores, labels[:3], iou_threshold=0.5)
    with pytest.raises(ValueError, match="boxes must be"):
        plain(boxes[:, :3], scores, labels, iou_threshold=0.5)
    with pytest.raises(ValueError, match="iou_threshold"):
        plain(boxes, scores, labels, iou_threshold=1.5)
    for backend in BACKENDS:
        with pytest.raises(ValueError, match="score of box 0 is NaN"):
            plain(boxes, scores * float("nan"), labels, iou_threshold=0.5, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_operator_is_sound_to_pytorch(backend):
    boxes, scores, labels = case(9, 2)
    opcheck(torch.ops.mrcnn_lab.batched_nms.default, (boxes, scores, labels + 3, 0.5, backend))


def test_compiled_is_the_same():
    boxes, scores, labels = case(40, 3)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(boxes, scores, labels):
        batched_nms = torch.ops.mrcnn_lab.batched_nms  # without shape checks
        return batched_nms(boxes, scores, labels, 0.5, "numba")

    assert compiled(boxes, scores, labels).tolist() == alone(boxes, scores, labels, 0.5)
