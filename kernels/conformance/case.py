"""One input of an operator, written so that it can be drawn, shrunk, stored and typed in again."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

KINDS = ("noise", "positive", "constant", "plane", "smooth", "steps", "offset", "windows")
"""noise     standard normal
positive  uniform in 0 .. 1
constant  one value everywhere
plane     a + b y + c x over the last two axes, a, b, c drawn
smooth    a slow wave over the last two axes
steps     whole numbers of -2 .. 2, so that many are equal
offset    noise on top of 1000
windows   a sparse tensor (n, c, h, w) of zeros, but for whole numbers of 1 .. 8 in squares: of
          SIDE pixels from each (image, y, x) of "at" on, in the first, middle and last channel"""
SIDE = 16


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input as a recipe of plain values.

    tensors   argument -> {"values": nested lists}, or {"kind": of KINDS, "shape": [...],
              "seed": n}, or {"list": several of those} for an argument that is a list of tensors
    options   the operator's other arguments; sampling_ratio 0 is adaptive
    """

    operator: str
    tensors: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """The arguments, tensors in float64: what a kernel is given once rounded to its dtype."""
        made = {
            name: [tensor(one) for one in recipe["list"]] if "list" in recipe else tensor(recipe)
            for name, recipe in self.tensors.items()
        }
        return {**made, **self.options}

    @property
    def token(self) -> str:
        """The whole case as text without blanks, for a command line."""
        text = json.dumps([self.operator, self.tensors, self.options], separators=(",", ":"))
        return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")

    @staticmethod
    def from_token(token: str) -> "Case":
        """The case that a token holds. Raises ValueError for a token that holds none."""
        try:
            packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            operator, tensors, options = json.loads(zlib.decompress(packed))
        except (ValueError, zlib.error) as error:
            raise ValueError(f"{token[:40]!r} is no case ({error})") from None
        return Case(operator=operator, tensors=tensors, options=options)


def tensor(recipe: Mapping[str, Any]) -> Tensor:
    """The float64 tensor a recipe describes. "shape" beside "values" gives empty ones a shape.

    Raises ValueError for a kind there is not.
    """
    if "values" in recipe:
        made = torch.tensor(recipe["values"], dtype=torch.float64)
        return made.reshape(recipe["shape"]) if "shape" in recipe else made
    shape, g = recipe["shape"], torch.Generator().manual_seed(recipe.get("seed", 0))
    if recipe["kind"] == "windows":
        return _windows(shape, recipe["at"], g)
    noise = torch.randn(shape, generator=g, dtype=torch.float64)
    kind = recipe["kind"]
    if kind == "noise":
        return noise
    if kind == "positive":
        return torch.rand(shape, generator=g, dtype=torch.float64)
    if kind == "constant":
        return torch.full(shape, float(torch.randn((), generator=g)), dtype=torch.float64)
    if kind == "steps":
        return (noise * 1.2).round().clamp(-2, 2)
    if kind == "offset":
        return noise + 1000
    a, b, c = torch.randn(3, generator=g, dtype=torch.float64).tolist()
    y = torch.arange(shape[-2], dtype=torch.float64)[:, None] + 0.5
    x = torch.arange(shape[-1], dtype=torch.float64) + 0.5
    if kind == "plane":
        return (a + b * y + c * x).expand(shape).clone()
    if kind == "smooth":
        return (torch.sin(y / 3 + a) * torch.cos(x / 4 + b)).expand(shape) + 0.01 * noise
    raise ValueError(f"{kind!r} is no kind of tensor (choose from {', '.join(KINDS)})")


def _windows(shape: Sequence[int], at: Sequence[Sequence[int]], g: torch.Generator) -> Tensor:
    channels, side = torch.tensor([0, shape[1] // 2, shape[1] - 1]), torch.arange(SIDE)
    places = [
        torch.cartesian_prod(torch.tensor([image]), channels, y + side, x + side)
        for image, y, x in at
    ]
    index = torch.cat(places).T
    values = torch.randint(1, 9, (index.shape[1],), generator=g).double()
    return torch.sparse_coo_tensor(index, values, list(shape), check_invariants=True)
