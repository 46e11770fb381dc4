"""What every kernel owes its caller, whatever it computes. Built on its operator's own oracle.

A check here runs the oracle's check with the kernel called in another way: in another layout,
twice in a row, compiled, under autocast. So what it demands is the right values, not equal ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.call import Answer, Call, Mode, Violation, rounded
from kernels.conformance.case import Case
from kernels.conformance.check import Check, Wrong
from kernels.conformance.declaration import Kernel
from kernels.library import holds_tensors, tensors_of
from kernels.op import operators


@dataclass
class Called:
    """A call that is always made in one way."""

    call: Call
    way: Mapping[str, Any]

    def __call__(
        self,
        arguments: Mapping[str, Any],
        *,
        grad: Tensor | None = None,
        layout: str = "contiguous",
        mode: Mode = "eager",
    ) -> Answer:
        return self.call(arguments, **{"grad": grad, "layout": layout, "mode": mode, **self.way})


def checks_on(operator: str, oracle: Check) -> list[Check]:
    """The general checks of an operator; `oracle` is the one that knows its values."""
    right: Wrong = operators()[operator].reference
    base = replace(
        oracle, exact=oracle.exact[:2], covers=None, examples=0.3 * oracle.examples, wrong={}
    )
    has_maps = bool(operators()[operator].shaped and "features" in operators()[operator].schema)
    found = [
        replace(
            base,
            name="dtype",
            rule="The result has the dtype that the specification says, whatever is used inside.",
            run=_dtype,
            wrong={"float64": lambda **k: _other_dtype(right(**wide(k)))},
        ),
        replace(
            base,
            name="inputs",
            rule="A kernel writes to nothing but its result.",
            run=_inputs,
            wrong={"writes into its input": _writing(right)},
        ),
        replace(
            base,
            name="determinism",
            rule="The same call gives the same bits, in the result and in its gradients.",
            run=_determinism,
            skipped=lambda k: None if k.deterministic else "declared not deterministic",
            wrong={"noise in the last bits": noisy(right)},
        ),
        replace(
            base,
            name="stale",
            rule="A result depends on this call's inputs alone; the next call leaves it as it is.",
            run=_stale(oracle),
            wrong={"one buffer for all results": _buffered(right)},
        ),
        _mode(base, oracle, "compiled", "torch.compile(fullgraph=True) changes nothing.", 0.1),
        _mode(base, oracle, "fake", "Fake tensors go through it and get the result's shape.", 0.2),
    ]
    if has_maps:
        found.append(_layout(base, oracle, right))
        found.append(_strided(base, oracle, right))
        found.append(
            _mode(base, oracle, "autocast", "Under autocast it stays as precise as without.", 0.3)
        )
    if operator in ("roi_align", "roi_pool", "roi_warp", "crop_and_resize"):
        found.append(_mode(base, oracle, "vmap", "torch.vmap over features is a loop.", 0.2))
    return found


def _mode(base: Check, oracle: Check, mode: Mode, rule: str, examples: float) -> Check:
    def run(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        way = {"mode": mode, "grad": None}
        if mode == "fake":
            _fake(Called(call, way), call, case, dtype)
        else:
            oracle.run(Called(call, way), case, dtype, kernel)

    def skipped(kernel: Kernel) -> str | None:
        return None if getattr(kernel, mode) else f"{mode} is not declared"

    return replace(
        base,
        name=mode,
        rule=rule,
        run=run,
        skipped=skipped,
        examples=examples * base.examples,
        dtypes=("float32",),
        exact=base.exact[:1],
    )


def _fake(fake: Call, call: Call, case: Case, dtype: str) -> None:
    arguments = rounded(case.arguments(), dtype)
    shapes, out = fake(arguments).result, call(arguments).result
    if shapes.dtype != out.dtype or shapes.dim() != out.dim():
        raise Violation(f"fake tensors say {shapes.dtype}, {shapes.dim()}-d; it is {out.dtype}")


def _layout(base: Check, oracle: Check, right: Wrong) -> Check:
    def run(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        last = Called(call, {"layout": "channels_last"})
        oracle.run(last, case, dtype, kernel)
        answer = last(rounded(case.arguments(), dtype))
        if answer.layout not in ("channels_last", "both"):
            raise Violation(f"channels_last features give a {answer.layout} result")

    return replace(
        base,
        name="layout",
        rule="channels_last features give the same values, and a channels_last result.",
        run=run,
        skipped=_needs("channels_last"),
        wrong={"contiguous whatever it is given": lambda **k: right(**wide(k)).contiguous()},
    )


def _strided(base: Check, oracle: Check, right: Wrong) -> Check:
    def run(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        oracle.run(Called(call, {"layout": "strided"}), case, dtype, kernel)

    return replace(
        base,
        name="strides",
        rule="A view with gaps between its pixels is read as the tensor it is.",
        run=run,
        skipped=_needs("strided"),
        wrong={"reads memory in a row": _in_a_row(right)},
    )


def _needs(layout: str) -> Callable[[Kernel], str | None]:
    return lambda kernel: None if layout in kernel.layouts else f"{layout} is not declared"


def _dtype(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    op = operators()[kernel.operator]
    expected = op.dtype(**{n: arguments[n] for n in op.definition.names})
    found = call(arguments).result.dtype
    if found != expected:
        raise Violation(f"the result is {found}, not {expected}")


def _inputs(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    arguments = rounded(case.arguments(), dtype)
    changed = call(arguments).changed
    if changed:
        raise Violation(f"it has written into {', '.join(changed)}")


def _determinism(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
    mode: Mode = "deterministic" if kernel.deterministic == "on request" else "eager"
    alike(call, rounded(case.arguments(), dtype), kernel, (mode, mode, mode))


def alike(call: Call, arguments: Mapping[str, Any], kernel: Kernel, modes: Sequence[Mode]) -> None:
    """The same bits, in the result and its gradients, by every mode. Raises Violation if not."""
    first = call(arguments, mode=modes[0])
    grad = None
    if kernel.grads and first.result.is_floating_point():
        g = torch.Generator().manual_seed(1)
        grad = torch.randn(first.result.shape, generator=g).to(first.result.dtype)
        first = call(arguments, grad=grad, mode=modes[0])
    for mode in modes[1:]:
        again = call(arguments, grad=grad, mode=mode)
        pairs = {"result": (first.result, again.result)}
        pairs |= {f"gradient of {n}": (g, again.grads[n]) for n, g in first.grads.items()}  # type: ignore[misc]
        for name, (one, two) in pairs.items():
            if one is not None and not _same_bits(one, two):
                raise Violation(f"two runs differ in the {name}")


def _same_bits(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.equal(torch.nan_to_num(one), torch.nan_to_num(two))


def _stale(oracle: Check) -> Callable[[Call, Case, str, Kernel], None]:
    def run(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        """Before, after, and around a call on other values of the same shapes."""
        oracle.run(Called(call, {"mode": "twice", "grad": None}), case, dtype, kernel)
        call(rounded(_other(case).arguments(), dtype))
        oracle.run(call, case, dtype, kernel)

    return run


def _other(case: Case) -> Case:
    def each(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**recipe, "seed": recipe["seed"] + 1} if "seed" in recipe else recipe

    return replace(case, tensors={n: each(r) for n, r in case.tensors.items()})


def wide(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with float32 for half precision, as references take them."""

    def each(value: Any) -> Any:
        if holds_tensors(value) and not isinstance(value, Tensor):
            return [each(one) for one in value]
        half = isinstance(value, Tensor) and value.is_floating_point() and value.itemsize < 4
        return value.float() if half else value

    return {name: each(value) for name, value in arguments.items()}


