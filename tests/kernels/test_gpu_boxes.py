"""GPU code for boxes and their masks equals its references: emulated, interpreted, and it compiles.

Whether Triton interprets is decided when it is imported, so one child process, this file as a
program, answers all of CASES for the interpreter.
"""

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")
from triton import compile as compiled
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import kernels
from kernels.box_iou import triton as box_iou
from kernels.conformance.lanes import LANES
from kernels.crop_masks import triton as crop_masks
from kernels.cuda.emulation import ORDERS, ordered
from kernels.nms import cuda as nms_cuda
from kernels.nms import tiles
from kernels.nms import triton as nms
from kernels.paste_masks import triton as paste_masks
from kernels.triton.interpreting import INTERPRETED
from tests.kernels.test_numba_boxes import odd_boxes, some_boxes, some_masks

F32, F64, F16, BF16 = torch.float32, torch.float64, torch.float16, torch.bfloat16
OPS = ("box_iou", "nms", "batched_nms", "paste_masks", "crop_masks")
INF = float("inf")
TIED = torch.tensor([0.0, -0.0, INF, -INF, 1.0, INF])
compiles = pytest.mark.skipif(INTERPRETED, reason="this process interprets Triton")


def some_scores(n):
    """Of 21 values, so that many are equal."""
    return (torch.rand(n, generator=torch.Generator().manual_seed(n)) * 20).round() / 20


def some_labels(n):
    """Far from each other, negative ones among them; also such as differ by 2**32."""
    values = torch.tensor([-(2**40), -1, 0, 2**32, 2**40])
    return values[torch.randint(5, (n,), generator=torch.Generator().manual_seed(n))]


def spread(tensor):
    """The same values with gaps between them."""
    return torch.stack([tensor, tensor.flip(0)], -1)[..., 0]


def of_boxes():
    """name -> (operator, arguments): pairs, and lists that cross the borders of tiles."""
    found = {}
    for dtype in (F32, F64):
        a, b, odd = some_boxes(70, dtype), some_boxes(300, dtype, seed=1), odd_boxes(dtype)
        pairs = {"many": (a, b), "odd": (odd, odd), "one": (a, b[:1]), "none": (a[:0], b)}
        pairs["spread"] = spread(a), spread(b[:9])
        for name, (one, other) in pairs.items():
            found[f"iou, {name}, {dtype}"] = "box_iou", {"a": one, "b": other}
    for n, (threshold, whole, dtype) in itertools.product(
        (0, 1, 63, 64, 65, 200), ((0.0, False, F32), (0.5, True, F32), (0.7, False, F64))
    ):
        boxes = {"boxes": some_boxes(n, dtype, n, whole), "scores": some_scores(n)}
        boxes["iou_threshold"] = threshold
        found[f"nms, {n}, {threshold}"] = "nms", boxes
        found[f"batched, {n}, {threshold}"] = "batched_nms", {**boxes, "labels": some_labels(n)}
    right, tall = torch.tensor([1.0, 0, 1, 0]), torch.tensor([0.0, 0, 3, 1])
    chain = torch.arange(130)[:, None] * right + tall
    odd, rows = odd_boxes(), torch.tensor([[0.0, 0, 10, 1], [0, 0, 7, 1], [0, 0, 7, 1]])
    for name, boxes, scores, threshold in [
        ("odd, rising", odd, torch.linspace(0, 1, len(odd)), 0.0),
        ("odd, falling", odd, torch.linspace(1, 0, len(odd)), 0.5),
        ("tied scores", some_boxes(120), TIED.repeat(20), 0.5),
        ("all equal", some_boxes(130), torch.zeros(130), 0.3),
        ("copies", some_boxes(1).repeat(130, 1), some_scores(130), 0.9),
        ("apart", some_boxes(130) + torch.arange(130)[:, None] * 200, some_scores(130), 0.0),
        ("a chain", chain, torch.zeros(130), 0.4),
        ("at 0.7", rows, torch.tensor([3.0, 2, 1]), 0.7),
        ("at 1", rows, torch.tensor([3.0, 2, 1]), 1.0),
        ("spread", spread(some_boxes(70)), spread(some_scores(70)), 0.5),
        ("half", some_boxes(80, F16), some_scores(80).to(BF16), 0.5),
    ]:
        arguments = {"boxes": boxes, "scores": scores, "iou_threshold": threshold}
        found[f"nms, {name}"] = "nms", arguments
    return found


