"""Calling a kernel as a check does: on inputs as rounded to its dtype, watched from all sides."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from kernels.conformance import gpu, sparse
from kernels.conformance.second import second
from kernels.library import holds_tensors

Mode = (
    Literal["eager", "autocast", "compiled", "fake", "vmap", "twice", "double", "deep"]
    | gpu.Way
    | gpu.State
)
"""autocast   under bfloat16 autocast
compiled   through torch.compile(fullgraph=True)
fake       on fake tensors: zeros of the shape and dtype that came out
vmap       through torch.vmap over two stacked feature maps; the result of the first
twice      two calls, the second on other inputs, before the first result is looked at
double     the gradient of its gradients, as `second` has it; `grad` must be given
deep       with sparse tensors as the large dense ones they stand for; nothing else is watched
others     as `gpu.WAYS` and `gpu.STATES` have them"""
COORDINATES = ("rois", "boxes")
"""Arguments that keep at least float32: half a pixel is lost near column 1000 otherwise."""
WHOLE = ("labels", "levels", "index")
"""Arguments of whole numbers."""


class Violation(AssertionError):  # noqa: N818  (what a kernel did, not an error of ours)
    """A kernel broke a rule.

    text   what happened, in one line
    more   the worst element: place, got, expected, bound; empty where there is none
    """

    def __init__(self, text: str, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.text, self.more = text, dict(more or {})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a call left behind.

    out       the result on the CPU; None where the call raised
    grads     argument -> its gradient, or None where the kernel gave none
    layout    "contiguous", "channels_last", or "both" for a result that is laid out as either
    changed   arguments that the call has written to
    error     "ValueError: ..." where the call raised an exception
    """

    out: Tensor | None
    grads: Mapping[str, Tensor | None] = field(default_factory=dict)
    layout: str = "contiguous"
    changed: tuple[str, ...] = ()
    error: str | None = None

    @property
    def result(self) -> Tensor:
        """The result. Raises Violation where the call raised."""
        if self.out is None:
            raise Violation(f"raised {self.error}")
        return self.out


@runtime_checkable
class Call(Protocol):
    """A kernel that can be called; across a process border or not."""

    def __call__(
        self,
        arguments: Mapping[str, Any],
        *,
        grad: Tensor | None = None,
        layout: str = "contiguous",
        mode: Mode = "eager",
    ) -> Answer:
        """Call it. Raises Violation if it crashes or hangs.

        arguments   as `rounded` gives them; those that the kernel does not take are left out
        grad        of the result: asks for the gradients that the kernel declares
        layout      of the 4-d arguments
        """
        ...


