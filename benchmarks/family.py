"""The whole family: every operator on every shape that Mask R-CNN gives it, as benchmarks.

A name says operator, shape, dtype, layout and direction, and does not change:
roi_align/P2/float32/channels_last/forward. Operators without maps of features have one dtype, one
layout and one direction.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

import torch
from rich.progress import track
from torch import Tensor

from benchmarks.benchmark import Benchmark, Ready, named
from benchmarks.roofs import Cache, between, roofs, state
from benchmarks.shapes import of_boxes, of_maps
from benchmarks.timing import TOLERANCE, Timing, differing, held, samples, verify, widened
from benchmarks.work import Work, work
from benchmarks.workloads import Layout, Place, Workload
from kernels.command import one_line

Direction = Literal["forward", "with_backward"]
Row = dict[str, Any]
DTYPES = ("float32", "float16", "bfloat16")
LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")
PEERS_MISTAKES = 0.05
"""The share of values in which torchvision's answer may differ from the reference: pixels that its
RoIPool has at the edge of a bin by rounding, or overlaps that are just about the threshold."""
AHEAD = {
    "roi_align": 2.5,
    "roi_align/masks/contiguous": 1.2,
    "roi_pool": 2.5,
    "roi_pool/masks/contiguous": 1.0,
    "roi_warp": 2.5,
    "roi_warp/masks/contiguous": 1.2,
    "multilevel_roi_align": 2.0,
    "multilevel_roi_align/masks/contiguous": 1.1,
    "nms": 2.0,
    "batched_nms/10k": 2.0,
    "batched_nms/100k": 5.0,
    "box_iou/100k": 5.0,
    "paste_masks": 5.0,
    "crop_masks": 10.0,
}
"""Operator, operator/shape or operator/shape/layout -> how many times as fast as torchvision's it
must stay on a CPU, in float32 and forward. Below the least that was measured on any machine: a
promise, not a record. A few RoIs of a large map with channels first leave little to win: nearly all
of the time goes to turning the map."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the family, wherever it runs."""

    shape: str
    dtype: str = "float32"
    layout: Layout = "contiguous"
    workload: Workload

    @property
    def direction(self) -> Direction:
        """Whether the gradient of the maps is part of it."""
        return "with_backward" if self.workload.backward else "forward"

    @property
    def name(self) -> str:
        """As it stays."""
        parts = (self.workload.operator, self.shape, self.dtype, self.layout, self.direction)
        return "/".join(parts)

    def place(self, device: str = "cpu", threads: int = 1) -> Place:
        """Where it runs, with maps of its dtype and layout."""
        return Place(device=device, dtype=self.dtype, layout=self.layout, threads=threads)

    def work(self, place: Place, seed: int) -> Work:
        """What one call on the inputs of that seed must move and compute."""
        return work(self.workload, self.workload.arguments(place, seed))

    def benchmark(
        self, device: str = "cpu", threads: int = 1, backend: str | None = None
    ) -> Benchmark:
        """It on one device, by a backend of ours, by default the usual one there."""
        workload, place = self.workload, self.place(device, threads)
        peer = workload.peer_at(place)
        return Benchmark(
            name=self.name,
            prepare=lambda _: ours(workload, place, backend or workload.usual(device)),
            operator=workload.operator,
            device=device,
            threads=threads,
            ahead=self._declared(device) if peer else None,
            peer=(lambda _: theirs(workload, place)) if peer else None,
            bytes=lambda seed: self.work(place, seed).bytes,
            operations=lambda seed: self.work(place, seed).operations,
        )

    def _declared(self, device: str) -> float | None:
        plain = device == "cpu" and (self.dtype, self.direction) == ("float32", "forward")
        place = self.workload.operator, self.shape, self.layout
        names = ("/".join(place[:parts]) for parts in (3, 2, 1))
        return next((AHEAD[name] for name in names if name in AHEAD), None) if plain else None


def _members() -> Iterator[Member]:
    for backward in (False, True):
        for shape, workload in of_maps(backward=backward):
            for dtype in DTYPES:
                for layout in LAYOUTS:
                    yield Member(shape=shape, dtype=dtype, layout=layout, workload=workload)
    for shape, workload in of_boxes():
        yield Member(shape=shape, workload=workload)


