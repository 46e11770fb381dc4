"""The Numba backends of box_iou, nms and paste_masks equal their references."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.library import opcheck

import kernels

THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.95, 1.0)
OPS = torch.ops.mrcnn_lab


def some_boxes(n, dtype=torch.float32, seed=0, whole=False):
    """Boxes in 100 x 100 px, many alike; whole: corners on a grid, so that IoUs are fractions."""
    g = torch.Generator().manual_seed(seed)
    corner, side = torch.rand(n, 2, generator=g) * 40, torch.rand(n, 2, generator=g) * 50 + 10
    found = torch.cat([corner, corner + side], 1)
    return ((found / 10).round() * 10 if whole else found).to(dtype)


def odd_boxes(dtype=torch.float32):
    """Ordinary boxes among those without area, reversed, huge and not finite."""
    inf, nan = float("inf"), float("nan")
    rows = [[0, 0, 10, 10], [5, 5, 5, 9], [3, 3, 3, 3], [9, 9, 1, 1], [9, 1, 1, 9], [0, 0, 9, 10]]
    rows += [[nan, 0, 10, 10], [0, 0, 10, nan], [0, 0, inf, 10], [-inf, 0, inf, 10]]
    rows += [[-inf, -inf, inf, inf], [inf, 0, 0, 10], [0, 0, inf, 0], [-1e30, -1e30, 1e30, 1e30]]
    return torch.tensor(rows, dtype=dtype)


def equal_lists(boxes, scores, threshold):
    run = {b: kernels.nms(boxes, scores, iou_threshold=threshold, backend=b) for b in BOTH}
    assert run["numba"].tolist() == run["reference"].tolist()


BOTH = ("reference", "numba")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_iou_is_the_references_to_the_last_bit(dtype):
    a, b = some_boxes(70, dtype), some_boxes(41, dtype, seed=1)
    for left, right in [(a, b), (a, a), (odd_boxes(dtype), odd_boxes(dtype)), (a[:0], b)]:
        expected = kernels.box_iou(left, right, backend="reference")
        found = kernels.box_iou(left, right, backend="numba")
        assert found.dtype == dtype
        assert torch.equal(found, expected)
    assert torch.equal(kernels.box_iou(a.flip(0)[::2], b, backend="numba"), expected_rows(a, b))


def expected_rows(a, b):
    return kernels.box_iou(a, b, backend="reference").flip(0)[::2]


def test_iou_of_float32_with_float64_is_the_references():
    a, b = some_boxes(9), some_boxes(7, torch.float64, seed=1)
    found = kernels.box_iou(a, b, backend="numba")
    expected = kernels.box_iou(a, b, backend="reference")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_gradcheck_of_iou():
    a = some_boxes(3, torch.float64).requires_grad_()
    b = some_boxes(4, torch.float64, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: kernels.box_iou(a, b, backend="numba"), (a, b))


@given(
    n=st.integers(0, 150),
    seed=st.integers(0, 2**16),
    threshold=st.sampled_from(THRESHOLDS),
    whole=st.booleans(),
    double=st.booleans(),
)
def test_nms_keeps_the_references_list_at_ties_too(n, seed, threshold, whole, double):
    g = torch.Generator().manual_seed(seed)
    boxes = some_boxes(n, torch.float64 if double else torch.float32, seed, whole)
    equal_lists(boxes, (torch.rand(n, generator=g) * 20).round() / 20, threshold)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_nms_of_odd_boxes_and_scores(threshold):
    boxes = odd_boxes()
    equal_lists(boxes, torch.linspace(1, 0, len(boxes)), threshold)
    equal_lists(boxes, torch.linspace(0, 1, len(boxes)), threshold)
    inf = float("inf")
    scores = torch.tensor([0.0, -0.0, inf, -inf, 1.0, inf]).repeat(20)
    equal_lists(some_boxes(120), scores, threshold)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nms_of_half_precision(dtype):
    equal_lists(some_boxes(80, dtype), torch.linspace(0, 1, 80, dtype=dtype), 0.5)


def test_an_iou_at_the_threshold_keeps():
    """7 of 10 px shared: the IoU is 0.7 as float32 has it."""
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 7, 1]])
    run = dict(scores=torch.tensor([1.0, 0.5]), backend="numba")
    assert kernels.nms(boxes, **run, iou_threshold=0.7).tolist() == [0, 1]
    assert kernels.nms(boxes, **run, iou_threshold=0.699).tolist() == [0]


def test_nms_refuses_nan():
    with pytest.raises(ValueError, match="score of box 1 is NaN"):
        kernels.nms(
            some_boxes(2), torch.tensor([1, float("nan")]), iou_threshold=0.5, backend="numba"
        )


def some_masks(n, m, dtype=torch.float32, seed=0):
    """Masks, and boxes that may reach outside (90, 110), lie there, have no area, be reversed."""
    g = torch.Generator().manual_seed(seed)
    middle = torch.rand(n, 2, generator=g) * 120 - 10
    half = torch.rand(n, 2, generator=g) * 40
    boxes = torch.cat([middle - half, middle + half], 1)
    boxes[0, 2], boxes[1], boxes[2] = boxes[0, 0], boxes[1] + 1000, boxes[2, [2, 3, 0, 1]]
    boxes[3] = torch.tensor([-400.0, -300, 500, 700])
    return torch.rand(n, m, m, generator=g).to(dtype), boxes.to(dtype)


@pytest.mark.parametrize("method", ["exact", "grown"])
@pytest.mark.parametrize("m", [1, 2, 28])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_paste_is_the_references(method, m, dtype):
    masks, boxes = some_masks(8, m, dtype)
    run = dict(size=(90, 110), method=method)
    soft = kernels.paste_masks(masks, boxes, **run, threshold=None, backend="numba")
    expected = kernels.paste_masks(masks, boxes, **run, threshold=None, backend="reference")
    assert soft.dtype == dtype
    eps = max(
        64 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps, torch.finfo(dtype).eps
    )
    torch.testing.assert_close(soft, expected, rtol=0, atol=eps)
    for threshold in (0.5, 0.2, 0.0, -1.0):
        bits = kernels.paste_masks(masks, boxes, **run, threshold=threshold, backend="numba")
        sure = (expected.double() - threshold).abs() > 2 * eps
        assert bits.dtype == torch.bool
        assert torch.equal(bits[sure], (expected >= threshold)[sure])
        assert bool(bits.all()) == (threshold <= 0)


def test_paste_of_nothing_and_of_other_layouts():
    masks, boxes = some_masks(8, 28)
    run = dict(size=(90, 110), backend="numba")
    assert kernels.paste_masks(masks[:0], boxes[:0], **run).shape == (0, 90, 110)
    turned = kernels.paste_masks(masks.mT.contiguous().mT[::2], boxes.T.contiguous().T[::2], **run)
    assert torch.equal(turned, kernels.paste_masks(masks, boxes, **run)[::2])


@pytest.mark.parametrize("backend", kernels.operators()["paste_masks"].native("cpu"))
def test_paste_refuses_boxes_that_are_not_finite(backend):
    masks, boxes = some_masks(8, 28)
    boxes[5, 2] = float("inf")
    with pytest.raises(ValueError, match="box 5 is not finite"):
        kernels.paste_masks(masks, boxes, size=(9, 9), method="grown", backend=backend)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_the_operators_are_sound_to_pytorch():
    masks, boxes = some_masks(4, 5)
    scores = torch.linspace(0, 1, 4)
    iou = (some_boxes(3).requires_grad_(), some_boxes(4, seed=1).requires_grad_(), "numba")
    opcheck(OPS.box_iou.default, iou)
    opcheck(OPS.nms.default, (boxes, scores, 0.5, "numba"))
    for threshold in (0.5, None):
        opcheck(OPS.paste_masks.default, (masks, boxes, [9, 11], "exact", threshold, "numba"))


def test_compiled_is_the_same():
    masks, boxes = some_masks(6, 7)
    scores = torch.linspace(0, 1, 6)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def both(masks, boxes, scores):
        kept = OPS.nms(boxes, scores, 0.5, "numba")  # without shape checks
        return kept, OPS.paste_masks(masks[kept], boxes[kept], [20, 30], "exact", 0.5, "numba")

    found = both(masks, boxes, scores)
    kept = kernels.nms(boxes, scores, iou_threshold=0.5)
    assert torch.equal(found[0], kept)
    assert torch.equal(found[1], kernels.paste_masks(masks[kept], boxes[kept], size=(20, 30)))
