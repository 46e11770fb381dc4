"""Mask targets: every backend against a slow loop, against each other, and at the edges."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.library import opcheck

import kernels
from tests import oracles

BACKENDS = kernels.operators()["crop_masks"].native("cpu")
RATIOS = st.sampled_from([1, 2, 3, "adaptive"])


def case(n, height, width, seed=0, dtype=torch.float64):
    """Three bitmaps, and boxes that may reach outside or lie there."""
    g = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, height, width, generator=g) < 0.6
    extent = torch.tensor([width, height], dtype=torch.float64)
    corner = (torch.rand(n, 2, generator=g, dtype=torch.float64) * 1.4 - 0.2) * extent
    side = torch.rand(n, 2, generator=g, dtype=torch.float64) * extent
    boxes = torch.cat([corner, corner + side], 1).to(dtype)
    return masks, torch.randint(3, (n,), generator=g), boxes


@pytest.mark.parametrize("backend", BACKENDS)
@given(
    n=st.integers(0, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**16),
    size=st.integers(1, 5),
    ratio=RATIOS,
    aligned=st.booleans(),
)
def test_equals_the_loop(backend, n, height, width, seed, size, ratio, aligned):
    masks, index, boxes = case(n, height, width, seed)
    options = dict(sampling_ratio=ratio, aligned=aligned)
    found = kernels.crop_masks(
        masks, index, boxes, size=size, threshold=None, backend=backend, **options
    )
    rois = torch.cat([index[:, None].double(), boxes], 1)
    options |= dict(output_size=(size, size), spatial_scale=1.0, reduce="mean")
    expected = oracles.every_bin(oracles.roi_align, masks[:, None].double(), rois, **options)
    torch.testing.assert_close(found, expected[:, 0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("ratio", [1, 2, 5, "adaptive"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numba_is_the_reference(ratio, aligned, dtype):
    """Large boxes, narrow ones, without area, reversed and outside."""
    masks, index, boxes = case(40, 60, 90, dtype=dtype)
    boxes[0, 2], boxes[1, 2] = boxes[1, 0], boxes[1, 0] - 3
    boxes[2, 2:], boxes[3] = boxes[2, :2] - 9.3, boxes[3] + 1000
    boxes[4] = torch.tensor([-300.0, -200, 500, 400])
    for size in (1, 28):
        run = dict(size=size, sampling_ratio=ratio, aligned=aligned)
        share = kernels.crop_masks(masks, index, boxes, **run, threshold=None, backend="numba")
        expected = kernels.crop_masks(
            masks, index, boxes, **run, threshold=None, backend="reference"
        )
        atol = 64 * torch.finfo(dtype).eps
        torch.testing.assert_close(share, expected, rtol=0, atol=atol)
        bits = kernels.crop_masks(masks, index, boxes, **run, threshold=0.5, backend="numba")
        sure = (expected - 0.5).abs() > 1e-4
        assert torch.equal(bits[sure], (expected >= 0.5)[sure].to(dtype))


@pytest.mark.parametrize("backend", BACKENDS)
def test_whole_pixels_are_the_bitmap_itself(backend):
    """A box of 4 x 4 px on 4 x 4 bins reads each pixel at its centre."""
    masks, index, _ = case(3, 9, 9)
    boxes = torch.tensor([[0.0, 0, 4, 4], [3, 2, 7, 6], [5, 5, 9, 9]])
    found = kernels.crop_masks(masks, index, boxes, size=4, backend=backend)
    for crop, i, (x1, y1, x2, y2) in zip(found, index, boxes.int().tolist(), strict=True):
        assert torch.equal(crop, masks[i, y1:y2, x1:x2].float())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_result_has_the_dtype_of_the_boxes_or_float32(backend, dtype):
    masks, index, boxes = case(5, 20, 30)
    found = kernels.crop_masks(masks, index, boxes.to(dtype), size=7, backend=backend)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert set(found.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_in_and_bitmaps_without_pixels(backend):
    masks, index, boxes = case(2, 5, 6, dtype=torch.float32)
    run = dict(size=3, backend=backend)
    assert kernels.crop_masks(masks, index[:0], boxes[:0], **run).shape == (0, 3, 3)
    assert kernels.crop_masks(masks[:0], index[:0], boxes[:0], **run).shape == (0, 3, 3)
    assert torch.equal(kernels.crop_masks(masks[:, :0], index, boxes, **run), torch.zeros(2, 3, 3))
    everywhere = kernels.crop_masks(masks, index, boxes + 1000, threshold=0.0, **run)
    assert torch.equal(everywhere, torch.ones(2, 3, 3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_layout_is_of_no_account(backend):
    masks, index, boxes = case(6, 20, 30, dtype=torch.float32)
    run = dict(size=7, threshold=None, backend=backend)
    expected = kernels.crop_masks(masks, index, boxes, **run)
    turned = masks.mT.contiguous().mT
    found = kernels.crop_masks(turned, index.flip(0), boxes.T.contiguous().T.flip(0), **run)
    torch.testing.assert_close(found.flip(0), expected, rtol=0, atol=1e-5)


def test_bad_input_is_named_in_one_line():
    masks, index, boxes = case(4, 9, 9)
    plain = getattr(kernels.crop_masks, "__wrapped__", kernels.crop_masks)
    with pytest.raises(ValueError, match="indices must be 0 to 2, got"):
        plain(masks, index + 2, boxes, size=3)
    with pytest.raises(ValueError, match="there are no masks"):
        plain(masks[:0], index, boxes, size=3)
    with pytest.raises(ValueError, match="box 0 is not finite"):
        plain(masks, index, boxes * float("nan"), size=3)
    with pytest.raises(ValueError, match="masks must be bool"):
        plain(masks.float(), index, boxes, size=3)
    with pytest.raises(ValueError, match="index must be"):
        plain(masks, index[:2], boxes, size=3)
    with pytest.raises(ValueError, match="size must be"):
        plain(masks, index, boxes, size=0)
    with pytest.raises(ValueError, match="sampling_ratio"):
        plain(masks, index, boxes, size=3, sampling_ratio=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_operator_is_sound_to_pytorch(backend):
    masks, index, boxes = case(4, 9, 9, dtype=torch.float16)
    for threshold in (0.5, None):
        opcheck(
            torch.ops.mrcnn_lab.crop_masks.default,
            (masks, index, boxes, 3, 0, True, threshold, backend),
        )


def test_compiled_is_the_same():
    masks, index, boxes = case(5, 20, 30, dtype=torch.float32)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(masks, index, boxes):
        crop_masks = torch.ops.mrcnn_lab.crop_masks  # without shape checks
        return crop_masks(masks, index, boxes, 7, 0, True, 0.5, "numba")

    assert torch.equal(
        compiled(masks, index, boxes), kernels.crop_masks(masks, index, boxes, size=7)
    )