@dataclass
class Inputs:
    """The arguments made last, for one side or for both sides of a contest; before any were made,
    those of seed 0, made when they are asked for.
    """

    workload: Workload
    place: Place
    given: dict[str, Any] = field(default_factory=dict)

    def renew(self, seed: int) -> None:
        """Make them from a seed; the old ones go first, for two sets need not fit in memory."""
        self.given = {}
        self.given = self.workload.arguments(self.place, seed)

    def last(self) -> dict[str, Any]:
        """The arguments to work on."""
        if not self.given:
            self.renew(0)
        return self.given


def ours(workload: Workload, place: Place, backend: str, inputs: Inputs | None = None) -> Ready:
    """A workload by a backend of ours, ready with the inputs of seed 0 or with those given."""

    def check() -> None:
        verify(workload, backend, place, 0)

    return _ready(workload, place, workload.ours(backend), check, inputs)


def theirs(workload: Workload, place: Place, inputs: Inputs | None = None) -> Ready:
    """The same by torchvision. In half precision its answers are not compared: it rounds
    coordinates to it as well.

    Raises ValueError where torchvision has no such.
    """
    function = workload.peer_at(place)
    if function is None:
        raise ValueError(f"{workload.operator} in {place.dtype}: torchvision has no such operator")

    def check() -> None:
        if comparable(workload, place):
            given = workload.arguments(place, 0, few=True)
            expected = workload.run(workload.ours("reference"), widened(given))
            found = workload.run(function, given)
            if differing(found, expected, TOLERANCE[place.dtype]) > PEERS_MISTAKES:
                raise AssertionError(f"{workload.operator}: torchvision's is another function")

    return _ready(workload, place, function, check, inputs)


def comparable(workload: Workload, place: Place) -> bool:
    """Whether torchvision's answers can be held against ours: not where its RoIs are rounded."""
    return not workload.maps or place.dtype in ("float32", "float64")


def _ready(
    workload: Workload,
    place: Place,
    function: Callable[..., Tensor],
    check: Callable[[], None],
    inputs: Inputs | None,
) -> Ready:
    if place.device == "cpu":
        torch.set_num_threads(place.threads)
    if inputs is None:
        inputs = Inputs(workload, place)
    return Ready(
        run=lambda: workload.run(function, inputs.last()),
        check=check,
        renew=inputs.renew,
        close=lambda: inputs.given.clear(),
    )


MEMBERS: dict[str, Member] = {member.name: member for member in _members()}
FAMILY: dict[str, Benchmark] = {name: member.benchmark() for name, member in MEMBERS.items()}
"""All of them on one thread of a CPU."""


def chosen(names: Sequence[str] | None = None) -> list[Member]:
    """Those of these names, all without any. A name's first parts stand for all that begin so,
    roi_align/P2, and * for anything.

    Raises ValueError for one that fits none.
    """
    return [MEMBERS[name] for name in named(names or ["*"], MEMBERS)]


def run_family(
    names: Sequence[str] | None = None,
    device: str = "cpu",
    dtypes: Sequence[str] | None = None,
    layouts: Sequence[str] | None = None,
    rounds: int = 11,
    threads: Sequence[int] = (1,),
    cache: Sequence[Cache] = ("cold",),
    show: Callable[[Row], object] = lambda row: None,
    backends: Sequence[str] | None = None,
    graph: bool = False,
) -> list[Row]:
    """A row for each benchmark, backend, number of threads and state of the cache.

    dtypes, layouts   of maps; where none are given, those that a name says, else float32 in both
    threads           of a CPU; a GPU has one row, whatever they are
    show              gets each row as soon as it is measured, so that nothing is lost
    graph             as for `timed`

    Raises ValueError at once for names that are not there, and at the end, when all others are
    measured, for those that could not be: they failed or their answers were wrong.
    """
    members = asked_for(names, dtypes, layouts)
    asked = [
        (member, backend, count, kept)
        for count in (threads if device == "cpu" else (1,))
        for member in members
        for backend in backends or [member.workload.usual(device)]
        for kept in cache
    ]
    rows: list[Row] = []
    failed: list[str] = []
    for member, backend, count, kept in track(asked, "timing", transient=True):
        try:
            place = member.place(device, count)
            rows.append(timed(member, backend, place, rounds, kept, graph=graph))
        except (AssertionError, MemoryError, OSError, RuntimeError, ValueError) as error:
            failed.append(f"{member.name} by {backend}: {one_line(str(error))[:200]}")
            continue
        show(rows[-1])
    if failed:
        others = f", and {len(failed) - 1} others" if len(failed) > 1 else ""
        raise ValueError(f"could not measure {failed[0]}{others}")
    return rows


