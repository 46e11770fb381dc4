"""An operator as PyTorch sees it: named, with shapes for fake tensors, and differentiable.

Each operator is a pair, `mrcnn_lab::NAME` and `mrcnn_lab::NAME_backward`. Both take the operator's
arguments and the name of the backend that computes, so that a compiled or exported program holds
that name and nothing else of this project.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "mrcnn_lab"
Arguments = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What PyTorch needs to know of an operator.

    schema           of the arguments, as PyTorch writes it, the backend's name left out
    differentiable   arguments that receive gradients: float tensors or lists of them
    forward          (arguments, backend) -> result
    backward         (grad, arguments, backend) -> one gradient per differentiable tensor
    shape            (**arguments) -> an empty result, from shapes alone
    linear           (**arguments) -> whether the result is linear in what is differentiable
    names            of the arguments, in the order of the schema
    """

    name: str
    schema: str
    differentiable: tuple[str, ...]
    forward: Callable[[Arguments, str], Tensor]
    backward: Callable[[Tensor, Arguments, str], list[Tensor]]
    shape: Callable[..., Tensor]
    linear: Callable[..., bool]

    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        parts = self.schema.split(", ")
        names = tuple(part.split("=")[0].split()[-1] for part in parts)
        object.__setattr__(self, "names", names)

    def bound(self, values: Sequence[Any]) -> tuple[Arguments, str]:
        """Positional values as arguments by name, and the backend."""
        return dict(zip(self.names, values[:-1], strict=True)), values[-1]

    def replaced(self, arguments: Arguments, tensors: Sequence[Tensor]) -> Arguments:
        """The arguments with `tensors` in place of those that are differentiable."""
        left, changed = iter(tensors), dict(arguments)
        for name in self.differentiable:
            value = arguments[name]
            changed[name] = next(left) if isinstance(value, Tensor) else [next(left) for _ in value]
        return changed


def define(spec: Definition) -> None:
    """Make the pair of PyTorch operators. Importing this twice in a process is an error of ours."""

    def forward(*values: Any) -> Tensor:
        return spec.forward(*spec.bound(values))

    def shape(*values: Any) -> Tensor:
        return spec.shape(**spec.bound(values)[0])

    schema = f"({spec.schema}, str backend) -> Tensor"
    defined = torch.library.custom_op(
        f"{NAMESPACE}::{spec.name}", forward, mutates_args=(), schema=schema
    )
    defined.register_fake(shape)
    if not spec.differentiable:
        return

    def backward(grad: Tensor, *values: Any) -> list[Tensor]:
        return spec.backward(grad, *spec.bound(values))

    def like(grad: Tensor, *values: Any) -> list[Tensor]:
        arguments, _ = spec.bound(values)
        return [torch.empty_like(t) for t in tensors_of(arguments, spec.differentiable)]

    schema = f"(Tensor grad, {spec.schema}, str backend) -> Tensor[]"
    reverse = torch.library.custom_op(
        f"{NAMESPACE}::{spec.name}_backward", backward, mutates_args=(), schema=schema
    )
    reverse.register_fake(like)

    def once(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        values = _values(ctx)
        arguments, _ = spec.bound(values)
        found = spec.replaced(arguments, reverse(grad, *values))
        kept = spec.differentiable
        return (*(found[n] if n in kept else None for n in spec.names), None)

    def twice(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Any, ...]:
        """The backward pass of a linear map is its transpose, whose own is the map again."""
        _, *values = _values(ctx)
        arguments, backend = spec.bound(values)
        if not spec.linear(**arguments):
            raise NotImplementedError(f"{spec.name}: these options have no second derivative")
        grad = defined(*spec.replaced(arguments, gradients).values(), backend)
        lists = (isinstance(v, (list, tuple)) and holds_tensors(v) for v in values)
        rest = ([None] * len(v) if li else None for v, li in zip(values, lists, strict=True))
        return (grad, *rest)

    defined.register_autograd(once, setup_context=_keep)
    reverse.register_autograd(twice, setup_context=_keep)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Save the inputs for the backward pass, tensors where autograd wants them."""
    ctx.form = [
        None if not holds_tensors(v) else 0 if isinstance(v, Tensor) else len(v) for v in inputs
    ]
    ctx.rest = [v for v in inputs if not holds_tensors(v)]
    ctx.save_for_backward(*tensors_of(dict(enumerate(inputs))))


def _values(ctx: Any) -> list[Any]:
    """The inputs that were kept, as they were given."""
    tensors, rest = iter(ctx.saved_tensors), iter(ctx.rest)
    found: list[Any] = []
    for form in ctx.form:
        if form is None:
            found.append(next(rest))
        else:
            found.append([next(tensors) for _ in range(form)] if form else next(tensors))
    return found


def holds_tensors(value: Any) -> bool:
    """Whether a value is a tensor or a list of some."""
    listed = isinstance(value, (list, tuple)) and len(value) > 0  # Dynamo knows no bool of a list
    return isinstance(value, Tensor) or (listed and isinstance(value[0], Tensor))


def tensors_of(arguments: Mapping[Any, Any], names: Sequence[str] | None = None) -> list[Tensor]:
    """The tensors among the arguments, in order, those in lists among them."""
    found: list[Tensor] = []
    for name, value in arguments.items():
        if (names is None or name in names) and holds_tensors(value):
            found += [value] if isinstance(value, Tensor) else value
    return found
