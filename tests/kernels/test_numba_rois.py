"""The Numba backends of the RoI operators equal their references, in every layout and dtype."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.library import opcheck

from kernels import roi_align, roi_pool, roi_warp
from kernels.roi_pool.numba import _give_back

F64, F32 = torch.float64, torch.float32
ALIGN = [
    dict(output_size=7),
    dict(output_size=(3, 2), sampling_ratio=1),
    dict(output_size=(2, 5), sampling_ratio=3, aligned=False),
    dict(output_size=(3, 4), sampling_ratio="adaptive"),
    dict(output_size=(3, 4), sampling_ratio="adaptive", aligned=False),
    dict(output_size=(3, 4), reduce="max"),
    dict(output_size=(2, 3), reduce="max", sampling_ratio="adaptive"),
]
OPERATORS = [
    *[pytest.param(partial(roi_align, **options), id=f"align {options}") for options in ALIGN],
    pytest.param(partial(roi_pool, output_size=(3, 4)), id="pool"),
    pytest.param(partial(roi_pool, output_size=7), id="pool 7"),
    pytest.param(partial(roi_warp, output_size=(3, 4)), id="warp"),
    pytest.param(partial(roi_warp, output_size=2, reduce="max"), id="warp max"),
]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def case(dtype=F64, channels=37):
    """Three images and RoIs inside, across and beyond their maps, of no and of negative size."""
    g = torch.Generator().manual_seed(11)
    features = torch.randn(3, channels, 9, 13, generator=g).to(dtype)
    corner, side = torch.rand(24, 2, generator=g) * 60 - 10, torch.rand(24, 2, generator=g) * 60 - 8
    corner, side = corner.to(dtype), side.to(dtype)
    side[:2] = 0
    corner[2:4] += 500
    image = torch.randint(3, (24, 1), generator=g).to(dtype)
    return features, torch.cat([image, corner, corner + side], 1)


def result_and_gradient(op, features, rois, backend):
    leaf = features.detach().requires_grad_()
    out = op(leaf, rois, spatial_scale=0.25, backend=backend)
    factor = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return out.detach(), torch.autograd.grad((out * factor).sum(), leaf)[0]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_equals_the_reference(op, dtype, layout):
    features, rois = case(dtype)
    features = features.contiguous(memory_format=layout)
    found = result_and_gradient(op, features, rois, "numba")
    expected = result_and_gradient(op, features, rois, "reference")
    bound = 1e-11 if dtype == F64 else 3e-4  # coordinates up to 150 in float32, 24 RoIs added up
    for one, other in zip(found, expected, strict=True):
        assert one.is_contiguous(memory_format=layout)
        torch.testing.assert_close(one, other, rtol=0, atol=bound)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_the_same_bits_on_any_number_of_threads(op, layout):
    features, rois = case(F32, channels=130)
    features = features.contiguous(memory_format=layout)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        results.append(result_and_gradient(op, features, rois, "numba"))
    torch.set_num_threads(before)
    for result in results[1:]:
        assert all(map(torch.equal, results[0], result))


@pytest.mark.parametrize("op", OPERATORS)
def test_slices_of_larger_tensors(op):
    features, rois = case()
    wide = torch.zeros(3, 37, 20, 30, dtype=F64)
    view = wide[:, :, 3:12, 5:18].copy_(features)
    spread = torch.zeros(24, 9, dtype=F64)[:, ::2].copy_(rois)
    found = result_and_gradient(op, view, spread, "numba")
    expected = result_and_gradient(op, features, rois, "numba")
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("op", OPERATORS)
def test_expanded_gradients(op):
    features, rois = case()
    leaf = features.requires_grad_()
    found, expected = (
        torch.autograd.grad(op(leaf, rois, spatial_scale=0.25, backend=b).sum(), leaf)[0]
        for b in ("numba", "reference")
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("op", [roi_align, partial(roi_align, reduce="max"), roi_pool])
def test_nan_comes_through_where_it_is_read_and_only_there(op):
    features = torch.zeros(1, 2, 8, 8)
    features[0, 0, 1, 1] = torch.nan
    rois = torch.tensor([[0.0, 0, 0, 8, 8]])
    found = op(features, rois, output_size=2, spatial_scale=1.0, backend="numba")
    assert found.isnan().flatten().tolist() == [True, *[False] * 7]


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
def test_infinity_comes_through(value):
    features = torch.full((1, 1, 6, 6), value)
    rois = torch.tensor([[0.0, 0, 0, 6, 6]])
    for op in (roi_align, partial(roi_align, reduce="max")):
        found = op(features, rois, output_size=2, spatial_scale=1.0, backend="numba")
        assert torch.equal(found, torch.full((1, 1, 2, 2), value))
    pooled = roi_pool(features, rois, output_size=2, spatial_scale=1.0, backend="numba")
    assert torch.equal(pooled, torch.full((1, 1, 2, 2), max(value, 0.0)))


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_as_torch_operators(layout):
    features, rois = case(F32, channels=3)
    leaf = features.contiguous(memory_format=layout).requires_grad_()
    operators = torch.ops.mrcnn_lab
    opcheck(operators.roi_align, (leaf, rois, [2, 3], 0.25, 2, True, "mean", "numba"))
    opcheck(operators.roi_pool, (leaf, rois, [2, 3], 0.25, "numba"))


def test_compiles_without_a_break():
    features, rois = case(F32)
    features.requires_grad_()

    def loss(f):
        pooled = torch.ops.mrcnn_lab.roi_pool(f, rois, [2, 3], 0.25, "numba")
        align = torch.ops.mrcnn_lab.roi_align  # without shape checks
        return (pooled * align(f, rois, [2, 3], 0.25, 2, True, "mean", "numba")).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,), (expected,) = (torch.autograd.grad(f(features), features) for f in (compiled, loss))
    torch.testing.assert_close(found, expected)


def test_second_derivatives_of_the_mean():
    features, rois = case()
    leaf = features[:1, :1, :3, :3].detach().requires_grad_()
    rois[:, 0] = 0
    run = partial(roi_align, output_size=2, spatial_scale=0.05, backend="numba")
    assert torch.autograd.gradgradcheck(lambda f: run(f, rois[4:6]), leaf)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_of_equal_pixels_has_the_gradient_of_a_pool(threads, kind):
    """As torchvision has it; the reference shares it out among them."""
    features, rois = case(F32, channels=37)
    features[:, :, 2:7] = features[:, :, 2:3]
    leaf = features.clone().requires_grad_()
    out = roi_pool(leaf, rois, output_size=(3, 4), spatial_scale=0.25, backend="torchvision")
    grad = torch.linspace(-1, 1, out.numel()).view(out.shape)
    (expected,) = torch.autograd.grad(out, leaf, grad)
    grads, maps = (t.permute(0, 2, 3, 1).contiguous().numpy() for t in (grad, features))
    found = np.zeros_like(maps)
    _give_back(grads, maps, rois.numpy(), 0.25, found, np.empty(0, kind), threads)
    torch.testing.assert_close(torch.from_numpy(found).permute(0, 3, 1, 2), expected)
