"""An operator is one mathematical function: a readable reference and any number of faster twins."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_named: ContextVar[Mapping[str, str]] = ContextVar("backends chosen by name")
_operators: dict[str, "Op"] = {}


@dataclass(frozen=True, kw_only=True)
class Op:
    """One function, many implementations, one signature.

    reference   the definition, in any floating dtype, with autograd
    backends    name -> implementation; every one claims to equal the reference
    default     device type -> the backend taken when none is named; "cpu" serves any other device
    ulps        allowed error in units of the dtype's epsilon times the largest |value| read
    source      the paper or specification that the reference follows
    """

    name: str
    reference: Callable[..., Tensor]
    backends: Mapping[str, Callable[..., Tensor]]
    default: Mapping[str, str]
    ulps: float
    source: str

    def __post_init__(self) -> None:
        _operators[self.name] = self

    def backend(self, device: torch.device, name: str | None = None) -> Callable[..., Tensor]:
        """The implementation named, or chosen by `using`, or usual for the device.

        Raises ValueError naming the choices for a backend that is not there.
        """
        usual = self.default.get(device.type, self.default["cpu"])
        chosen = name or _named.get({}).get(self.name) or usual
        if chosen not in self.backends:
            raise ValueError(_unknown(chosen, self.backends, f"backend of {self.name}"))
        return self.backends[chosen]


@contextmanager
def using(**backends: str) -> Iterator[None]:
    """Within the block, take these backends where none is named: using(roi_align="separable").

    Raises ValueError for an unknown operator or backend.
    """
    for operator, backend in backends.items():
        if operator not in _operators:
            raise ValueError(_unknown(operator, _operators, "operator"))
        if backend not in _operators[operator].backends:
            choices = _operators[operator].backends
            raise ValueError(_unknown(backend, choices, f"backend of {operator}"))
    token = _named.set({**_named.get({}), **backends})
    try:
        yield
    finally:
        _named.reset(token)


def operators() -> dict[str, Op]:
    """Every operator by name."""
    return dict(_operators)


def _unknown(name: str, choices: Mapping[str, Any], kind: str) -> str:
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is no {kind}{hint} (choose from {', '.join(sorted(choices))})"
