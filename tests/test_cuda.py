"""What runs on a CPU runs on a GPU and says the same. Not run, and said so, where there is none."""

from dataclasses import replace
from functools import partial

import pytest
import torch

import kernels
from kernels.conformance.checks import ORACLES, checks_of
from kernels.conformance.declaration import declared_in
from kernels.conformance.engine import check_kernel
from kernels.conformance.lanes import LANES, SANITIZED
from kernels.conformance.own import own
from kernels.conformance.repro import explained
from kernels.conformance.repro import found as kernel_of
from mrcnn.data.shapes import Shapes
from mrcnn.model import MaskRCNN
from mrcnn.precision import float32_products
from mrcnn.presets import R50_C4, R50_C5, R50_FPN, at_scale
from mrcnn.seeds import generator
from mrcnn.spec import vary
from mrcnn.train import Runtime, run_trial
from tests.kernels.test_lanes import written
from tests.mrcnn.test_model import a_batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: not run")

BASES = {"C4": R50_C4, "C5": R50_C5, "FPN": R50_FPN}
ROI_CASES = [
    pytest.param(name, backend, id=f"{name}-{backend}")
    for name in ("roi_align", "roi_pool", "roi_warp")
    for backend, one in kernels.operators()[name].backends.items()
    if "cuda" in one.devices
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "backend"), ROI_CASES)
def test_roi_operators_equal_the_float64_reference(name, backend, dtype):
    g = torch.Generator().manual_seed(1)
    features = torch.randn(3, 4, 20, 30, generator=g).to(dtype)
    corner, side = torch.rand(40, 2, generator=g) * 400, torch.rand(40, 2, generator=g) * 150
    corners = torch.cat([corner, corner + side], 1)
    if name != "roi_align":  # quarters of a pixel: no rounding that float32 could tip over
        corners = (corners * 2).round() / 2 + 0.25
    rois = torch.cat([torch.randint(3, (40, 1), generator=g).float(), corners], 1)
    run = partial(getattr(kernels, name), output_size=(7, 5), spatial_scale=1 / 16)
    expected = run(features.double(), rois.double(), backend="reference")
    found = run(features.cuda(), rois.cuda(), backend=backend)
    bound = (128 * torch.finfo(torch.float32).eps + torch.finfo(dtype).eps) * features.abs().max()
    assert found.dtype == dtype
    assert float((found.cpu().double() - expected).abs().max()) <= float(bound)


OURS = [k for k in own() if k.lane == "gpu" and k.name in ("cuda", "triton")]


@pytest.mark.parametrize("kernel", OURS, ids=lambda k: f"{k.operator}-{k.name}")
def test_our_kernels_pass_every_check_on_a_gpu(kernel):
    """All checks in float32, values and gradients in the other dtypes."""
    assert kernel.missing is None
    few = [c.name for c in checks_of(kernel.operator) if c.name in (*ORACLES, "gradient")]
    for names, dtypes in (([], ["float32"]), (few, ["float16", "bfloat16", "float64"])):
        outcomes = list(check_kernel(kernel, profile="quick", names=names, dtypes=dtypes))
        assert not [explained(o, None) for o in outcomes if o.bad]
        assert any(o.verdict == "passed" for o in outcomes)


CHEATS = """
import torch
from kernels.conformance import kernel

def right(a, b):
    return torch.ops.mrcnn_lab.box_iou(a, b, "reference")

@kernel("box_iou", name="default stream", lanes=["gpu"])
def elsewhere(a, b):
    with torch.cuda.stream(torch.cuda.default_stream()):
        return right(a, b)

@kernel("box_iou", name="first result", lanes=["gpu"], graph=True)
def first(a, b, kept={}):
    return kept.setdefault((len(a), len(b)), right(a, b))

@kernel("box_iou", name="all results", lanes=["gpu"])
def hoards(a, b, kept=[]):
    kept.append(right(a, b))
    return kept[-1]

@kernel("box_iou", name="no work", lanes=["gpu"])
def lazy(a, b):
    return right(a, b) if len(a) * len(b) < 10**6 else a.new_empty(len(a), len(b))

@kernel("box_iou", name="on the host", lanes=["gpu"])
def hosted(a, b):
    return right(a.cpu(), b.cpu())
"""


