"""The Triton kernels of the RoI operators: interpreted they are their references, and they compile.

Whether Triton interprets is decided as it is imported. All calls are therefore made by one process
that does: this file, run as a program. What is compiled are the kernels that launchers launch.
"""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")
from torch import Tensor
from triton.backends import backends
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import create_function_from_signature

from kernels import operators, roi_align
from kernels.triton.interpreting import INTERPRETED

F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
LEVELS, ALIGN, POOL, CROP = "multilevel_roi_align", "roi_align", "roi_pool", "crop_and_resize"
compiles = pytest.mark.skipif(INTERPRETED, reason="this process interprets Triton")
BOUND = {F64: 1e-12, F32: 2e-5, F16: 2e-3, BF16: 1.6e-2}
"""Of an error, in units of the largest value. The interpreter cuts to bfloat16, and rounds not."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call and what must come of it.

    determined   whether the gradient is asked for under deterministic algorithms
    spoiled      row of `rois` or `levels` -> what is put there, past the checks of the operator:
                 (name, column, value)
    """

    operator: str
    tensors: dict[str, Any]
    options: dict[str, Any]
    determined: bool = False
    spoiled: dict[int, tuple[str, int, float]] = field(default_factory=dict)

    @property
    def maps(self) -> list[Tensor]:
        features = self.tensors["features"]
        return features if isinstance(features, list) else [features]

    def arguments(self, maps: list[Tensor]) -> dict[str, Any]:
        several = isinstance(self.tensors["features"], list)
        return {**self.tensors, **self.options, "features": maps if several else maps[0]}

    def grad(self, shape: torch.Size) -> Tensor:
        grad = torch.linspace(-1, 1, shape.numel()).view(shape).to(self.maps[0].dtype)
        grad[list(self.spoiled)] = 0 if self.spoiled else grad[[]]
        return grad

    def expected(self) -> list[Tensor]:
        """The result and gradients of the definition in float64; spoiled RoIs give zeros."""
        leaves = [f.double().requires_grad_() for f in self.maps]
        wide = self.arguments(leaves)
        wide["rois"] = wide["rois"].double()
        out = operators()[self.operator].reference(**wide) + 0 * leaves[0].sum()
        grads = torch.autograd.grad(out, leaves, self.grad(out.shape).double(), allow_unused=True)
        out = out.detach()
        out[list(self.spoiled)] = 0
        zeros = [torch.zeros_like(f) for f in leaves]
        return [out, *(z if g is None else g for z, g in zip(zeros, grads, strict=True))]

    def found(self) -> list[Tensor]:
        """The result and gradients of the interpreter, in the dtype of the features."""
        torch.use_deterministic_algorithms(self.determined)
        if self.spoiled:
            return self._past_the_checks()
        leaves = [f.detach().requires_grad_() for f in self.maps]
        out = operators()[self.operator](backend="interpreter", **self.arguments(leaves))
        return [out.detach(), *torch.autograd.grad(out, leaves, self.grad(out.shape))]

    def _past_the_checks(self) -> list[Tensor]:
        backend = operators()[self.operator].backends["interpreter"]
        arguments = self.arguments(self.maps)
        for row, (name, column, value) in self.spoiled.items():
            arguments[name] = arguments[name].clone()
            arguments[name].view(len(arguments[name]), -1)[row, column] = value
        out = backend.forward(**arguments)
        grad = torch.full_like(out, torch.nan)
        kept = [row for row in range(len(grad)) if row not in self.spoiled]
        grad[kept] = self.grad(out.shape)[kept]
        return [out, *backend.backward(grad, **arguments)]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def boxes(k: int, scale: float, dtype: torch.dtype) -> Tensor:
    """RoIs within, across and beyond a map of about 12 pixels, of no and of negative size."""
    corner, side = drawn(k, 2, seed=3) * 14 - 3, drawn(k, 2, seed=5) * 9
    side[:1], corner[1:2], side[2:3, 0] = 0, 40, -3
    image = torch.arange(k)[:, None] % 3
    rois = torch.cat([image, corner / scale, (corner + side) / scale], 1)
    return rois.to(F64 if dtype == F64 else F32)


def maps(dtype: torch.dtype, *size: int) -> Tensor:
    return (drawn(3, *size, seed=7) * 2 - 1).to(dtype)


def single(
    operator: str,
    dtype: torch.dtype,
    *,
    k: int = 6,
    size: tuple[int, ...] = (3, 9, 13),
    **other: Any,
) -> dict[str, Any]:
    """A call of an operator on one map."""
    crop, options = operator == CROP, {"output_size": [2, 3]}
    if operator == ALIGN:
        options |= {"sampling_ratio": 2, "aligned": True, "reduce": "mean"}
    options |= {"extrapolation_value": -2.5} if crop else {"spatial_scale": 0.3}
    tensors = {"features": maps(dtype, *size), "rois": boxes(k, 12.0 if crop else 0.3, dtype)}
    if crop and k:
        tensors["rois"][-1, 1:] = torch.tensor([0, 0, 1, 1])
    return {"operator": operator, "tensors": tensors, "options": options | other}


