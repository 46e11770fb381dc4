"""RoIAlign of many levels is RoIAlign, level by level, put back in order."""

import pytest
import torch

from kernels import multilevel_roi_align, roi_align
from kernels.multilevel_roi_align import MULTILEVEL_ROI_ALIGN

ALL = pytest.mark.parametrize("backend", MULTILEVEL_ROI_ALIGN.native("cpu"))
SCALES = (1 / 4, 1 / 8, 1 / 16)


def pyramid(dtype=torch.float64, images=3, channels=5):
    """Three maps of a 96 x 64 image, RoIs partly outside, and the level of each."""
    g = torch.Generator().manual_seed(5)
    sizes = [(16, 24), (8, 12), (4, 6)]
    features = [torch.randn(images, channels, *s, generator=g).to(dtype) for s in sizes]
    corner, side = torch.rand(20, 2, generator=g) * 80 - 10, torch.rand(20, 2, generator=g) * 50
    image = torch.randint(images, (20, 1), generator=g)
    rois = torch.cat([image.to(dtype), (corner - 2).to(dtype), (corner + side).to(dtype)], 1)
    return features, rois, torch.randint(3, (20,), generator=g)


def one_by_one(features, rois, levels, **options):
    rows = [
        roi_align(
            features[i], rois[r : r + 1], spatial_scale=SCALES[i], backend="reference", **options
        )
        for r, i in enumerate(levels.tolist())
    ]
    return torch.cat(rows)


OPTIONS = [
    dict(output_size=7),
    dict(output_size=(3, 2), sampling_ratio=1, aligned=False),
    dict(output_size=(2, 5), sampling_ratio="adaptive"),
    dict(output_size=(3, 4), reduce="max"),
]


@ALL
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_roi_align_level_by_level(backend, options):
    features, rois, levels = pyramid()
    found = multilevel_roi_align(
        features, rois, levels, spatial_scales=SCALES, backend=backend, **options
    )
    expected = one_by_one(features, rois, levels, **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@ALL
@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_gradients_equal_those_of_the_reference(backend, reduce):
    def gradients(backend):
        features, rois, levels = pyramid()
        levels[levels == 1] = 0  # a level without RoIs
        leaves = [f.requires_grad_() for f in features]
        out = multilevel_roi_align(
            leaves,
            rois,
            levels,
            output_size=(3, 2),
            spatial_scales=SCALES,
            reduce=reduce,
            backend=backend,
        )
        return torch.autograd.grad(out.sin().sum(), leaves)

    found, expected = gradients(backend), gradients("reference")
    assert not found[1].any()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@ALL
def test_gradcheck(backend):
    features, rois, levels = pyramid(images=1, channels=1)
    small = [f[..., :3, :4].clone().requires_grad_() for f in features]
    rois = rois[:4] * torch.tensor([0.0, 0.2, 0.2, 0.2, 0.2])

    def align(*maps):
        return multilevel_roi_align(
            maps, rois, levels[:4], output_size=2, spatial_scales=SCALES, backend=backend
        )

    assert torch.autograd.gradcheck(align, small)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_half_and_single_precision(backend, dtype):
    features, rois, levels = pyramid(torch.float32)
    features = [f.to(dtype) for f in features]
    found = multilevel_roi_align(
        features, rois, levels, output_size=7, spatial_scales=SCALES, backend=backend
    )
    wide = [f.double() for f in features]
    expected = one_by_one(wide, rois.double(), levels, output_size=7)
    assert found.dtype == dtype
    bound = 8 * (24 * torch.finfo(torch.float32).eps + torch.finfo(dtype).eps)
    assert float((found.double() - expected).abs().max()) <= bound


def test_layouts_and_bits():
    features, rois, levels = pyramid(torch.float32)
    expected = {}
    before = torch.get_num_threads()
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        for layout in (torch.contiguous_format, torch.channels_last):
            leaves = [
                f.detach().contiguous(memory_format=layout).requires_grad_() for f in features
            ]
            out = multilevel_roi_align(
                leaves, rois, levels, output_size=7, spatial_scales=SCALES, backend="numba"
            )
            out.sin().sum().backward()
            assert out.is_contiguous(memory_format=layout)
            for leaf in leaves:
                assert leaf.grad.is_contiguous(memory_format=layout)
            known = expected.setdefault(layout, [leaf.grad for leaf in leaves])
            assert all(map(torch.equal, known, [leaf.grad for leaf in leaves]))
    torch.set_num_threads(before)


def test_mixed_layouts():
    features, rois, levels = pyramid()
    mixed = [features[0], features[1].contiguous(memory_format=torch.channels_last), features[2]]
    mixed = [f.requires_grad_() for f in mixed]
    out = multilevel_roi_align(
        mixed, rois, levels, output_size=3, spatial_scales=SCALES, backend="numba"
    )
    torch.testing.assert_close(
        out, one_by_one(features, rois, levels, output_size=3), rtol=0, atol=1e-12
    )
    out.sum().backward()
    assert mixed[1].grad.is_contiguous(memory_format=torch.channels_last)


@ALL
def test_nothing_in_gives_nothing_out(backend):
    features, rois, levels = pyramid()
    options = dict(output_size=(2, 3), spatial_scales=SCALES, backend=backend)
    assert multilevel_roi_align(features, rois[:0], levels[:0], **options).shape == (0, 5, 2, 3)
    void = [f[:, :, :0] for f in features]
    assert not multilevel_roi_align(void, rois, levels, **options).any()


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@ALL
def test_as_a_torch_operator(backend):
    features, rois, levels = pyramid(torch.float32)
    leaves = [f.requires_grad_() for f in features]
    given = (leaves, rois, levels, [2, 3], list(SCALES), 2, True, "mean", backend)
    torch.library.opcheck(torch.ops.mrcnn_lab.multilevel_roi_align, given)


def test_compiles_without_a_break():
    features, rois, levels = pyramid(torch.float32)
    leaves = [f.requires_grad_() for f in features]

    def loss(maps):
        align = torch.ops.mrcnn_lab.multilevel_roi_align  # without shape checks
        return align(maps, rois, levels, [2, 3], list(SCALES), 2, True, "mean", "numba").sin().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found, expected = (torch.autograd.grad(f(leaves), leaves) for f in (compiled, loss))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


BAD = {
    "level that is not there": (lambda f, r, n: (f, r, n + 1), "levels must be 0 to 2"),
    "negative level": (lambda f, r, n: (f, r, n - 1), "levels must be 0 to 2"),
    "no levels": (lambda f, r, n: ([], r, n), "spatial_scales"),
    "one scale too many": (lambda f, r, n: (f[:2], r, n), "spatial_scales"),
    "narrow levels": (lambda f, r, n: (f, r, n.int()), "int64"),
    "other channels": (lambda f, r, n: ([f[0][:, :2], *f[1:]], r, n), "share"),
    "NaN RoI": (lambda f, r, n: (f, r * torch.nan, n), "not finite"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_named_in_one_line(bad):
    change, said = BAD[bad]
    plain = getattr(multilevel_roi_align, "__wrapped__", multilevel_roi_align)
    with pytest.raises(ValueError, match=said) as caught:
        plain(*change(*pyramid()), output_size=2, spatial_scales=SCALES)
    assert "\n" not in str(caught.value)