@pytest.mark.parametrize(
    ("cheat", "check"),
    [
        ("default stream", "stream"),
        ("first result", "graph"),
        ("all results", "memory"),
        ("no work", "timing"),
        ("on the host", "values"),
    ],
)
def test_a_cheat_is_caught(tmp_path, cheat, check):
    file = tmp_path / "cheats.py"
    file.write_text(CHEATS)
    kernel = next(k for k in declared_in(file) if (k.name, k.lane) == (cheat, "gpu"))
    (outcome,) = check_kernel(kernel, profile="quick", names=[check])
    assert outcome.verdict == "failed", outcome


@pytest.mark.skipif(LANES[SANITIZED].missing() is not None, reason="no compute-sanitizer: not run")
def test_memcheck_passes_what_is_right_and_fails_what_reads_too_far(tmp_path):
    for name, verdict in (("right", "passed"), ("bounds", "failed")):
        kernel = kernel_of("box_iou", f"{name}[{SANITIZED}]", written(tmp_path))
        (outcome,) = check_kernel(kernel, profile="quick", names=["memcheck"])
        assert outcome.verdict == verdict, outcome
        assert ("Invalid __global__" in outcome.reason) == (verdict == "failed")


@pytest.mark.parametrize("backend", ["reference", "torchvision"])
def test_nms_keeps_what_it_keeps_on_a_cpu(backend):
    g = torch.Generator().manual_seed(2)
    corner = torch.rand(500, 2, generator=g) * 80
    boxes = torch.cat([corner, corner + 1 + torch.rand(500, 2, generator=g) * 40], 1)
    scores = torch.rand(500, generator=g)
    expected = kernels.nms(boxes, scores, iou_threshold=0.5)
    found = kernels.nms(boxes.cuda(), scores.cuda(), iou_threshold=0.5, backend=backend)
    assert torch.equal(found.cpu(), expected)


def test_every_operator_has_a_usual_backend_on_a_gpu():
    chosen = kernels.in_use("cuda")
    assert set(chosen) == set(kernels.operators())
    assert chosen["roi_align"] == "cuda"  # with cuda-core, which the extra "gpu" brings


@pytest.mark.parametrize("base", BASES)
def test_losses_and_gradients_equal_those_of_a_cpu(base):
    """The same anchors and RoIs are drawn: both come from a generator on the CPU."""
    found = {}
    with float32_products("ieee"):
        for device in ("cpu", "cuda"):
            model = MaskRCNN(at_scale(BASES[base], "smoke").model).to(device)
            images, targets = a_batch(model)
            draws = [generator(i) for i in range(len(targets))]
            losses = model.losses(images, [t.to(device) for t in targets], draws)
            torch.stack(list(losses.values())).sum().backward()
            gradients = {n: p.grad.cpu() for n, p in model.named_parameters()}
            found[device] = {k: v.detach().cpu() for k, v in losses.items()}, gradients
    for (name, one), two in zip(found["cuda"][0].items(), found["cpu"][0].values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6, msg=name)
    largest = max(float(g.norm()) for g in found["cpu"][1].values())
    for name, one in found["cuda"][1].items():
        two = found["cpu"][1][name]
        assert float((one - two).norm()) <= 1e-2 * float(two.norm()) + 1e-4 * largest, name


@pytest.mark.parametrize("base", BASES)
def test_detections_equal_those_of_a_cpu(base):
    model = MaskRCNN(at_scale(BASES[base], "smoke").model).eval()
    images, _ = a_batch(model)
    with float32_products("ieee"):
        expected = model.predict(images)
        model.cuda()
        found = model.predict(a_batch(model)[0])
    for one, two in zip(found, expected, strict=True):
        assert len(one) == len(two) > 0
        torch.testing.assert_close(one.scores.cpu(), two.scores, rtol=0, atol=1e-4)
        gap = (one.boxes.cpu()[:, None] - two.boxes).abs().amax(2).amin(1)
        assert float(gap.max()) <= 0.05


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_a_trial_trains_in_every_precision_and_says_where(tmp_path, precision):
    trial = replace(at_scale(R50_FPN, "smoke"), data=Shapes(size=64, train=16, val=4))
    trial = vary(trial, "train.precision", precision)
    result = run_trial(trial, tmp_path / precision, tmp_path, Runtime(device="cuda"))
    assert result["made_by"]["device"] == torch.cuda.get_device_name("cuda")
    assert result["history"][-1]["step"] == trial.train.steps
    assert result["cost"]["peak_memory_mb"] > 0
