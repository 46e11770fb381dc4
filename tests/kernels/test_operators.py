"""What holds for all backends alike."""

from functools import partial

import pytest
import torch

import kernels
from kernels.conformance.admissible import answers
from kernels.conformance.call import rounded
from kernels.conformance.checks import ORACLES, checks_of
from kernels.conformance.strategies.rois import OPTIONS
from kernels.op import using
from kernels.roi_align import ROI_ALIGN
from kernels.roi_pool import ROI_POOL
from kernels.roi_warp import ROI_WARP


@pytest.mark.parametrize("name", kernels.operators())
def test_every_operator_has_a_check_against_its_definition(name):
    assert {check.name for check in checks_of(name)} & set(ORACLES)


@pytest.mark.parametrize("op", [ROI_ALIGN, ROI_POOL, ROI_WARP], ids=lambda op: op.name)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_backends_agree_within_the_bounds(op, dtype):
    g = torch.Generator().manual_seed(1)
    corner, side = torch.rand(40, 2, generator=g) * 400, torch.rand(40, 2, generator=g) * 150
    rois = torch.cat([torch.randint(3, (40, 1), generator=g).float(), corner, corner + side], 1)
    usual = {name: values[0] for name, values in OPTIONS[op.name].items()}
    given = {"features": torch.randn(3, 4, 20, 30, generator=g), "rois": rois, **usual}
    given = rounded({**given, "output_size": (7, 5), "spatial_scale": 1 / 16}, dtype)
    right = answers(op.name, given, dtype, exact=False)
    for backend in op.native("cpu"):
        found = op(backend=backend, **given)
        assert found.dtype == getattr(torch, dtype)
        assert float(right.ratio(found).max()) <= 1, backend


@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "roi_warp"])
def test_gradcheck_of_every_backend(name):
    features = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 0.6, 0.4, 3.3, 3.8], [1, -1.2, 1.1, 6.9, 2.2]], dtype=torch.float64)
    for backend in kernels.operators()[name].native("cpu"):
        run = partial(getattr(kernels, name), output_size=(2, 3), spatial_scale=1.0)
        assert torch.autograd.gradcheck(lambda f, b=backend, r=run: r(f, rois, backend=b), features)


def test_rois_receive_no_gradient():
    rois = torch.tensor([[0.0, 1, 1, 3, 3]], requires_grad=True)
    out = kernels.roi_align(torch.rand(1, 1, 4, 4), rois, output_size=2, spatial_scale=1.0)
    assert not out.requires_grad


@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "roi_warp"])
def test_nothing_in_gives_nothing_out(name):
    for backend in kernels.operators()[name].native("cpu"):
        run = partial(
            getattr(kernels, name), output_size=(2, 3), spatial_scale=1.0, backend=backend
        )
        assert run(torch.rand(1, 4, 5, 5), torch.zeros(0, 5)).shape == (0, 4, 2, 3)
        assert run(torch.rand(0, 4, 5, 5), torch.zeros(0, 5)).shape == (0, 4, 2, 3)
        one = torch.tensor([[0.0, 0, 0, 3, 3]])
        assert torch.equal(run(torch.rand(1, 4, 0, 5), one), torch.zeros(1, 4, 2, 3))


def test_grown_paste_equals_torchvision():
    g = torch.Generator().manual_seed(2)
    masks, corner = torch.rand(30, 28, 28, generator=g), torch.rand(30, 2, generator=g) * 60
    found = torch.cat([corner, corner + 1 + torch.rand(30, 2, generator=g) * 50], 1)
    run = partial(kernels.paste_masks, masks, found, size=(80, 90), method="grown", threshold=None)
    torch.testing.assert_close(
        run(backend="reference"), run(backend="torchvision"), rtol=0, atol=2e-5
    )


def test_mnc_sampling_reads_the_corner_of_each_bin():
    """On the plane f = x the n-th bin of a RoI from 2 to 8 reads 2, 4, 6 with three bins."""
    plane = torch.arange(12.0).expand(1, 1, 12, 12)
    roi = torch.tensor([[0.0, 1.6, 2.2, 8.4, 7.7]])
    out = kernels.roi_warp(plane, roi, output_size=3, spatial_scale=1.0, sampling="mnc")
    assert out[0, 0, 0].tolist() == [2.0, 4.0, 6.0]


@pytest.mark.slow
def test_the_reference_fits_in_memory_at_full_size():
    import resource

    features = torch.rand(1, 256, 200, 304)
    rois = torch.rand(512, 5) * torch.tensor([0.0, 600, 400, 0, 0])
    rois[:, 3:] = rois[:, 1:3] + torch.rand(512, 2) * 300
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = partial(kernels.roi_align, features, rois, output_size=7, spatial_scale=1 / 4)
    found = run(backend="reference")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20 < 2
    torch.testing.assert_close(found, run(backend="torchvision"), rtol=0, atol=1e-4)


BAD = {
    "no batch": (lambda f, r: dict(features=f[0]), "features"),
    "integers": (lambda f, r: dict(features=f.long()), "features"),
    "four columns": (lambda f, r: dict(rois=r[:, 1:]), "rois"),
    "NaN RoI": (lambda f, r: dict(rois=r * float("nan")), "not finite"),
    "image that is not there": (lambda f, r: dict(rois=r + torch.tensor([9.0, 0, 0, 0, 0])), "9"),
    "size 0": (lambda f, r: dict(output_size=0), "output_size"),
    "negative scale": (lambda f, r: dict(spatial_scale=-1.0), "spatial_scale"),
    "ratio 0": (lambda f, r: dict(sampling_ratio=0), "sampling_ratio"),
    "median": (lambda f, r: dict(reduce="median"), "reduce"),
    "typo": (lambda f, r: dict(backend="nunba"), "did you mean 'numba'"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_named_in_one_line(bad):
    features, rois = torch.rand(2, 3, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]])
    good = dict(features=features, rois=rois, output_size=2, spatial_scale=1.0)
    plain = getattr(kernels.roi_align, "__wrapped__", kernels.roi_align)  # without shape checks
    change, said = BAD[bad]
    with pytest.raises(ValueError, match=said) as caught:
        plain(**{**good, **change(features, rois)})
    assert "\n" not in str(caught.value)


def test_using_chooses_by_name_and_gives_back():
    with using(roi_align="reference"):
        assert ROI_ALIGN.chosen("cpu") == "reference"
        assert ROI_ALIGN.chosen("cpu", "torchvision") == "torchvision"
    assert ROI_ALIGN.chosen("cpu") == "numba"
    with pytest.raises(ValueError, match="did you mean 'roi_align'"), using(roi_aling="reference"):
        pass
