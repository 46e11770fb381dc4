"""CUDA programs that pool and that handle masks, emulated on the CPU, against the definitions.

On a GPU an index cannot be looked at, so that operators let bad ones through to the kernel: here
those are given to the launchers themselves.
"""

import contextlib
import itertools

import pytest
import torch

import kernels
from kernels.crop_and_resize import cuda as crop_and_resize
from kernels.crop_masks import cuda as crop_masks
from kernels.cuda import scalars
from kernels.cuda.emulation import ORDERS, ordered
from kernels.paste_masks import cuda as paste_masks
from kernels.roi_pool import cuda as roi_pool

pytestmark = pytest.mark.lane("emulated")
POOLS = {
    "roi_pool": (kernels.roi_pool, {"spatial_scale": 0.25}),
    "crop_and_resize": (kernels.crop_and_resize, {"extrapolation_value": -2.0}),
}
HALF = (torch.float16, torch.bfloat16)
WIDE = (torch.float32, torch.float64)


@contextlib.contextmanager
def deterministic(wanted):
    """Within the block, whether algorithms must be deterministic."""
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def noise(*shape, seed=0):
    """Values of which no two are equal, nor equal after rounding to half precision."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return (order - count // 2).reshape(shape) / 64


def some_rois(name, n, k=12, seed=0):
    """RoIs inside, across the border, outside, without area, reversed; corners that are pixels."""
    g = torch.Generator().manual_seed(seed)
    rois = torch.rand(k, 5, generator=g) * 1.6 - 0.3
    rois[0, 1:] = torch.tensor([0.0, 0, 1, 1])
    rois[1, 1:] = torch.tensor([0.75, 0.5, 0.25, 0.125])
    rois[2, 1:] = torch.tensor([0.5, 0.5, 0.5, 0.5])
    rois[3, 1:] += 9
    if name == "roi_pool":
        rois = (rois * 50).round()
    rois[:, 0] = torch.randint(n, (k,), generator=g)
    return rois


def both(name, features, rois, size, backend):
    """A result, and the gradient of the features for one that differs from bin to bin."""
    run, options = POOLS[name]
    features = features.clone().requires_grad_()
    out = run(features, rois, output_size=size, backend=backend, **options)
    grad = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out)
    return out.detach(), torch.autograd.grad(out, features, grad)[0]


@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize(
    ("dtype", "coordinates", "channels"),
    [
        (torch.float32, torch.float32, 8),
        (torch.float32, torch.float64, 3),
        (torch.float16, torch.float32, 8),
        (torch.bfloat16, torch.float16, 2),
        (torch.float64, torch.float64, 6),
    ],
)
def test_pools_and_their_gradients_are_the_definitions(name, dtype, coordinates, channels, sure):
    features, rois = noise(2, channels, 9, 11).to(dtype), some_rois(name, 2).to(coordinates)
    definition = features.double() if coordinates == torch.float64 else features
    expected, expected_grad = both(name, definition, rois, (3, 2), "reference")
    with deterministic(sure):
        out, grad = both(name, features, rois, (3, 2), "emulated")
    assert out.dtype == grad.dtype == dtype
    epsilon = torch.finfo(dtype).eps
    if name == "roi_pool":
        assert torch.equal(out, expected.to(dtype))
    torch.testing.assert_close(out, expected.to(dtype), rtol=2 * epsilon, atol=32 * epsilon)
    torch.testing.assert_close(grad, expected_grad.to(dtype), rtol=2 * epsilon, atol=64 * epsilon)


@pytest.mark.parametrize("name", POOLS)
def test_of_many_rois_the_tiles_sum_all_in_order(name):
    """More RoIs and channels than a block has threads; a map that ends within a tile."""
    features, rois = noise(2, 70, 9, 10), some_rois(name, 2, k=70)
    _, expected = both(name, features, rois, (2, 3), "reference")
    grads = []
    with deterministic(True):
        for order in ORDERS:
            with ordered(order, seed=3):
                grads.append(both(name, features, rois, (2, 3), "emulated")[1])
    torch.testing.assert_close(grads[0], expected, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(grads[0], grad) for grad in grads)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_results_are_laid_out_as_the_features_are(name, layout):
    features = noise(2, 8, 9, 11).contiguous(memory_format=layout)
    out, grad = both(name, features, some_rois(name, 2), (3, 2), "emulated")
    assert out.is_contiguous(memory_format=layout)
    assert grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("name", POOLS)
def test_maps_that_begin_within_16_bytes_are_read_in_smaller_steps(name):
    features, rois = noise(1, 8, 5, 6), some_rois(name, 1, k=4)
    memory = torch.zeros(features.numel() + 2)
    off = memory[2:].view(1, 5, 6, 8).permute(0, 3, 1, 2).copy_(features)
    run, options = POOLS[name]
    found, expected = (
        run(f, rois, output_size=2, backend="emulated", **options) for f in (off, features)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("shape", [(1, 0, 4, 4), (1, 2, 0, 4), (1, 2, 4, 0)])
def test_maps_without_pixels_and_no_rois(name, shape):
    rois = some_rois(name, 1)
    for some in (rois, rois[:0]):
        out, grad = both(name, torch.zeros(shape), some, (2, 3), "emulated")
        nothing = 0.0 if name == "roi_pool" else -2.0
        assert torch.equal(out, torch.full((len(some), shape[1], 2, 3), nothing))
        assert grad.shape == shape


@pytest.mark.parametrize("wrong", [-1.0, 2.0, float("nan")])
@pytest.mark.parametrize("sure", [False, True])
def test_a_roi_of_no_image_reads_nothing_and_gives_no_gradient(wrong, sure):
    features, grad = noise(2, 4, 9, 8), torch.ones(3, 4, 2, 2)
    for name, launcher, nothing in (
        ("roi_pool", roi_pool, 0.0),
        ("crop_and_resize", crop_and_resize, -2.0),
    ):
        rois = some_rois(name, 2, k=5)[:3]
        rois[0, 0] = wrong
        _, options = POOLS[name]
        given = {"features": features, "rois": rois, "output_size": (2, 2), **options}
        out = getattr(launcher, name)(**given)
        assert torch.equal(out[0], torch.full((4, 2, 2), nothing))
        with deterministic(sure):
            (found,) = launcher.backward(grad, **given)
            (expected,) = launcher.backward(grad[1:], **{**given, "rois": rois[1:]})
        torch.testing.assert_close(found, expected)


def test_samples_on_the_last_pixel_are_never_outside():
    """Counted from the first one, rounding would put it outside in one of forty of these boxes."""
    low = torch.rand(300, generator=torch.Generator().manual_seed(0)).mul(0.9)
    rois = torch.stack([0 * low, low, low.flip(0), 0 * low + 1, 0 * low + 1], 1)
    features, run = noise(1, 1, 28, 27), {"output_size": 6, "extrapolation_value": -1e3}
    found, expected = (
        kernels.crop_and_resize(features, rois, backend=b, **run) for b in ("emulated", "reference")
    )
    assert torch.equal(found[:, 0, -1, -1], features[0, 0, -1, -1].expand(300))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_maximum_is_nan_before_all_and_no_maximum_is_zero():
    features = noise(1, 4, 4, 4)
    features[0, 0, 1, 2], features[0, 1] = float("nan"), -torch.inf
    rois = torch.tensor([[0.0, 0, 0, 12, 12]])
    found, expected = (
        kernels.roi_pool(features, rois, output_size=2, spatial_scale=0.25, backend=b)
        for b in ("emulated", "reference")
    )
    assert found.isnan().sum() == 1
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("sure", [False, True])
def test_of_equal_maxima_the_first_has_the_gradient(sure):
    features = torch.ones(1, 4, 4, 4, requires_grad=True)
    rois = torch.tensor([[0.0, 0, 0, 3, 3]])
    with deterministic(sure):
        kernels.roi_pool(
            features, rois, output_size=2, spatial_scale=1.0, backend="emulated"
        ).sum().backward()
    expected = torch.zeros(4, 4)
    expected[::2, ::2] = 1
    assert torch.equal(features.grad, expected.expand(1, 4, 4, 4))


BOXES = torch.tensor(
    [
        [3.2, 4.1, 17.9, 12.3],
        [-5.0, -3.0, 40.0, 30.0],
        [10.0, 5.0, 10.0, 9.0],
        [12.0, 9.0, 8.0, 5.0],
        [100.0, 50.0, 120.0, 70.0],
        [20.6, 0.2, 21.1, 11.9],
        [-1e6, -1e6, 1e6, 1e6],
    ]
)


@pytest.mark.parametrize("method", ["exact", "grown"])
@pytest.mark.parametrize(
    ("dtype", "coordinates"),
    [
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float64),
        (torch.float64, torch.float64),
    ],
)
def test_pasted_values_are_the_definition(method, dtype, coordinates):
    """Images of 13 x 23 pixels begin anywhere in 16 bytes."""
    masks = torch.rand(len(BOXES), 5, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    boxes = BOXES.to(coordinates)
    run = {"size": (13, 23), "method": method, "threshold": None}
    found = kernels.paste_masks(masks, boxes, backend="emulated", **run)
    expected = kernels.paste_masks(masks, boxes, backend="reference", **run)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=64 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("method", ["exact", "grown"])
@pytest.mark.parametrize("size", [(13, 23), (40, 3), (1, 1), (8, 16)])
def test_pasted_bits_are_the_definition(method, size):
    masks = torch.rand(len(BOXES), 5, 5, generator=torch.Generator().manual_seed(1))
    run = {"size": size, "method": method}
    soft = kernels.paste_masks(masks, BOXES, backend="reference", threshold=None, **run)
    for threshold in (0.5, 0.25, 0.0, -1.0, 1.5):
        bits = kernels.paste_masks(masks, BOXES, backend="emulated", threshold=threshold, **run)
        sure = (soft - threshold).abs() > 1e-5 if threshold > 0 else torch.ones_like(soft).bool()
        assert torch.equal(bits[sure], (soft >= threshold)[sure])


def test_masks_without_pixels_and_no_masks():
    for masks, boxes in ((torch.zeros(2, 0, 0), BOXES[:2]), (torch.zeros(0, 5, 5), BOXES[:0])):
        for threshold, full in ((0.5, False), (0.0, True), (None, 0.0)):
            found = kernels.paste_masks(
                masks, boxes, size=(3, 4), threshold=threshold, backend="emulated"
            )
            assert found.shape == (len(boxes), 3, 4)
            assert (found == full).all()


def bitmaps():
    """Three objects on 30 x 41 pixels."""
    return torch.rand(3, 30, 41, generator=torch.Generator().manual_seed(0)) < 0.6


@pytest.mark.parametrize("ratio", [1, 2, 5, "adaptive"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", WIDE)
def test_cropped_masks_are_the_definition(ratio, aligned, dtype):
    boxes = BOXES.to(dtype).clone()
    boxes[-1] /= 1e3
    index = torch.arange(len(boxes)) % 3
    run = {"sampling_ratio": ratio, "aligned": aligned}
    for size in (1, 7):
        share, expected = (
            kernels.crop_masks(bitmaps(), index, boxes, size=size, threshold=None, backend=b, **run)
            for b in ("emulated", "reference")
        )
        torch.testing.assert_close(share, expected, rtol=0, atol=64 * torch.finfo(dtype).eps)
        sure = (expected - 0.5).abs() > 1e-4
        bits = kernels.crop_masks(bitmaps(), index, boxes, size=size, backend="emulated", **run)
        assert bits.dtype == dtype
        assert torch.equal(bits[sure], (expected >= 0.5)[sure].to(dtype))


def test_of_a_box_far_larger_than_the_bitmap_only_what_is_on_it_is_sampled():
    """200000 samples along an axis; to try all pairs would take hours here."""
    boxes = torch.tensor([[-1e5, -1e5, 1e5, 1e5]])
    share, expected = (
        kernels.crop_masks(bitmaps(), torch.tensor([1]), boxes, size=1, threshold=None, backend=b)
        for b in ("emulated", "reference")
    )
    assert float(expected) > 0
    torch.testing.assert_close(share, expected, rtol=1e-4, atol=0)


def test_cropped_masks_of_nothing():
    index, boxes = torch.tensor([0, 1]), BOXES[:2]
    run = {"size": 3, "backend": "emulated"}
    assert kernels.crop_masks(bitmaps(), index[:0], boxes[:0], **run).shape == (0, 3, 3)
    assert not kernels.crop_masks(bitmaps()[:, :0], index, boxes, **run).any()
    assert kernels.crop_masks(bitmaps(), index, boxes + 1000, threshold=0.0, **run).all()


@pytest.mark.parametrize("ratio", [0, 2])
def test_a_box_of_no_mask_or_without_end_sees_nothing(ratio):
    index, boxes = torch.tensor([-1, 0, 3, 1, 2, 0]), BOXES[:6].clone()
    boxes[1], boxes[3, 2], boxes[4, 0], boxes[5, :2] = BOXES[0], torch.inf, torch.nan, -torch.inf
    options = {"size": 3, "sampling_ratio": ratio, "aligned": True, "threshold": None}
    found = crop_masks.crop_masks(bitmaps(), index, boxes, **options)
    expected = kernels.crop_masks(
        bitmaps(), index[1:2], boxes[1:2], backend="reference", size=3, threshold=None,
        sampling_ratio=ratio or "adaptive",
    )  # fmt: skip
    torch.testing.assert_close(found[1:2], expected)
    assert not found[[0, 2, 3, 4, 5]].any()


def variants():
    """Every program that the launchers can ask for."""
    kinds = [scalars(d, c) for d in (*HALF, *WIDE) for c in WIDE]
    lanes = {"half_t": 8, "bfloat_t": 8, "float": 4, "double": 2}
    for kind in kinds:
        most = lanes[kind["SCALAR"]]
        for pool in (roi_pool.PROGRAM, crop_and_resize.PROGRAM):
            for lane in (n for n in (8, 4, 2, 1) if n <= most):
                yield pool.with_defines(LANES=str(lane), **kind)
        wide = "double" if "double" in kind.values() else "float"
        for kept, grown in itertools.product((kind["SCALAR"], "unsigned char"), "01"):
            pixels = str(lanes.get(kept, 16))
            more = {"REAL": wide, "KEPT": kept, "PIXELS": pixels, "GROWN": grown}
            yield paste_masks.PROGRAM.with_defines(**{**kind, **more})
    for kind in ("float", "double"):
        yield crop_masks.PROGRAM.with_defines(COORD=kind)


EVERY = list(variants())


def named(program):
    """For a report: the operator and what its program is made for."""
    return "-".join([program.file.parent.name, *(text for _, text in program.defines)])


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
def test_some_programs_compile_for_gpus(arch):
    """The first of each file's; the slow test has all."""
    for program in {p.file: p for p in reversed(EVERY)}.values():
        assert program.cubin(arch)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("program", EVERY, ids=named)
def test_every_program_compiles_for_gpus(arch, program):
    assert program.cubin(arch)
