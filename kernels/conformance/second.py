"""The gradient of a gradient, shaped like a result, so that it travels between processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kernels.library import tensors_of


def towards(like: Tensor, dtype: torch.dtype) -> Tensor:
    """A direction: noise, the same for every tensor of its shape."""
    g = torch.Generator().manual_seed(5)
    return torch.randn(like.shape, generator=g, dtype=torch.float64).to(dtype).to(like.device)


def second(
    function: Callable[..., Tensor],
    given: Mapping[str, Any],
    names: Sequence[str],
    grad: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The gradient of <gradients of <result, grad>, directions> with respect to `grad`.

    The directions are those `towards` the arguments `names`, rounded to `dtype`. Of an operator
    that is linear in these the answer is the operator of the directions; a gradient without a
    history gives zeros, which no right one does.

    Raises whatever the function raises that is asked for a gradient it has not.
    """
    leaves = tensors_of(given, names)
    for leaf in leaves:
        leaf.requires_grad_()
    out = function(**given)
    g = grad.to(out).detach().clone().requires_grad_()
    first = torch.autograd.grad(out, leaves, g, create_graph=True, materialize_grads=True)
    along = [(f * towards(f, dtype or f.dtype).to(f)).sum() for f in first]
    total: Tensor = sum(along, 0 * g.sum())
    total.backward()  # not grad(total, g): that passes over a node which would have raised
    assert g.grad is not None
    return g.grad