def asked_for(
    names: Sequence[str] | None, dtypes: Sequence[str] | None, layouts: Sequence[str] | None
) -> list[Member]:
    """Those of these names in these dtypes and layouts; a name may say either itself.

    Raises ValueError for a name of which nothing is left.
    """
    found: dict[str, Member] = {}
    for name in names or ["*"]:
        said = name.split("/")
        kinds = dtypes or [t for t in DTYPES if t in said] or ["float32"]
        orders = layouts or [how for how in LAYOUTS if how in said] or LAYOUTS
        fits = {
            m.name: m
            for m in chosen([name])
            if not m.workload.maps or (m.dtype in kinds and m.layout in orders)
        }
        if not fits:
            raise ValueError(f"{name!r}: none in {', '.join(kinds)} and {', '.join(orders)}")
        found |= fits
    return list(found.values())


def timed(
    member: Member, backend: str, place: Place, rounds: int, kept: Cache, *, graph: bool = False
) -> Row:
    """One benchmark against torchvision's, in turn, on inputs that no round has seen before.

    graph   on a GPU, time the replay of CUDA graphs: the kernels alone, without what Python takes.
            A peer that none can hold, for it waits for the GPU, has no times then

    Raises AssertionError rather than time a wrong answer: answers are compared with the reference
    before and after, and at full size with each other. Raises RuntimeError where no graph can hold
    ours.
    """
    workload = member.workload
    inputs = Inputs(workload, place)
    sides = [ours(workload, place, backend, inputs)]
    if workload.peer_at(place):
        sides.append(theirs(workload, place, inputs))
    before = state(place.device)
    for side in sides:
        side.check()
    inputs.renew(0)
    _same(member, place, sides)
    if graph:
        sides = held(sides, TOLERANCE[place.dtype])
    times = samples(sides, place.device, rounds, kept, graph=graph)
    for side in sides:
        side.check()
    found = Timing(
        workload=f"{workload.operator}/{member.shape}/{member.direction}",
        backend=backend,
        place=place,
        graph=graph,
        ours_ms=times[0],
        peer_ms=times[1] if len(times) > 1 else (),
    )
    return _row(member, found, kept, between(before, state(place.device)))


def _same(member: Member, place: Place, sides: Sequence[Ready]) -> None:
    """Raises AssertionError if both do not answer alike at full size."""
    results: list[Any] = [side.run() for side in sides]
    if len(results) < 2 or not comparable(member.workload, place):
        return
    apart = differing(results[0], results[1], TOLERANCE[place.dtype])
    if apart > PEERS_MISTAKES:
        raise AssertionError(f"ours and torchvision's differ in {100 * apart:.0f} % of all values")


def _row(member: Member, timing: Timing, kept: Cache, machine: dict[str, float]) -> Row:
    """A timing as it is written, with how near it comes to what the machine can do."""
    place = timing.place
    least, ceiling = member.work(place, 1), roofs(place.device, place.threads)
    seconds = median(timing.ours_ms) / 1e3
    rate = ceiling.bytes_per_s(least.bytes, kept)
    found = asdict(timing)
    return {
        **found.pop("place"),
        **found,
        "name": member.name,
        "operator": member.workload.operator,
        "family": member.shape,
        "direction": member.direction,
        "cache": kept,
        "bytes": least.bytes,
        "operations": least.operations,
        "roof": rate,
        "flops_roof": ceiling.operations_per_s(),
        "ratio": timing.ratio,
        "of_roof": least.bytes / rate / seconds,
        "of_light": ceiling.least_s(least.bytes, least.operations, kept) / seconds,
        "machine": machine,
    }
