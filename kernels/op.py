"""An operator is one mathematical function: a readable reference and any number of faster twins."""

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from kernels.library import NAMESPACE, Arguments, Definition, define, holds_tensors, tensors_of

MAPS = ("features", "masks")
"""Arguments that may reach a kernel in half precision. Coordinates may not: half a pixel is lost
near column 1000."""
_named: ContextVar[Mapping[str, str]] = ContextVar("backends by name", default={})  # noqa: B039
_operators: dict[str, "Op"] = {}


Lane = Literal["native", "emulated", "interpreter"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One implementation of an operator. Tensors reach it checked, and in float32 or wider.

    forward    (**arguments) -> result
    backward   (grad, **arguments) -> the gradients of the operator's differentiable arguments;
               None takes that of `forward` by autograd
    devices    device types it runs on
    half       takes MAPS and the gradient in float16 and bfloat16 as they are; others get float32
    lane       how strong a proof it is that it runs: GPU code that is emulated or interpreted on a
               CPU is there to be checked, never to be used
    """

    forward: Callable[..., Tensor]
    backward: Callable[..., Sequence[Tensor]] | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    half: bool = False
    lane: Lane = "native"

    def __call__(self, **arguments: Any) -> Tensor:
        return self.forward(**arguments)


@dataclass(frozen=True, kw_only=True)
class Op:
    """One function, many implementations, one signature.

    schema           of the arguments, as PyTorch writes it, the backend's name left out
    differentiable   arguments that receive gradients, float tensors or lists of them
    shape            (**arguments) -> an empty result, from the arguments' shapes alone
    check            (**arguments) raises ValueError for values that the specification forbids
    reference        the definition, in any floating dtype, with autograd
    backends         name -> implementation; every one claims to equal the reference
    default          device type -> the backend taken when none is named; "cpu" stands for the rest
    linear           in its differentiable arguments, for options it is given as (**arguments): the
                     backward pass then has a backward pass of its own, the operator itself
    shaped           whether `shape` can be told from shapes alone
    source           the paper or specification that the reference follows
    definition       this operator as PyTorch is told of it; `defined`, what PyTorch made of it
    """

    name: str
    schema: str
    differentiable: tuple[str, ...] = ()
    shape: Callable[..., Tensor]
    check: Callable[..., None] = lambda **_: None
    reference: Callable[..., Tensor]
    backends: Mapping[str, Backend]
    default: Mapping[str, str]
    linear: Callable[..., bool] = lambda **_: False
    shaped: bool = True
    source: str

    definition: Definition = field(init=False, compare=False, repr=False)
    defined: Callable[..., Any] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _operators[self.name] = self
        definition = Definition(
            name=self.name,
            schema=self.schema,
            differentiable=self.differentiable,
            forward=partial(_computed, self),
            backward=partial(_gradients, self),
            shape=self.shape,
            linear=self.linear,
        )
        define(definition)
        defined = getattr(getattr(torch.ops, NAMESPACE), self.name).default
        for name, value in (("definition", definition), ("defined", defined)):
            object.__setattr__(self, name, value)  # what follows from the fields, once

    def __call__(self, *, backend: str | None, **arguments: Any) -> Any:
        """The result by the backend named, chosen by `using`, or usual for the tensors' device.

        Raises ValueError naming the choices for a backend that is not there, or not for the device.
        """
        name = self.chosen(tensors_of(arguments)[0].device.type, backend)
        values = [self._constant(n, arguments[n]) for n in self.definition.names]
        return self.defined(*values, name)

    def dtype(self, **arguments: Any) -> torch.dtype:
        """The dtype of the result for these arguments."""
        return self.shape(**arguments).dtype if self.shaped else torch.long

    def _constant(self, name: str, value: Any) -> Any:
        """Without its history, a tensor that no gradient reaches: the result then needs none."""
        fixed = isinstance(value, Tensor) and name not in self.differentiable
        return value.detach() if fixed else value

    def native(self, device: str) -> list[str]:
        """The backends that run on a device type as they are, neither emulated nor interpreted."""
        found = self.backends.items()
        return [name for name, b in found if device in b.devices and b.lane == "native"]

    def chosen(self, device: str, backend: str | None = None) -> str:
        """The name of the backend that a call on `device` takes; raises as calling does."""
        name = backend or _named.get().get(self.name)
        name = name or self.default.get(device, self.default["cpu"])
        if name not in self.backends:
            raise ValueError(unknown(name, self.backends, f"backend of {self.name}"))
        if device not in self.backends[name].devices:
            where = ", ".join(self.backends[name].devices)
            raise ValueError(f"{self.name}: backend {name!r} runs on {where}, tensors on {device}")
        return name


def on_gpu(operator: str, *, backward: bool = False) -> dict[str, Backend]:
    """The backends of an operator's cuda.py and triton.py, and both on a CPU, to be checked there.

    backward   whether each has a function `backward` too
    """
    found = {}
    lanes: list[tuple[str, str, str, Lane]] = [
        ("cuda", "cuda", "cuda", "native"),
        ("emulated", "cuda", "cpu", "emulated"),
        ("triton", "triton", "cuda", "native"),
        ("interpreter", "triton", "cpu", "interpreter"),
    ]
    for name, module, device, lane in lanes:
        place = f"kernels.{operator}.{module}"
        found[name] = Backend(
            forward=lazily(place, operator),
            backward=lazily(place, "backward") if backward else None,
            devices=(device,),
            half=True,
            lane=lane,
        )
    return found


def usual_on_gpu(otherwise: str) -> str:
    """Our CUDA kernels where what launches them is installed (`mrcnn-lab[gpu]`), else the other.

    `python -m kernels list` stars the usual backends, and records name those they were made with.
    """
    try:
        found = importlib.util.find_spec("cuda.core")
    except ModuleNotFoundError:
        found = None
    return "cuda" if found else otherwise


def lazily(module: str, function: str) -> Callable[..., Any]:
    """A function that is imported when it is first called: what it needs need not be installed."""

    def imported_when_called(*tensors: Any, **arguments: Any) -> Any:
        return getattr(importlib.import_module(module), function)(*tensors, **arguments)

    return imported_when_called


@contextmanager
def using(**backends: str) -> Iterator[None]:
    """Within the block, take these backends where none is named: using(roi_align="reference").

    Raises ValueError for an unknown operator or backend.
    """
    for operator, backend in backends.items():
        if operator not in _operators:
            raise ValueError(unknown(operator, _operators, "operator"))
        if backend not in _operators[operator].backends:
            choices = _operators[operator].backends
            raise ValueError(unknown(backend, choices, f"backend of {operator}"))
    token = _named.set({**_named.get(), **backends})
    try:
        yield
    finally:
        _named.reset(token)


def in_use(device: str) -> dict[str, str]:
    """The backend that each operator takes on a device type, as things are chosen now."""
    return {name: op.chosen(device) for name, op in sorted(_operators.items())}


def operators() -> dict[str, Op]:
    """Every operator by name."""
    return dict(_operators)


def unknown(name: str, choices: Mapping[str, Any], kind: str) -> str:
    """One line: what was asked for, the nearest thing there is, and all there is."""
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is no {kind}{hint} (choose from {', '.join(sorted(choices))})"


def _computed(op: Op, arguments: Arguments, backend: str) -> Tensor:
    op.check(**arguments)
    first = tensors_of(arguments)[0]
    with torch.autocast(first.device.type, enabled=False):
        chosen = op.backends[backend]
        found = chosen.forward(**_widened(arguments, half=chosen.half))
    return _returned(found, first, first)


def _gradients(op: Op, grad: Tensor, arguments: Arguments, backend: str) -> list[Tensor]:
    chosen = op.backends[backend]
    wide = _widened(arguments, half=chosen.half)
    grad = grad if chosen.half else _wide(grad)
    with torch.autocast(grad.device.type, enabled=False):
        backward = chosen.backward or _by_autograd(op, chosen.forward)
        found = backward(grad, **wide)
    like = tensors_of(arguments, op.differentiable)
    return [_returned(g, t, t) for g, t in zip(found, like, strict=True)]


def _by_autograd(op: Op, forward: Callable[..., Tensor]) -> Callable[..., Sequence[Tensor]]:
    def backward(grad: Tensor, **arguments: Any) -> Sequence[Tensor]:
        def of(*tensors: Any) -> Tensor:
            return forward(**{**arguments, **dict(zip(op.differentiable, tensors, strict=True))})

        _, pull, *_ = torch.func.vjp(of, *(arguments[n] for n in op.differentiable))
        return tensors_of(dict(enumerate(pull(grad))))

    return backward


def _wide(tensor: Tensor) -> Tensor:
    """Float32 for half precision: RoIs in it would be off by half a pixel near column 1000."""
    return tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor


def _widened(arguments: Arguments, *, half: bool) -> Arguments:
    """With float32 for half precision, maps excepted where `half` says so."""

    def each(name: str, value: Any) -> Any:
        if half and name in MAPS:
            return value
        if isinstance(value, Tensor):
            return _wide(value)
        return [_wide(t) for t in value] if holds_tensors(value) else value

    return {name: each(name, value) for name, value in arguments.items()}


def _returned(found: Tensor, first: Tensor, like: Tensor) -> Tensor:
    """The result in the first argument's dtype, if both float, and laid out as `like` is."""
    if found.is_floating_point() and first.is_floating_point():
        found = found.to(first.dtype)
    if found.dim() == 4:
        found = found.contiguous(memory_format=layout_of(like))
    return found


def layout_of(tensor: Tensor) -> torch.memory_format:
    """channels_last for a tensor that is laid out so and not otherwise; else contiguous."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format