def levelled(dtype: torch.dtype, **other: Any) -> dict[str, Any]:
    """A call of multilevel_roi_align on four maps, one of them without pixels."""
    options = {"output_size": [2, 3], "sampling_ratio": 2, "aligned": True, "reduce": "mean"}
    options["spatial_scales"] = [1.0, 0.5, 0.4, 0.25]
    pyramid = [maps(dtype, 3, *size) for size in ((12, 14), (6, 7), (0, 4), (3, 4))]
    levels = torch.tensor([3, 0, 1, 0, 2, 1, 3])
    tensors = {"features": pyramid, "rois": boxes(7, 1.0, dtype), "levels": levels}
    return {"operator": LEVELS, "tensors": tensors, "options": options | other}


def strided() -> dict[str, Any]:
    """A call on views that are neither contiguous nor channels last."""
    call = levelled(F64)
    made = call["tensors"]
    made["features"] = [f.transpose(0, 3).contiguous().transpose(0, 3) for f in made["features"]]
    made["rois"] = made["rois"].repeat_interleave(2, 1)[:, ::2]
    made["levels"] = made["levels"].repeat_interleave(2)[::2]
    return call


TWICE: dict[str, dict[str, Any]] = {
    "levels": levelled(F64),
    "levels, maximum, adaptive": levelled(F32, reduce="max", sampling_ratio=0),
    "align, legacy": single(ALIGN, F64, sampling_ratio=1, aligned=False),
    "align, adaptive": single(ALIGN, F64, sampling_ratio=0, output_size=[3, 2]),
    "align, maximum": single(ALIGN, F64, reduce="max", sampling_ratio=3),
    "align, float16": single(ALIGN, F16),
    "align, many RoIs": single(ALIGN, F64, k=66, sampling_ratio=1, output_size=[1, 1]),
    "align, many bins": single(ALIGN, F32, k=1, output_size=[9, 8], size=(2, 18, 18)),
    "align, many channels": single(ALIGN, F32, k=3, size=(300, 3, 4), output_size=[1, 2]),
    "crop": single(CROP, F64, output_size=[3, 2]),
    "crop, one bin": single(CROP, F32, output_size=[1, 1], extrapolation_value=0.0),
    "pool": single(POOL, F64),
    "pool, many RoIs": single(POOL, F64, k=66, output_size=[1, 1], size=(2, 4, 5)),
    "pool, float16": single(POOL, F16, output_size=[7, 1]),
    "levels, spoiled": {
        **levelled(F64),
        "spoiled": {3: ("levels", 0, 4), 4: ("levels", 0, -1), 5: ("rois", 4, torch.nan)},
    },
    "pool, spoiled": {
        **single(POOL, F64),
        "spoiled": {3: ("rois", 0, -1), 4: ("rois", 1, torch.inf), 5: ("rois", 2, torch.nan)},
    },
    "crop, spoiled": {
        **single(CROP, F64),
        "spoiled": {0: ("rois", 0, 3), 3: ("rois", 0, -1), 4: ("rois", 3, -torch.inf)},
    },
}
"""Calls whose gradient is computed in both ways."""
ONCE: dict[str, dict[str, Any]] = {
    "levels, bfloat16": levelled(BF16),
    "levels, strided": strided(),
    "align, float32": single(ALIGN, F32, aligned=False, sampling_ratio=0),
    "align, bfloat16, maximum": single(ALIGN, BF16, reduce="max"),
    "crop, bfloat16": single(CROP, BF16),
    "pool, float32": single(POOL, F32),
    **{f"{o}, no RoIs": single(o, F32, k=0) for o in (ALIGN, CROP, POOL)},
    **{f"{o}, no pixels": single(o, F32, size=(3, 0, 4)) for o in (ALIGN, CROP, POOL)},
}
CASES = {
    **{f"{name}, atomic": Case(**call) for name, call in TWICE.items()},
    **{f"{name}, determined": Case(**call, determined=True) for name, call in TWICE.items()},
    **{name: Case(**call) for name, call in ONCE.items()},
}

SPECIAL = {
    **{f"{ALIGN} {reduce}": single(ALIGN, F32, reduce=reduce) for reduce in ("mean", "max")},
    POOL: single(POOL, F32),
}


