"""Which benchmarks there are, by names that do not change, and the few that the gate takes."""

import ast
import importlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

import kernels
from benchmarks.benchmark import Benchmark, Ready
from benchmarks.timing import TOLERANCE, widened
from benchmarks.workloads import Arguments, Place, Workload
from kernels.conformance.declaration import USUAL, Kernel, declared_in

SOURCES = (("family", "FAMILY"), ("detector.stages", "STAGES"), ("pieces", "PIECES"))
"""Modules of benchmarks, and the names by which they have them."""
BROKEN: dict[str, str] = {}
"""Module -> why it does not load on this side, found by `everything`."""
DEFAULT = (
    "roi_align/P2/float32/channels_last/forward",
    "roi_align/P2/float32/channels_last/with_backward",
    "roi_align/P2/float32/contiguous/forward",
    "roi_align/C4/float32/channels_last/forward",
    "multilevel_roi_align/pyramid/float32/channels_last/forward",
    "multilevel_roi_align/masks/float32/channels_last/forward",
    "roi_pool/P2/float32/channels_last/forward",
    "nms/1k/float32/contiguous/forward",
    "nms/10k/float32/contiguous/forward",
    "batched_nms/10k/float32/contiguous/forward",
    "box_iou/10k/float32/contiguous/forward",
    "paste_masks/800px/float32/contiguous/forward",
    "crop_masks/28x28/float32/contiguous/forward",
    "detector/inference/the whole",
    "detector/training/the whole",
    "evaluation/small",
)
"""What the gate measures where nothing else is asked for. A literal: `promised` reads another
revision's without importing it."""
AHEAD: dict[str, float] = {
    "roi_align/P2/float32/channels_last/forward": 6.0,
    "roi_align/P2/float32/channels_last/with_backward": 8.0,
    "roi_align/P2/float32/contiguous/forward": 2.5,
    "roi_align/C4/float32/channels_last/forward": 4.0,
    "multilevel_roi_align/pyramid/float32/channels_last/forward": 6.0,
    "multilevel_roi_align/masks/float32/channels_last/forward": 4.0,
    "roi_pool/P2/float32/channels_last/forward": 6.0,
    "nms/10k/float32/contiguous/forward": 4.0,
    "paste_masks/800px/float32/contiguous/forward": 8.0,
}
"""Name -> how many times as fast as torchvision it must stay on one core, below the least
that was measured on any machine. What is not here must not fall behind."""
SHAPES = ("P2", "C4", "pyramid", "masks", "1k", "10k", "800px", "28x28")
"""The shapes on which the kernels of a file are measured."""


def everything(names: Collection[str] = ()) -> dict[str, Benchmark]:
    """Every benchmark that loads here; BROKEN says what does not.

    names   load no more modules than have these; without any, all
    """
    found: dict[str, Benchmark] = {}
    for module, attribute in SOURCES:
        if names and set(names) <= set(found):
            break
        try:
            found |= getattr(importlib.import_module(f"benchmarks.{module}"), attribute)
        except Exception as error:  # an older side may lack what a new benchmark needs
            BROKEN[module] = f"{type(error).__name__}: {error}"
    declared = {n: replace(found[n], ahead=ahead) for n, ahead in AHEAD.items() if n in found}
    return found | declared


def promised(folder: Path) -> tuple[str, ...]:
    """The names that a checkout's own suite has as DEFAULT; none where it has no suite."""
    file = folder / "benchmarks" / "suite.py"
    if not file.is_file():
        return ()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DEFAULT":
            return tuple(ast.literal_eval(node.value))
    return ()


def of_kernels(file: Path) -> dict[str, Benchmark]:
    """A benchmark for each kernel that a file declares, on each shape of SHAPES of its operator.

    Raises ValueError naming the file if it is not there, cannot be run, or declares none that runs
    on this machine.
    """
    from benchmarks.family import MEMBERS

    found = {}
    for kernel in declared_in(file):
        dtype = "float32" if "float32" in kernel.dtypes else kernel.dtypes[0]
        layout = "channels_last" if "channels_last" in kernel.layouts else "contiguous"
        if kernel.lane not in ("cpu", "gpu") or kernel.missing:
            continue
        for member in MEMBERS.values():
            made, wanted = (
                member.workload,
                (dtype, layout if member.workload.maps else "contiguous"),
            )
            fits = made.operator == kernel.operator and member.shape in SHAPES
            if (
                fits
                and (member.dtype, member.layout) == wanted
                and (not made.backward or kernel.grads)
            ):
                path = member.name.removeprefix(f"{kernel.operator}/")
                name = f"{kernel.operator}/{kernel.title}/{path}"
                found[name] = of_kernel(kernel, name, made, member.place(kernel.device))
    if not found:
        raise ValueError(f"{file}: declares no kernel that can be timed here")
    return found


def of_kernel(kernel: Kernel, name: str, made: Workload, place: Place) -> Benchmark:
    """A kernel on a workload; its arguments are the operator's, options at their usual values."""
    names = kernels.operators()[kernel.operator].definition.names
    usual = {n: v for n, v in USUAL.items() if n in names}

    def function(**arguments: Any) -> Tensor:
        given = {**usual, **arguments}
        if "output_size" in given:
            given["output_size"] = (given["output_size"],) * 2
        if given.get("sampling_ratio") == "adaptive":
            given["sampling_ratio"] = 0
        return kernel.function(**{n: v for n, v in given.items() if n in kernel.takes})

    def peer(folder: Path) -> Ready:
        from benchmarks.family import theirs

        return theirs(made, place)

    return Benchmark(
        name=name,
        prepare=lambda folder: ready(made, function, place),
        operator=kernel.operator,
        device=kernel.device,
        peer=peer if made.peer_at(place) else None,
    )


def ready(made: Workload, function: Callable[..., Tensor], place: Place) -> Ready:
    """A workload by a function, with its answers held to the reference's."""
    given: dict[str, Arguments] = {}

    def renew(seed: int) -> None:
        given.clear()
        given["now"] = made.arguments(place, seed)

    renew(0)
    return Ready(
        run=lambda: made.run(function, given["now"]),
        check=lambda: right(made, function, place),
        renew=renew,
        close=given.clear,
    )


def right(made: Workload, function: Callable[..., Tensor], place: Place) -> None:
    """Raises AssertionError if a part of the answer is not the reference's, in float64."""
    given = made.arguments(place, 1, few=True)
    expected = made.run(made.ours("reference"), widened(given))
    found = made.run(function, given)
    for one, two in zip(found, expected, strict=True):
        assert one.shape == two.shape, f"the answer is {tuple(one.shape)}, not {tuple(two.shape)}"
        if two.numel():
            bound = TOLERANCE[place.dtype] * float(two.double().abs().amax().clamp(min=1))
            worst = float((one.double() - two.double()).abs().amax())
            assert worst <= bound, f"the answer is off by {worst:.3g}, more than {bound:.3g}"
