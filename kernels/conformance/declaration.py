"""What a kernel says of itself: the operator it computes, and what of it it can do."""

import inspect
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kernels.conformance.lanes import LANES, expanded, installed, titled
from kernels.op import operators, unknown

DTYPES = ("float64", "float32", "float16", "bfloat16")
SHIPPED = "shipped:"
LAYOUTS = ("contiguous", "channels_last", "strided")
USUAL: Mapping[str, Any] = {
    "sampling_ratio": 2,
    "aligned": True,
    "reduce": "mean",
    "method": "exact",
    "threshold": 0.5,
    "iou_threshold": 0.5,
    "box": "inclusive",
    "sampling": "regular",
    "extrapolation_value": 0.0,
}
"""The value at which an option is tested that a kernel does not take as an argument."""


@dataclass(frozen=True)
class Known:
    """A check that is known to fail, and why. It is strict: a check that passes all the same fails.

    check    its name, as `python -m kernels list --checks` has it
    dtype    where it fails; None: in every dtype
    """

    check: str
    reason: str
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A function that claims to compute an operator.

    function         called with the operator's arguments by name. It need not take every option:
                     one it does not take is tested at its usual value alone
    lane             where it runs, of `lanes.LANES`: on a CPU, in an emulation, on a GPU
    needs            modules that have to be installed for it to run
    dtypes           of features, masks or boxes; RoIs come in float32, or float64 with float64
    layouts          "channels_last" must also be the layout of the result; "strided" is a view with
                     gaps
    grads            arguments whose gradients it gives
    double_backward  whether those gradients have gradients; if not, asking for them must raise
    deterministic    bitwise the same from run to run, forward and backward; "on request": under
                     torch.use_deterministic_algorithms(True)
    nonfinite        what a RoI, box or score that is NaN or infinite gives: "raise" an error, a
                     result that is "zero" or "nan", or "undefined", which still must not crash
    bad_index        what an image index outside the batch gives: "raise", "zero" or "undefined",
                     which is not tried, for it may read any memory
    domain           option -> the values it is made for; all others are left out
    excludes         combinations of options that it is not made for, each as option -> value
    compiled, autocast, fake, vmap
                     whether torch.compile(fullgraph=True) takes it; whether bfloat16 autocast
                     leaves its dtype and precision alone; whether fake tensors go through it;
                     whether torch.vmap over features does
    graph            whether a CUDA graph can capture it, with its backward pass, and replay it
    known            checks that are known to fail
    origin           "file.py:operator/name" that a worker process can load it from; None runs it
                     in the process that checks, where a crash ends both
    """

    operator: str
    name: str
    function: Callable[..., Any]
    lane: str = "cpu"
    needs: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32",)
    layouts: tuple[str, ...] = ("contiguous",)
    grads: tuple[str, ...] = ()
    double_backward: bool = False
    deterministic: bool | Literal["on request"] = True
    nonfinite: Literal["raise", "zero", "nan", "undefined"] = "undefined"
    bad_index: Literal["raise", "zero", "undefined"] = "undefined"
    domain: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    excludes: tuple[Mapping[str, Any], ...] = ()
    compiled: bool = False
    autocast: bool = False
    fake: bool = False
    vmap: bool = False
    graph: bool = False
    known: tuple[Known, ...] = ()
    origin: str | None = None

    def __post_init__(self) -> None:
        if self.operator not in operators():
            raise ValueError(unknown(self.operator, operators(), "operator"))
        if self.lane not in LANES:
            raise ValueError(f"{self.name}: {unknown(self.lane, LANES, 'lane')}")
        for given, choices, what in (
            (self.dtypes, DTYPES, "dtype"),
            (self.layouts, LAYOUTS, "layout"),
            (self.grads, operators()[self.operator].differentiable, "gradient"),
        ):
            for one in given:
                if one not in choices:
                    raise ValueError(f"{self.name}: {one!r} is no {what} of {self.operator}")

    @property
    def title(self) -> str:
        """The name with the lane, as a path has it."""
        return titled(self.name, self.lane)

    @property
    def device(self) -> str:
        """The type of device that its tensors are on."""
        return LANES[self.lane].device

    @property
    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        absent = (f"{name} is not installed" for name in self.needs if not installed(name))
        return LANES[self.lane].missing() or next(absent, None)

    @property
    def takes(self) -> frozenset[str]:
        """The arguments that the function takes."""
        parameters = inspect.signature(self.function).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return frozenset(operators()[self.operator].definition.names)
        return frozenset(p.name for p in parameters)

    def allows(self, options: Mapping[str, Any]) -> bool:
        """Whether the kernel claims to compute the operator with these options."""
        given = {name: _hashable(value) for name, value in options.items()}
        for name, value in given.items():
            if name not in self.takes and value != USUAL.get(name, value):
                return False
            if name in self.domain and value not in map(_hashable, self.domain[name]):
                return False
        return not any(
            all(name in given and given[name] == _hashable(value) for name, value in some.items())
            for some in self.excludes
        )


def _hashable(value: Any) -> Any:
    """A list as a tuple: options that came as JSON are lists."""
    return tuple(value) if isinstance(value, list) else value


def kernel(
    operator: str, *, lanes: Sequence[str] = ("cpu",), **about: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function a kernel; the function itself stays as it is.

    @kernel("roi_align", name="mine", dtypes=["float32"], grads=["features"])
    def mine(features, rois, *, output_size, spatial_scale, sampling_ratio, aligned): ...

    lanes   where it runs. A function that launches a .cu file runs in "emulated" and "gpu", one
            that launches Triton in "interpreter" and "gpu"; where it runs on a GPU it can be
            watched there as well, in "gpu+sanitizer"

    Takes the other fields of `Kernel`; `function.conformance` has one of these per lane. Raises
    ValueError for an operator, lane, dtype or layout there is not.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in about.items()
        }
        name = given.pop("name", function.__name__)
        function.conformance = tuple(  # type: ignore[attr-defined]
            Kernel(operator=operator, name=name, function=function, lane=lane, **given)
            for lane in expanded(lanes)
        )
        return function

    return declare


def declared_in(file: Path) -> list[Kernel]:
    """The kernels that a Python file declares, in its order, one for each of its lanes.

    Raises ValueError naming the file if it is not there, cannot be run, or declares none.
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file of kernels")
    try:
        names = runpy.run_path(str(file))
    except Exception as error:
        raise ValueError(f"{file}: {type(error).__name__}: {error}") from error
    declared = [getattr(v, "conformance", None) for v in names.values()]
    found = [
        replace(k, origin=f"{file.resolve()}:{k.operator}/{k.title}")
        for each in declared
        if isinstance(each, tuple)
        for k in each
    ]
    if not found:
        raise ValueError(f"{file}: declares no kernel; put @kernel(...) on a function")
    return found


def shipped(operator: str, backend: str, **about: Any) -> Kernel:
    """One of this project's own backends as a kernel, named like it unless `about` says how."""
    op = operators()[operator]

    def function(**arguments: Any) -> Any:
        return op(backend=backend, **arguments)

    made = Kernel(operator=operator, function=function, **{"name": backend, **about})
    return replace(made, origin=f"{SHIPPED}{operator}/{made.title}")
