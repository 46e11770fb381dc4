"""CropAndResize: TensorFlow's rules, by both backends."""

import pytest
import torch

from kernels import crop_and_resize
from kernels.crop_and_resize import CROP_AND_RESIZE
from tests.oracles import bilinear

BACKENDS = CROP_AND_RESIZE.native("cpu")
ALL = pytest.mark.parametrize("backend", BACKENDS)
WHOLE = torch.tensor([[0.0, 0, 0, 1, 1]])


def point(low, high, bins, length, i):
    """Where bin i is read, in pixels."""
    if bins == 1:
        return (low + high) / 2 * (length - 1)
    return low * (length - 1) + i * (high - low) * (length - 1) / (bins - 1)


def by_loop(features, rois, size, value):
    """Point by point, from the formula of TensorFlow's documentation."""
    height, width = features.shape[2:]
    out = torch.full((len(rois), features.shape[1], *size), value, dtype=torch.float64)
    for r, c, p, q in torch.cartesian_prod(*[torch.arange(n) for n in out.shape]).tolist():
        image, x1, y1, x2, y2 = rois[r].tolist()
        y, x = point(y1, y2, size[0], height, p), point(x1, x2, size[1], width, q)
        if 0 <= y <= height - 1 and 0 <= x <= width - 1:
            out[r, c, p, q] = bilinear(features[int(image), c], y, x)
    return out


def some(dtype=torch.float64):
    g = torch.Generator().manual_seed(3)
    features = torch.randn(3, 5, 6, 9, generator=g).to(dtype)
    ends = torch.rand(12, 4, generator=g) * 1.6 - 0.3  # mirrored and outside ones among them
    return features, torch.cat([torch.arange(12)[:, None] % 3, ends], 1).to(dtype)


@ALL
@pytest.mark.parametrize("size", [(3, 4), (1, 1), (1, 5), (7, 2)])
@pytest.mark.parametrize("value", [0.0, -2.5])
def test_every_bin_equals_the_loop(backend, size, value):
    features, rois = some()
    found = crop_and_resize(
        features, rois, output_size=size, extrapolation_value=value, backend=backend
    )
    torch.testing.assert_close(found, by_loop(features, rois, size, value), rtol=0, atol=1e-12)


@ALL
def test_the_whole_box_at_its_own_size_is_the_map(backend):
    """Exactly, the last row and column too: rounding must not push them outside."""
    for side in range(2, 60):
        plane = torch.rand(1, 2, side, side + 1)
        found = crop_and_resize(plane, WHOLE, output_size=(side, side + 1), backend=backend)
        torch.testing.assert_close(found, plane, rtol=0, atol=1e-5)
        value = torch.full_like(plane, 1.0)
        small = crop_and_resize(
            value, WHOLE, output_size=7, extrapolation_value=9.0, backend=backend
        )
        torch.testing.assert_close(small, torch.ones(1, 2, 7, 7))


@ALL
def test_swapped_ends_flip(backend):
    features, _ = some()
    roi = torch.tensor([[1, 0.1, 0.2, 0.8, 0.9]], dtype=torch.float64)
    flipped = roi[:, [0, 3, 4, 1, 2]]
    one, other = (
        crop_and_resize(features, r, output_size=(3, 4), backend=backend) for r in (roi, flipped)
    )
    torch.testing.assert_close(one, other.flip(2, 3))


@ALL
def test_gradients(backend):
    features, rois = some()
    features = features[:2, :1, :3, :4].requires_grad_()
    rois[:, 0] %= 2

    def crop(f):
        return crop_and_resize(
            f, rois[:5], output_size=(2, 3), extrapolation_value=1.5, backend=backend
        )

    assert torch.autograd.gradcheck(crop, features)


def test_second_derivatives_where_it_is_linear():
    features, rois = some()
    features = features[:1, :1, :3, :4].requires_grad_()
    rois[:, 0] = 0

    def crop(f):
        return crop_and_resize(f, rois[:3], output_size=2, backend="numba")

    assert torch.autograd.gradgradcheck(crop, features)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_single_and_half_precision(backend, dtype):
    features, rois = some(torch.float32)
    features = features.to(dtype)
    rois[:, 1:] = rois[:, 1:] * 0.3 + 0.3  # away from the border, which float32 may cross
    found = crop_and_resize(features, rois, output_size=(3, 4), backend=backend)
    expected = by_loop(features.double(), rois.double(), (3, 4), 0.0)
    assert found.dtype == dtype
    bound = (32 * torch.finfo(torch.float32).eps + torch.finfo(dtype).eps) * float(features.max())
    assert float((found.double() - expected).abs().max()) <= bound


@ALL
def test_nothing_in_gives_nothing_out(backend):
    none = crop_and_resize(torch.rand(1, 4, 5, 5), WHOLE[:0], output_size=(2, 3), backend=backend)
    assert none.shape == (0, 4, 2, 3)
    void = torch.rand(1, 4, 0, 5)
    found = crop_and_resize(void, WHOLE, output_size=2, extrapolation_value=3.0, backend=backend)
    assert torch.equal(found, torch.full((1, 4, 2, 2), 3.0))
    one = crop_and_resize(torch.ones(1, 4, 1, 1), WHOLE, output_size=2, backend=backend)
    assert torch.equal(one, torch.ones(1, 4, 2, 2))


def test_numba_keeps_the_layout_and_the_bits():
    features, rois = some(torch.float32)
    results = {}
    for threads in (1, 2, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        for layout in (torch.contiguous_format, torch.channels_last):
            leaf = features.detach().contiguous(memory_format=layout).requires_grad_()
            out = crop_and_resize(leaf, rois, output_size=(3, 4), backend="numba")
            out.sin().sum().backward()
            assert out.is_contiguous(memory_format=layout)
            assert leaf.grad.is_contiguous(memory_format=layout)
            first = results.setdefault(layout, leaf.grad)
            assert torch.equal(first, leaf.grad)
        torch.set_num_threads(before)


@ALL
def test_nan_comes_through_where_it_is_read(backend):
    features = torch.ones(1, 1, 4, 4)
    features[..., 3, 3] = torch.nan
    found = crop_and_resize(features, WHOLE, output_size=2, backend=backend)
    assert bool(found[0, 0, 1, 1].isnan())


def test_numba_reads_no_pixel_of_no_weight():
    features = torch.ones(1, 1, 4, 4)
    features[..., 3, 3] = torch.nan
    found = crop_and_resize(features, WHOLE, output_size=2, backend="numba")
    assert found[0, 0].isnan().tolist() == [[False, False], [False, True]]


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@ALL
def test_as_a_torch_operator(backend):
    features, rois = some(torch.float32)
    given = (features.requires_grad_(), rois, [2, 3], 0.5, backend)
    torch.library.opcheck(torch.ops.mrcnn_lab.crop_and_resize, given)


def test_compiles_without_a_break():
    features, rois = some(torch.float32)
    features.requires_grad_()

    def loss(f):
        crop = torch.ops.mrcnn_lab.crop_and_resize  # without shape checks
        return crop(f, rois, [2, 3], 0.5, "numba").sin().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,), (expected,) = (torch.autograd.grad(f(features), features) for f in (compiled, loss))
    torch.testing.assert_close(found, expected)


def test_bad_input_is_named():
    features, rois = some()
    with pytest.raises(ValueError, match="image indices"):
        crop_and_resize(features[:1], rois, output_size=2)
    with pytest.raises(ValueError, match="not finite"):
        crop_and_resize(features, rois * torch.nan, output_size=2)
    with pytest.raises(ValueError, match="output_size"):
        crop_and_resize(features, rois, output_size=0)
