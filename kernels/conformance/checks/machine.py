"""What a kernel owes the machine it runs on: its streams, graphs and memory, and any order of work.

Each check runs the oracle's, and the one of gradients, with the kernel called in another way. They
run in the lanes that have such a machine, and in float32: what they look at is not arithmetic.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kernels.conformance.call import Call, Mode, rounded
from kernels.conformance.case import Case
from kernels.conformance.check import Check, Wrong
from kernels.conformance.checks.general import Called, alike, noisy, wide
from kernels.conformance.declaration import Kernel
from kernels.conformance.lanes import SANITIZED, TOOLS
from kernels.op import operators

ON_GPU = ("stream", "graph", "memory", "timing")
"""Checks whose planted errors need a GPU as well."""
Run = Callable[[Call, Case, str, Kernel], None]
MUCH = 2**20
"""Elements of a result from which on a cheat saves itself the work."""


def checks_on(operator: str, oracle: Check, gradient: Check | None) -> list[Check]:
    """The checks of an operator that look at its machine.

    oracle     the one that knows its values
    gradient   the one that knows its gradients
    """
    run = _both(oracle, gradient)
    base = replace(
        gradient or oracle,
        exact=oracle.exact[:1],
        covers=None,
        examples=0.15,
        wrong={},
        dtypes=("float32",),
    )
    orders = replace(
        base,
        name="orders",
        rule="Threads and blocks may run in any order.",
        run=_orders(run),
        skipped=_only("emulated"),
        wrong={"noise in the last bits": noisy(operators()[operator].reference)},
    )
    watched = (_watched(base, tool, run) for tool in TOOLS)
    return [*_on_gpu(operator, base, oracle, run), orders, *watched]


def _on_gpu(operator: str, base: Check, oracle: Check, run: Run) -> list[Check]:
    right: Wrong = operators()[operator].reference
    shape = operators()[operator].shape
    size = None if operators()[operator].shaped else "the size of its result depends on values"
    return [
        replace(
            base,
            name="stream",
            rule="It works on the current stream, after what stands there and before what comes.",
            run=_called("stream", run),
            skipped=_only("gpu"),
            wrong={"default stream": _elsewhere(right), "no one waits": _unawaited(right)},
        ),
        replace(
            base,
            name="graph",
            rule="A CUDA graph captures it and its backward pass, and replays both on new values.",
            run=_called("graph", run),
            skipped=lambda k: _only("gpu")(k) or size or _undeclared(k),
            wrong={"the first result again": _cached(right)},
        ),
        replace(
            base,
            name="memory",
            rule="A call leaves no memory in use but its result.",
            run=_called("memory", run),
            skipped=_only("gpu"),
            wrong={"keeps its results": _hoarding(right)},
        ),
        replace(
            base,
            name="timing",
            rule="It takes the time that its work needs, and on the stream that is asked for it.",
            run=_called("timing", oracle.run),
            skipped=lambda k: _only("gpu")(k) or size,
            examples=0.0,
            wrong={"leaves it": _lazy(right, shape), "elsewhere": _lazy(right, shape, aside=True)},
        ),
    ]


def _both(oracle: Check, gradient: Check | None) -> Run:
    def run(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        oracle.run(call, case, dtype, kernel)
        if gradient is not None and gradient.skipped(kernel) is None:
            gradient.run(call, case, dtype, kernel)

    return run


def _called(mode: Mode, run: Run) -> Run:
    def called(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        run(Called(call, {"mode": mode}), case, dtype, kernel)

    return called


def _orders(run: Run) -> Run:
    def orders(call: Call, case: Case, dtype: str, kernel: Kernel) -> None:
        modes: tuple[Mode, ...] = ("deterministic", "reversed", "shuffled")
        for mode in modes[1:]:
            run(Called(call, {"mode": mode}), case, dtype, kernel)
        if kernel.deterministic:
            alike(call, rounded(case.arguments(), dtype), kernel, modes)

    return orders


def _watched(base: Check, tool: str, run: Run) -> Check:
    return replace(
        base,
        name=tool,
        rule=f"{tool} of compute-sanitizer finds nothing, and the result is right under it.",
        run=run,
        skipped=_only(SANITIZED),
        dtypes=("float32", "float16"),
    )


def _only(lane: str) -> Callable[[Kernel], str | None]:
    return lambda kernel: None if kernel.lane == lane else f"runs in lane {lane} only"


def _undeclared(kernel: Kernel) -> str | None:
    return None if kernel.graph else "graph is not declared"


def _elsewhere(right: Wrong) -> Wrong:
    def wrong(**arguments: Any) -> Tensor:
        with torch.cuda.stream(torch.cuda.default_stream()):
            return right(**wide(arguments))

    return wrong


def _unawaited(right: Wrong) -> Wrong:
    def wrong(**arguments: Any) -> Tensor:
        out = right(**wide(arguments))
        held, side = torch.zeros_like(out), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            torch.cuda._sleep(1_000_000)
            return held.copy_(out)

    return wrong


def _cached(right: Wrong) -> Wrong:
    kept: dict[Any, Tensor] = {}

    def wrong(**arguments: Any) -> Tensor:
        out: Tensor = right(**wide(arguments))
        first = kept.setdefault((tuple(out.shape), out.dtype), out.detach())
        return out + (first - out).detach() if out.is_floating_point() else first

    return wrong


def _hoarding(right: Wrong) -> Wrong:
    kept: list[Tensor] = []

    def wrong(**arguments: Any) -> Tensor:
        kept.append(right(**wide(arguments)))
        return kept[-1]

    return wrong


def _lazy(right: Wrong, shape: Callable[..., Tensor], *, aside: bool = False) -> Wrong:
    """Right where there is little to do; otherwise nothing, or work on a stream of its own."""
    side: list[torch.cuda.Stream] = []

    def wrong(**arguments: Any) -> Tensor:
        out = shape(**arguments)
        if out.numel() < MUCH:
            return right(**wide(arguments))
        if aside:
            side[:] = side or [torch.cuda.Stream()]
            with torch.cuda.stream(side[0]):
                for _ in range(10):
                    out.zero_()
        return out

    return wrong
