"""What must be known of another implementation to read its weights, as one value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mrcnn.config import Trial
from mrcnn.weights.names import Table


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a peer puts what among the rows of its outputs. Ours: background first, no spare rows,
    anchors of a cell ratio by ratio.

    background_first   of the class logits (torchvision, Detectron, Matterport); else it is last
    spare_rows         boxes and masks have rows for the background too, which nobody reads
    sizes_outside      anchors of a cell come size by size, ratios within (detectron2)
    absent             classes that are numbered and do not exist, if there are `absent_in` rows
    """

    background_first: bool = True
    spare_rows: bool = True
    sizes_outside: bool = False
    absent: tuple[int, ...] = ()
    absent_in: int = 0


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One architecture of a peer: the names of its parameters and the choices that go with them.

    trial   what a state dict cannot say: strides, eps, pixels, rules. Sizes come from the weights
    """

    table: Table
    trial: Trial


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An implementation whose weights can be read.

    variant_of   which of the variants has parameters of such names; None if none has
    dropped      expressions of names that hold no weights -> what they are, for the summary
    prepared     what is done to the tensors before they are renamed
    """

    name: str
    variants: Mapping[str, Variant]
    variant_of: Callable[[Mapping[str, Tensor]], str | None]
    layout: Layout
    dropped: Mapping[str, str]
    prepared: Callable[[dict[str, Tensor], Trial], dict[str, Tensor]] = lambda tensors, _: tensors


COUNTERS = {r".*\.num_batches_tracked": "batch counters"}


def arranged(
    tensors: Mapping[str, Tensor], layout: Layout, sizes: int
) -> tuple[dict[str, Tensor], int]:
    """The tensors, named by role, with the rows of the outputs in our order; and how many rows of
    the class logits belonged to no class.

    sizes   anchor sizes per cell
    """
    found = dict(tensors)
    rows = len(found["box.classes.bias"])
    order = list(range(rows)) if layout.background_first else [rows - 1, *range(rows - 1)]
    absent = layout.absent if rows == layout.absent_in else ()
    order = [row for row in order if row not in absent]
    _take(found, "box.classes", order)
    first = int(layout.background_first and not layout.spare_rows)
    objects = [row - first for row in order[1:]]
    every = rows if layout.spare_rows else rows - 1
    for name, each in (("box.deltas", 4), ("mask.logits", 1)):
        if f"{name}.bias" not in found:
            continue
        if len(found[f"{name}.bias"]) == each * every:
            _take(found, name, objects, each)
        else:  # class-agnostic: one row, or in Detectron's boxes two of which the last counts
            _take(found, name, [len(found[f"{name}.bias"]) // each - 1], each)
    if layout.sizes_outside:
        _take(found, "rpn.objectness", _ratios_outside(found, sizes))
        _take(found, "rpn.deltas", _ratios_outside(found, sizes), 4)
    return found, rows - len(order)


def _ratios_outside(tensors: Mapping[str, Tensor], sizes: int) -> list[int]:
    """For anchor ratio * sizes + size, where it stands when sizes are outside."""
    ratios = len(tensors["rpn.objectness.bias"]) // sizes
    return [size * ratios + ratio for ratio in range(ratios) for size in range(sizes)]


def _take(tensors: dict[str, Tensor], name: str, order: list[int], each: int = 1) -> None:
    """Blocks of `each` rows of a layer's weight and bias, in another order."""
    index = torch.tensor([each * row + i for row in order for i in range(each)], dtype=torch.long)
    for key in (f"{name}.weight", f"{name}.bias"):
        if key not in tensors:  # whoever loads them says so
            continue
        if len(tensors[key]) <= int(index.max()):
            raise ValueError(f"{key} has {len(tensors[key])} rows, needs {int(index.max()) + 1}")
        tensors[key] = tensors[key][index]