def _other_dtype(out: Tensor) -> Tensor:
    return out.to(torch.float64 if out.dtype != torch.float64 else torch.float32)


def _writing(right: Wrong) -> Wrong:
    def wrong(**arguments: Any) -> Tensor:
        out: Tensor = right(**wide(arguments))
        for value in tensors_of(arguments):
            if value.is_floating_point() and value.numel():
                with torch.no_grad():
                    value.copy_(torch.full_like(value, 7.0))
        return out

    return wrong


def noisy(right: Wrong) -> Wrong:
    """A kernel whose every other result is a little off."""
    calls = [0]

    def wrong(**arguments: Any) -> Tensor:
        calls[0] += 1
        out: Tensor = right(**wide(arguments))
        if out.is_floating_point():
            return out * (1 + 1e-2 * (calls[0] % 2)) + 1e-3 * (calls[0] % 2)
        return out.roll(calls[0] % 2) if out.dtype != torch.bool else out ^ bool(calls[0] % 2)

    return wrong


def _buffered(right: Wrong) -> Wrong:
    kept: dict[Any, Tensor] = {}

    def wrong(**arguments: Any) -> Tensor:
        out: Tensor = right(**wide(arguments))
        place = kept.setdefault((tuple(out.shape), out.dtype), torch.empty_like(out))
        with torch.no_grad():
            place.copy_(out + 1 if out.dtype != torch.bool else ~out)
        return place

    return wrong


def _in_a_row(right: Wrong) -> Wrong:
    def wrong(*, features: Any, **arguments: Any) -> Tensor:
        def read(tensor: Tensor) -> Tensor:
            return tensor.as_strided(tensor.shape, torch.empty(tensor.shape).stride())

        maps = read(features) if isinstance(features, Tensor) else [read(f) for f in features]
        out: Tensor = right(**wide({"features": maps, **arguments}))
        return out

    return wrong