def of_masks():
    """name -> (operator, arguments): all options, boxes outside, reversed and without area."""
    found = {}
    kinds = (None, F32), (None, F64), (None, F16), (0.5, F32), (0.0, F64)
    for method, (threshold, dtype), (m, size) in itertools.product(
        ("exact", "grown"), kinds, ((1, (70, 40)), (7, (40, 130)))
    ):
        masks, boxes = some_masks(4, m, dtype)
        arguments = {"masks": spread(masks), "boxes": spread(boxes.float()), "size": size}
        arguments |= {"method": method, "threshold": threshold}
        found[f"paste, {m}, {method}, {threshold}, {dtype}"] = "paste_masks", arguments
    bitmaps = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) > 0.5
    boxes = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) * 60 - 5
    boxes[1], boxes[2, 2:], boxes[3] = boxes[1, [2, 3, 0, 1]], boxes[2, :2], boxes[3] + 99
    for (size, ratio), aligned, threshold in itertools.product(
        ((1, "adaptive"), (7, "adaptive"), (20, 2), (3, 6)), (True, False), (None, 0.5)
    ):
        dtype = F32 if aligned else F64
        arguments = {"masks": spread(bitmaps), "index": torch.arange(6) % 3}
        arguments |= {"boxes": spread(boxes.to(dtype)), "size": size, "sampling_ratio": ratio}
        arguments |= {"aligned": aligned, "threshold": threshold}
        found[f"crop, {size}, {ratio}, {aligned}, {threshold}"] = "crop_masks", arguments
    empty = {"masks": bitmaps[:, :0], "index": torch.tensor([1]), "boxes": boxes[:1], "size": 2}
    found["crop, no pixels"] = "crop_masks", empty
    return found


BOXES, MASKS = of_boxes(), of_masks()
CASES = {**BOXES, **MASKS}
CHUNKED = [name for name in BOXES if ", 200, " in name]
RUNS = [("emulated", name) for name in BOXES] + [("interpreter", name) for name in CASES]


def called(name, backend):
    operator, arguments = CASES[name]
    return getattr(kernels, operator)(**arguments, backend=backend)


def called_all(backend, names):
    """(case, whether in chunks) -> result; a chunk is then one row of tiles of the mask."""
    found = {(name, False): called(name, backend) for name in names}
    at_once, tiles.MASK_BYTES = tiles.MASK_BYTES, 1
    found |= {(name, True): called(name, backend) for name in CHUNKED}
    tiles.MASK_BYTES = at_once
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """backend -> what it makes of the cases; skips where the backend cannot run."""

    @functools.cache
    def of(backend):
        missing = LANES[backend].missing()
        if missing:
            pytest.skip(f"not run: {missing}")
        if backend == "emulated":
            return called_all(backend, BOXES)
        file = tmp_path_factory.mktemp("interpreter") / "answers.pt"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.kernels.test_gpu_boxes", str(file)],
            env={**os.environ, "TRITON_INTERPRET": "1"},
            cwd=Path(__file__).parents[2],
            check=True,
        )
        return torch.load(file)

    return of


@pytest.mark.parametrize(("backend", "name"), RUNS)
def test_equals_the_reference(answers, backend, name):
    found, expected = answers(backend)[name, False], called(name, "reference")
    assert found.is_contiguous()
    if name in BOXES or found.dtype == torch.bool:
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        eps = torch.finfo(found.dtype).eps
        torch.testing.assert_close(found, expected, rtol=0, atol=64 * eps)


@pytest.mark.parametrize("name", CHUNKED)
@pytest.mark.parametrize("backend", ["emulated", "interpreter"])
def test_chunks_of_the_mask_change_nothing(answers, backend, name):
    assert torch.equal(answers(backend)[name, True], called(name, "reference"))


def test_cases_are_where_kernels_go_wrong():
    """Some boxes are dropped and some kept, in several tiles, and more with labels than without."""
    kept = {name: len(called(name, "reference")) for name in BOXES if not name.startswith("iou")}
    assert 1 < kept["nms, 200, 0.5"] < kept["batched, 200, 0.5"] < 200
    assert kept["nms, copies"] == 1
    assert kept["nms, apart"] == 130
    assert kept["nms, a chain"] == 65
    assert (kept["nms, at 0.7"], kept["nms, at 1"]) == (2, 3)


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_of_threads_matters(answers, order):
    answers("emulated")
    for name in ("iou, odd, torch.float32", "nms, 200, 0.5", "batched, 65, 0.7"):
        with ordered(order, seed=1):
            assert torch.equal(called(name, "emulated"), called(name, "reference"))