def rounded(arguments: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The arguments as a kernel of that dtype is given them, and as its oracle must take them."""
    to = getattr(torch, dtype)
    wide = torch.promote_types(to, torch.float32)

    def each(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if name == "masks" and "index" in arguments:
            return value > 0.5  # the bitmaps of crop_masks, which a recipe gives as numbers
        return value.to(torch.long if name in WHOLE else wide if name in COORDINATES else to)

    return {name: each_of(partial(each, name), value) for name, value in arguments.items()}


def widened(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments in float64: what the oracle computes on."""

    def each(value: Any) -> Any:
        floats = isinstance(value, Tensor) and value.is_floating_point()
        return value.double() if floats else value

    return {name: each_of(each, value) for name, value in arguments.items()}


def each_of(change: Callable[[Any], Any], value: Any) -> Any:
    """A value changed, or, of a list of tensors, each of them."""
    if holds_tensors(value) and not isinstance(value, Tensor):
        return [change(one) for one in value]
    return change(value)


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """A copy of a 4-d tensor in that layout, within poisoned memory on all sides; others copied.

    What a kernel reads beyond its input is NaN there, so that it shows in the result.
    """
    if tensor.dim() != 4 or not tensor.is_floating_point():
        return tensor.clone()
    n, c, h, w = tensor.shape
    if layout == "strided":
        room = tensor.new_full((n, c, h + 1, 2 * w + 1), torch.nan)
        view = room[:, :, :h, : 2 * w : 2]
    elif layout == "channels_last":
        room = tensor.new_full((n * h * w * c + 128,), torch.nan)
        view = room[64 : 64 + tensor.numel()].view(n, h, w, c).permute(0, 3, 1, 2)
    else:
        room = tensor.new_full((tensor.numel() + 128,), torch.nan)
        view = room[64 : 64 + tensor.numel()].view(n, c, h, w)
    view.copy_(tensor)
    return view


def layout_name(tensor: Tensor) -> str:
    """How a tensor is laid out; "both" where one layout cannot be told from the other."""
    if tensor.dim() != 4:
        return "contiguous"
    last = tensor.is_contiguous(memory_format=torch.channels_last)
    if tensor.is_contiguous():
        return "both" if last else "contiguous"
    return "channels_last" if last else "strided"


def direct(
    function: Callable[..., Any],
    grads: tuple[str, ...] = (),
    takes: frozenset[str] | None = None,
    device: str = "cpu",
) -> Call:
    """A call in this process: what a worker does, and what is quick enough for a zoo.

    device   where the function gets its tensors; the answer is on the CPU
    """
    return _Direct(function, grads, takes, device)


@dataclass
class _Direct:
    function: Callable[..., Any]
    grads: tuple[str, ...]
    takes: frozenset[str] | None
    device: str

    def __call__(
        self,
        arguments: Mapping[str, Any],
        *,
        grad: Tensor | None = None,
        layout: str = "contiguous",
        mode: Mode = "eager",
    ) -> Answer:
        if mode == "deep":
            return self._deep(arguments, layout)
        given = self._given(arguments, layout)
        wanted = self.grads if grad is not None else ()
        for name in wanted:
            for one in _listed(given[name]):
                one.requires_grad_()
        before = {n: [t.detach().clone() for t in _listed(v)] for n, v in given.items()}
        try:
            with gpu.state(mode):
                out, grads = self._answered(given, mode, grad, wanted)
        except Violation:
            raise
        except Exception as error:
            return _raised(error)
        changed = tuple(n for n, v in given.items() if not _same(before[n], _listed(v)))
        kept = out.detach()
        return Answer(
            out=kept.cpu() if kept.is_cuda else kept.clone(memory_format=torch.preserve_format),
            grads={n: g if g is None else g.cpu() for n, g in grads.items()},
            layout=layout_name(kept),
            changed=changed,
        )

    def _answered(
        self, given: dict[str, Any], mode: Mode, grad: Tensor | None, wanted: tuple[str, ...]
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        if mode == "double":
            assert grad is not None
            return second(self.function, given, wanted, grad), {}
        out = self._out(given, mode)
        return out, _gradients(out, grad, given, wanted)

    def _deep(self, arguments: Mapping[str, Any], layout: str) -> Answer:
        """The answer on dense tensors that are too large to be copied."""
        with ExitStack() as stack:

            def each(value: Any) -> Any:
                if isinstance(value, Tensor) and value.is_sparse:
                    return stack.enter_context(sparse.dense(value, layout, self.device))
                return value.to(self.device) if isinstance(value, Tensor) else value

            given = {n: each_of(each, v) for n, v in self._taken(arguments).items()}
            try:
                with sparse.no_room_for_copies(self.device):
                    return Answer(out=_tensor(self.function(**given)).detach().cpu().clone())
            except Violation:
                raise
            except Exception as error:
                return _raised(error)

    def _taken(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {n: v for n, v in arguments.items() if self.takes is None or n in self.takes}

    def _given(self, arguments: Mapping[str, Any], layout: str) -> dict[str, Any]:
        def each(value: Any) -> Any:
            there = isinstance(value, Tensor)
            return laid_out(value.to(self.device), layout) if there else value

        return {name: each_of(each, value) for name, value in self._taken(arguments).items()}

    def _out(self, given: dict[str, Any], mode: Mode) -> Tensor:
        poison([t for v in given.values() for t in _listed(v)])
        if mode == "autocast":
            with torch.autocast(self.device, dtype=torch.bfloat16):
                return _tensor(self.function(**given))
        if mode == "compiled":
            torch._dynamo.reset()
            compiled = torch.compile(self.function, fullgraph=True, backend="aot_eager")
            return _tensor(compiled(**given))
        if mode == "fake":
            return _faked(self.function, given)
        if mode == "vmap":
            return _mapped(self.function, given)
        if mode in gpu.WAYS:
            return gpu.WAYS[mode](self.function, given)
        out = _tensor(self.function(**given))
        if mode == "twice":
            other = {n: _reversed(n, v) for n, v in given.items()}
            self.function(**other)
        return out


def _faked(function: Callable[..., Any], given: Mapping[str, Any]) -> Tensor:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    with FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True) as mode:

        def each(value: Any) -> Any:
            if holds_tensors(value) and not isinstance(value, Tensor):
                return [mode.from_tensor(one) for one in value]
            return mode.from_tensor(value) if isinstance(value, Tensor) else value

        fakes = {name: each(value) for name, value in given.items()}
        out = _tensor(function(**fakes))
        known = [s if isinstance(s, int) else 0 for s in out.shape]  # a count that values decide
        dtype = out.dtype
    return torch.zeros(known, dtype=dtype)


def _mapped(function: Callable[..., Any], given: Mapping[str, Any]) -> Tensor:
    features = given["features"]
    rest = {n: v for n, v in given.items() if n != "features"}
    stacked = torch.stack([features, features.flip(3)])
    mapped = torch.vmap(lambda one: _tensor(function(features=one, **rest)))
    out: Tensor = mapped(stacked)
    return out[0]


def poison(like: list[Tensor]) -> None:
    """Leave NaN in freed memory of the sizes that a kernel is about to ask for."""
    for tensor in like[:1]:
        for size in (tensor.numel(), 4 * tensor.numel(), 256):
            torch.full((max(size, 1),), torch.nan, dtype=torch.float32, device=tensor.device)


def _listed(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return list(value) if holds_tensors(value) else []


def _same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(
        torch.equal(torch.nan_to_num(a), torch.nan_to_num(b.detach()))
        for a, b in zip(before, after, strict=True)
    )


def _reversed(name: str, value: Any) -> Any:
    fits = isinstance(value, Tensor) and name not in (*COORDINATES, *WHOLE) and value.dim() == 4
    return value.detach().flip(3) + 1 if fits else value


def _raised(error: Exception) -> Answer:
    return Answer(out=None, error=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _tensor(out: Any) -> Tensor:
    if not isinstance(out, Tensor):
        raise Violation(f"returned a {type(out).__name__}, not a tensor")
    return out


def _gradients(
    out: Tensor, grad: Tensor | None, given: Mapping[str, Any], wanted: tuple[str, ...]
) -> dict[str, Tensor | None]:
    if grad is None or not wanted:
        return {}
    leaves = [t for n in wanted for t in _listed(given[n])]
    if not out.requires_grad:
        return {name: None for name in wanted}  # noqa: C420
    found = torch.autograd.grad(out, leaves, grad.to(out), allow_unused=True)
    left = iter(found)
    grads: dict[str, Tensor | None] = {}
    for name in wanted:
        for i, _ in enumerate(_listed(given[name])):
            key = name if isinstance(given[name], Tensor) else f"{name}[{i}]"
            grads[key] = next(left)
    return grads