def special() -> dict[str, list[Tensor]]:
    """Results on maps with a NaN in the first bin of four, all infinite, all minus infinity."""
    nan = torch.zeros(1, 2, 8, 8)
    nan[0, 0, 1, 1] = torch.nan
    features = [nan, torch.full_like(nan, torch.inf), torch.full_like(nan, -torch.inf)]
    rois = torch.tensor([[0.0, 0, 0, 8, 8]])
    found = {}
    for name, call in SPECIAL.items():
        options = {**call["options"], "output_size": [2, 2], "spatial_scale": 1.0}
        op = operators()[call["operator"]]
        options |= {"rois": rois, "backend": "interpreter"}
        found[name] = [op(features=f, **options) for f in features]
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process that interprets makes of CASES and of `special`."""
    file = tmp_path_factory.mktemp("interpreter") / "answers.pt"
    subprocess.run(
        [sys.executable, "-m", "tests.kernels.test_triton_rois", str(file)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    return torch.load(file)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(answers, name):
    case = CASES[name]
    dtype = case.maps[0].dtype
    for found, expected in zip(answers["cases"][name], case.expected(), strict=True):
        assert found.shape == expected.shape
        bound = BOUND[dtype] * max(1.0, float(expected.abs().max())) if expected.numel() else 0
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", SPECIAL)
def test_nan_and_infinity_come_through(answers, name):
    nan, inf, minus = answers["special"][name]
    assert nan.isnan().flatten().tolist() == [True, *[False] * 7]
    assert torch.equal(inf, torch.full_like(inf, torch.inf))
    assert torch.equal(minus, torch.full_like(inf, 0.0 if name == POOL else -torch.inf))


@compiles
def test_a_process_that_does_not_interpret_says_so():
    features, rois = maps(F32, 3, 4, 4), boxes(2, 1.0, F32)
    with pytest.raises(ValueError, match="set TRITON_INTERPRET=1 before") as raised:
        roi_align(features, rois, output_size=2, spatial_scale=1.0, backend="interpreter")
    assert "\n" not in str(raised.value)


@dataclass(frozen=True)
class Launch:
    """A kernel as a launcher launched it, for a GPU that need not be there."""

    kernel: Any
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def source(self, capability: int) -> tuple[ASTSource, GPUTarget, Any]:
        """What Triton would compile for it: equal arguments here mean that nothing is compiled."""
        target = GPUTarget("cuda", capability, 32)
        backend = backends["nvidia"].compiler(target)
        bind = create_function_from_signature(self.kernel.signature, self.kernel.params, backend)
        bound = bind(*self.arguments, **self.named)
        options, *packed = self.kernel._pack_args(backend, self.named, *bound)
        return ASTSource(self.kernel, *packed), target, options

    def compiled(self, capability: int) -> Any:
        source, target, options = self.source(capability)
        return triton.compile(source, target=target, options=options.__dict__)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Launch]]:
    """Launches are written down instead of made, by launchers that take tensors on a CPU."""
    made: list[Launch] = []

    def run(self: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> None:
        made.append(Launch(self, arguments, named))

    monkeypatch.setattr(triton.JITFunction, "run", run)
    for operator in (LEVELS, POOL):
        module = importlib.import_module(f"kernels.{operator}.triton")
        monkeypatch.setattr(module, "ready", lambda tensor: None)
    yield made
    torch.use_deterministic_algorithms(False)


def launch(call: dict[str, Any]) -> None:
    """Forward, then backward in both ways."""
    backend = operators()[call["operator"]].backends["triton"]
    arguments = {**call["tensors"], **call["options"]}
    out = backend.forward(**arguments)
    for determined in (False, True):
        torch.use_deterministic_algorithms(determined)
        backend.backward(out, **arguments)


@compiles
@pytest.mark.parametrize(
    ("call", "capability"),
    [
        pytest.param(single(ALIGN, F32, size=(256, 9, 13)), 90, id="mean, float32, sm_90"),
        pytest.param(levelled(F64, reduce="max"), 80, id="levels, maximum, float64, sm_80"),
        pytest.param(single(CROP, BF16), 90, id="crop, bfloat16, sm_90"),
        pytest.param(single(POOL, F16), 80, id="pool, float16, sm_80"),
    ],
)
def test_compiles(launches, call, capability):
    launch(call)
    for one in launches:
        made = one.compiled(capability)
        atomics = re.findall(r"\b(?:atom|red)\.global", made.asm["ptx"])
        assert made.asm["cubin"]
        assert bool(atomics) == ("scatter" in one.kernel.__name__)


@compiles
def test_moves_16_bytes_at_a_time_and_fuses_sums_alone(launches):
    launch(single(ALIGN, F32, size=(256, 9, 13)))
    read, add, _ = (one.compiled(90).asm["ptx"] for one in launches)
    assert re.findall(r"\bld\.global\S*\.v4\.", read)
    assert re.findall(r"\batom\.global\S*\.v4\.f32", add)
    assert len(re.findall(r"\bfma\.rn\.f32", read)) == 4 * 16  # pixels of a sample, values


@compiles
def test_compiles_once_for_maps_of_any_size(launches):
    for images, height, width, high in ((1, 16, 1, 1), (16, 9, 32, 7), (2, 1, 5, 16)):
        call = single(ALIGN, F32, size=(32, height, width), output_size=[high, 3], k=height)
        call["tensors"]["features"] = torch.zeros(images, 32, height, width)
        launch(call)
    kernels = {(one.kernel.__name__, one.source(90)[0].hash()) for one in launches}
    assert sorted(name for name, _ in kernels) == ["gather", "pool", "scatter"]


if __name__ == "__main__":
    found = {name: case.found() for name, case in CASES.items()}
    torch.use_deterministic_algorithms(False)
    torch.save({"cases": found, "special": special()}, sys.argv[1])