@pytest.mark.parametrize("labels", [None, some_labels(130)])
def test_padded_lists_end_in_minus_one(answers, labels):
    answers("emulated")
    boxes, scores = some_boxes(130), some_scores(130)
    keep, count = nms_cuda.padded(boxes, scores, 0.5, labels)
    if labels is None:
        expected = kernels.nms(boxes, scores, iou_threshold=0.5)
    else:
        expected = kernels.batched_nms(boxes, scores, labels, iou_threshold=0.5)
    assert count.tolist() == [len(expected)]
    assert keep.tolist() == expected.tolist() + [-1] * (130 - len(expected))


def test_more_boxes_than_fit_are_refused():
    boxes = torch.zeros(1, 4).expand(nms_cuda.MOST + 1, 4)
    with pytest.raises(ValueError, match="at most 393216 boxes"):
        nms_cuda.nms(boxes, boxes[:, 0], 0.5)


def test_gradients_of_iou_are_the_references(answers):
    answers("emulated")
    a, b = some_boxes(5, F64).requires_grad_(), some_boxes(4, F64, seed=1).requires_grad_()
    found = torch.autograd.grad(kernels.box_iou(a, b, backend="emulated").square().sum(), (a, b))
    expected = kernels.box_iou(a, b, backend="reference").square().sum()
    assert all(map(torch.equal, found, torch.autograd.grad(expected, (a, b))))


@compiles
@pytest.mark.parametrize("name", [next(n for n, c in CASES.items() if c[0] == op) for op in OPS])
def test_a_process_that_does_not_interpret_says_so(name):
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
        called(name, "interpreter")


SIZES = {name: "i32" for name in ("n", "m", "first", "end", "words", "count", "height", "width")}
SIZES |= {name: "i32" for name in ("size", "ratio", "aligned")}
LISTS = {name: "*i64" for name in ("labels", "order", "removed", "keep", "index")}
PASTED = {"tile_height": 16, "tile_width": 128}
KERNELS = {
    "iou": (
        box_iou._fill,
        {"a": "*fp32", "b": "*fp32", "found": "*fp32"},
        {"down": 32, "across": 128},
    ),
    "nms": (nms._overlaps, {"boxes": "*fp64", "mask": "*i64"}, {"tile": 64, "labels": None}),
    "batched": (nms._overlaps, {"boxes": "*fp32", "mask": "*i64"}, {"tile": 64}),
    "gather": (
        nms._gather,
        {"mask": "*i64", "count": "*i64"},
        {"tile": 64, "width": 16, "at_once": 64},
    ),
    "paste": (
        paste_masks._paste,
        {"masks": "*bf16", "boxes": "*fp32", "pasted": "*u8"},
        {**PASTED, "grown": False},
    ),
    "paste, grown": (
        paste_masks._paste,
        {"masks": "*fp16", "boxes": "*fp64", "pasted": "*fp16"},
        {**PASTED, "grown": True, "threshold": None},
    ),
    "crop": (
        crop_masks._crop,
        {"masks": "*u8", "boxes": "*fp32", "found": "*fp32"},
        {"bins": 64, "samples": 32},
    ),
}
"""What to compile: a kernel, the dtypes of what its pointers point to, its constants."""


@compiles
@pytest.mark.parametrize("name", KERNELS)
def test_triton_compiles(name):
    """To machine code; where rounding decides, every step rounds by itself."""
    kernel, pointers, constants = KERNELS[name]
    types = {**SIZES, **LISTS, "threshold": "i64", **pointers}
    signature = {n: "constexpr" if n in constants else types[n] for n in kernel.arg_names}
    made = compiled(
        ASTSource(kernel, signature, constants),
        target=GPUTarget("cuda", 90, 32),
        options={"enable_fp_fusion": False},
    )
    assert made.asm["cubin"]
    assert "fma.rn" not in made.asm["ptx"]
    if "*fp32" in pointers.values() and name != "crop":
        assert "div.rn.f32" in made.asm["ptx"]


if __name__ == "__main__":
    torch.save(called_all("interpreter", CASES), sys.argv[1])
