"""RoIAlign in CUDA, emulated on a CPU: the reference's values and gradients, in every option."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch

from kernels import multilevel_roi_align, roi_align
from kernels.cuda.emulation import ORDERS, ordered
from kernels.multilevel_roi_align import cuda

pytestmark = pytest.mark.lane("emulated")
SCALES = (1 / 4, 1 / 8, 1 / 16)
LAST, PLAIN = torch.channels_last, torch.contiguous_format
OPTIONS = [
    dict(output_size=7),
    dict(output_size=(3, 2), sampling_ratio=1, aligned=False),
    dict(output_size=(2, 5), sampling_ratio=3),
    dict(output_size=(5, 4), sampling_ratio="adaptive"),
    dict(output_size=(3, 4), sampling_ratio="adaptive", aligned=False),
    dict(output_size=(3, 4), reduce="max"),
    dict(output_size=(2, 3), reduce="max", sampling_ratio="adaptive"),
]
EACH = pytest.mark.parametrize("options", OPTIONS, ids=str)


@contextmanager
def deterministic(on=True):
    torch.use_deterministic_algorithms(on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def pyramid(dtype=torch.float32, channels=8, images=2, layout=LAST):
    """Maps of a 96 x 64 image; RoIs in it, across its border, far from it, flat, inside out."""
    g = torch.Generator().manual_seed(5)
    sizes = [(16, 24), (8, 12), (4, 6)]
    maps = [torch.randn(images, channels, *s, generator=g).to(dtype) for s in sizes]
    corner, side = torch.rand(22, 2, generator=g) * 80 - 10, torch.rand(22, 2, generator=g) * 60
    side[:2], side[2:4] = 0, -side[2:4]
    corner[4:6] += 500
    image, level = torch.randint(images, (22, 1), generator=g), torch.randint(3, (22,), generator=g)
    rois = torch.cat([image, corner, corner + side], 1)
    rois = rois.to(torch.promote_types(dtype, torch.float32))
    return [m.contiguous(memory_format=layout).requires_grad_() for m in maps], rois, level


def pooled(maps, rois, levels, backend="emulated", **options):
    return multilevel_roi_align(
        maps, rois, levels, spatial_scales=SCALES, backend=backend, **options
    )


def gradients(out, maps, dtype=torch.float32):
    grad = torch.linspace(-1, 1, out.numel()).to(dtype).to(out.dtype)
    return torch.autograd.grad(out, maps, grad.view(out.shape))


def compare(dtype, channels, layout, options):
    """Result and both kinds of gradient against float64 on the same numbers."""
    maps, rois, levels = pyramid(dtype, channels, layout=layout)
    wide = [m.detach().double().requires_grad_() for m in maps]
    expected = pooled(wide, rois.double(), levels, "reference", **options)
    eps = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    rough = torch.finfo(dtype).eps
    near = 1e-11 if dtype == torch.float64 else 512 * eps + 4 * rough
    found = pooled(maps, rois, levels, **options)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=layout)
    assert (found - expected).abs().max() <= near
    slope = gradients(expected, wide, dtype)
    for on in (False, True):
        with deterministic(on):
            given = gradients(pooled(maps, rois, levels, **options), maps, dtype)
        for one, other in zip(given, slope, strict=True):
            assert one.dtype == dtype
            assert one.is_contiguous(memory_format=layout)
            assert (one - other).abs().max() <= 4 * near


@EACH
def test_equals_the_reference_in_float64(options):
    compare(torch.float64, 13, LAST, options)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_equals_the_reference_in_wide_loads(options, dtype):
    compare(dtype, 16, LAST, options)


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 13, 72])
def test_equals_the_reference_in_any_number_of_channels(channels):
    compare(torch.float32, channels, LAST, OPTIONS[0])


def test_equals_the_reference_in_bfloat16():
    compare(torch.bfloat16, 16, LAST, OPTIONS[0])


@EACH
def test_equals_the_reference_where_channels_come_first(options):
    compare(torch.float32, 8, PLAIN, options)


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        (PLAIN, dict(output_size=14)),  # in a larger tile
        (PLAIN, dict(output_size=(20, 15), sampling_ratio=1)),  # in none
        (LAST, dict(output_size=(35, 2))),  # more than 32 bins
        (LAST, dict(output_size=(2, 3), sampling_ratio=90)),  # more taps than tables take
    ],
    ids=str,
)
def test_sizes_beyond_the_usual(layout, options):
    compare(torch.float64, 13, layout, options)


def test_adaptive_sampling_of_long_maps():
    features = torch.randn(1, 4, 3, 600, generator=torch.Generator().manual_seed(1))
    rois = torch.tensor([[0.0, 5, 0, 595, 3], [0, 300, 1, 320, 2]])
    run = partial(roi_align, output_size=(2, 3), spatial_scale=1.0, sampling_ratio="adaptive")
    leaf = features.requires_grad_()
    found, expected = (run(leaf, rois, backend=b) for b in ("emulated", "reference"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    one, other = (torch.autograd.grad(out.square().sum(), leaf)[0] for out in (found, expected))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def in_each_order(reduce):
    """The gradients of one map under a crowd of RoIs, blocks and threads in different orders."""
    maps, rois, _ = pyramid(images=1)
    found = []
    for order in ORDERS:
        with ordered(order, seed=3):
            out = roi_align(
                maps[0],
                rois,
                output_size=3,
                spatial_scale=0.25,
                reduce=reduce,
                backend="emulated",
            )
            found += gradients(out, maps[:1])
    return found


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_the_deterministic_gradient_is_the_same_in_any_order(reduce):
    with deterministic():
        found = in_each_order(reduce)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_the_usual_gradient_is_not(reduce):
    """So that the test before this one could fail."""
    found = in_each_order(reduce)
    assert not all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_nan_comes_through_where_it_is_read_and_only_there(reduce):
    features = torch.zeros(1, 4, 8, 8).contiguous(memory_format=LAST)
    features[0, 0, 1, 1] = torch.nan
    rois = torch.tensor([[0.0, 0, 0, 8, 8]])
    found = roi_align(
        features, rois, output_size=2, spatial_scale=1.0, reduce=reduce, backend="emulated"
    )
    assert found.isnan().flatten().tolist() == [True, *[False] * 15]


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("ratio", [2, 0])
def test_rois_that_a_gpu_cannot_refuse(ratio, reduce):
    """Of an image or a level that is not there, or not finite: zeros, and no gradient."""
    maps, rois, _ = pyramid()
    rois[:, :] = torch.tensor([1.0, 8, 8, 40, 30])
    rois[0, 0], rois[1, 0], rois[2, 0], rois[3, 1] = -1, 2, torch.nan, torch.nan
    rois[4, 3], rois[5, 2], rois[6, 0] = torch.inf, -torch.inf, 1e30
    levels = torch.zeros(22, dtype=torch.int64)
    levels[7], levels[8] = -1, 3
    options = dict(
        output_size=[2, 2], spatial_scales=SCALES, sampling_ratio=ratio, aligned=True, reduce=reduce
    )
    found = cuda.multilevel_roi_align(maps, rois, levels, **options)
    assert not found[:9].any()
    assert found[9:].all(dim=3).any()
    for on in (False, True):
        grad = torch.ones_like(found)
        grad[9:] = 0
        with deterministic(on):
            given = cuda.backward(grad, features=maps, rois=rois, levels=levels, **options)
        assert not any(one.any() for one in given)


def test_nothing_in_gives_nothing_out():
    maps, rois, levels = pyramid()
    assert pooled(maps, rois[:0], levels[:0], output_size=(2, 3)).shape == (0, 8, 2, 3)
    void = [m.detach()[:, :, :0].requires_grad_() for m in maps]
    for reduce in ("mean", "max"):
        out = pooled(void, rois, levels, output_size=(2, 3), reduce=reduce)
        assert not out.any()
        for on in (False, True):
            with deterministic(on):
                assert [g.shape for g in gradients(out + 0, void)] == [m.shape for m in void]
            out = pooled(void, rois, levels, output_size=(2, 3), reduce=reduce)


def test_slices_and_expanded_gradients():
    maps, rois, levels = pyramid()
    views = [torch.zeros(2, 8, m.shape[2] + 3, 40, dtype=m.dtype)[:, :, 1:-2, 3:] for m in maps]
    views = [
        v[..., : m.shape[3]].copy_(m.detach()).requires_grad_()
        for v, m in zip(views, maps, strict=True)
    ]
    spread = torch.zeros(22, 9)[:, ::2].copy_(rois)
    found = torch.autograd.grad(pooled(views, spread, levels, output_size=3).sum(), views)
    expected = torch.autograd.grad(pooled(maps, rois, levels, output_size=3).sum(), maps)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_maps_that_are_not_aligned_to_wide_loads():
    maps, rois, levels = pyramid()
    shifted = []
    for m in maps:
        room = torch.zeros(m.numel() + 1)[1:].view(2, *m.shape[2:], 8).permute(0, 3, 1, 2)
        shifted.append(room.copy_(m.detach()))
    found = pooled(shifted, rois, levels, output_size=3)
    torch.testing.assert_close(found, pooled(maps, rois, levels, output_size=3), rtol=0, atol=1e-6)


def test_more_levels_than_a_launch_takes():
    maps, rois, levels = pyramid()
    with pytest.raises(ValueError, match="at most 8 levels, got 9"):
        multilevel_roi_align(
            [maps[0]] * 9,
            rois,
            levels,
            output_size=2,
            spatial_scales=[0.25] * 9,
            backend="emulated",
        )


def test_eight_levels():
    maps, rois, _ = pyramid()
    maps, levels = [m.detach() * i for i in range(8) for m in maps[:1]], torch.arange(22) % 8
    run = partial(multilevel_roi_align, maps, rois, levels, spatial_scales=[0.25] * 8)
    found, expected = (run(output_size=2, backend=b) for b in ("emulated", "reference"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", [LAST, PLAIN], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_two_cache_lines_to_a_thread_are_the_same_sums(monkeypatch, dtype, layout):
    """What is done where there are many RoIs: bit for bit what is done where there are few."""
    maps, rois, levels = pyramid(dtype, channels=128, layout=layout)
    few = pooled(maps, rois, levels, output_size=7)
    loads = []
    made = cuda._program
    monkeypatch.setattr(cuda, "_program", lambda *kinds: loads.append(kinds[3]) or made(*kinds))
    monkeypatch.setattr(cuda, "MANY", 0)
    many = pooled(maps, rois, levels, output_size=7)
    assert loads == [2]
    assert torch.equal(few, many)


PROGRAMS = [
    dict(SCALAR="float", VECTOR="4", LOADS="2", PLANES="0", TAPS="64", MAXIMUM="0"),
    dict(SCALAR="half_t", VECTOR="8", LOADS="2", PLANES="0", TAPS="64", MAXIMUM="0"),
    dict(SCALAR="bfloat_t", VECTOR="8", LOADS="1", PLANES="12608", TAPS="128", MAXIMUM="1"),
    dict(SCALAR="double", VECTOR="2", LOADS="1", PLANES="3152", TAPS="512", MAXIMUM="0"),
    dict(SCALAR="half_t", VECTOR="1", LOADS="1", PLANES="1576", TAPS="256", MAXIMUM="1"),
]


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("defines", PROGRAMS, ids=str)
def test_compiles_for_gpus(arch, defines):
    pytest.importorskip("cuda.core")
    real = "double" if defines["SCALAR"] == "double" else "float"
    given = dict(REAL=real, COORD=real, THREADS="128", LANES="8", BROAD="16", SIDE="8")
    assert cuda.PROGRAM.with_defines(**given, **defines).cubin(arch)
