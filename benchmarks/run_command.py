"""python -m benchmarks list and run: the operators against torchvision's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import track

import kernels
from benchmarks import suite
from benchmarks.family import run_family
from benchmarks.process import ended_as_by_ctrl_c
from benchmarks.roofs import Cache
from benchmarks.timing import TOLERANCE, Timing, copied, measure, touched
from benchmarks.workloads import WORKLOADS, Layout, Place
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by
from mrcnn.spec import unknown

RUNS = Path("reports/runs")
CACHES: tuple[Cache, ...] = ("cold", "hot")


def list_all() -> None:
    """Name every benchmark, and every workload, and whether torchvision has the same."""
    for name, one in suite.everything().items():
        peer = "against torchvision" if one.peer else "no peer"
        typer.echo(f"{name:<64} {peer}{', gated' if name in suite.DEFAULT else ''}")
    for name, workload in WORKLOADS.items():
        typer.echo(f"{name:<64} {'against torchvision' if workload.peer else 'no peer'}")


def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks, or the first parts of their names.")
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="May be repeated; default numba, on a GPU cuda.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[list[str] | None, typer.Option(help="Of maps; may be repeated.")] = None,
    layout: Annotated[
        list[str] | None, typer.Option(help="contiguous or channels_last; default both.")
    ] = None,
    cache: Annotated[
        list[str] | None, typer.Option(help="cold or hot; may be repeated; default cold.")
    ] = None,
    graph: Annotated[bool, typer.Option(help="Time the replay of CUDA graphs.")] = False,
    rounds: Annotated[int, typer.Option(min=3, help="Pairs of samples.")] = 21,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="On a CPU; may be repeated; default 1.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = RUNS
    / "performance/operators.json",
) -> None:
    """Print times and their ratio to torchvision's with its interval, and write all samples.

    \b
    Examples:
      python -m benchmarks run roi_align/P2 nms --threads 1 --threads 2
      python -m benchmarks run paste_masks/4k --cache cold --cache hot
      python -m benchmarks run "nms of 4,000" --device cuda --backend triton
    """
    there_is(device)
    for one in dtype or []:
        if one not in TOLERANCE:
            raise ValueError(unknown(one, list(TOLERANCE), "dtype"))
    if graph and device != "cuda":
        raise ValueError("--graph needs --device cuda")
    layouts, operators = given_layouts(layout), kernels.operators()
    with kept_in(out, device) as keep:
        if device == "cuda" or any(n in WORKLOADS and n not in operators for n in names or []):
            at: dict[str, Any] = {"dtypes": dtype, "layouts": layouts, "graph": graph}
            run_workloads(names, device, threads or [1], backend, keep, rounds=rounds, **at)
        else:
            run_family(
                names, device, dtype, layouts, rounds, threads or (1,), given_caches(cache),
                keep, backend,
            )  # fmt: skip


@contextmanager
def kept_in(out: Path, device: str) -> Iterator[Any]:
    """What keeps and prints a row; all are written when the block ends, however it does."""
    rows: list[dict[str, Any]] = []

    def keep(found: dict[str, Any]) -> None:
        rows.append(found)
        typer.echo(line(found))

    try:
        with ended_as_by_ctrl_c():
            yield keep
    finally:
        if rows:
            write_json(out, {"timings": rows, "made_by": made_by(device, kernels.in_use(device))})
            typer.echo(f"wrote {len(rows)} timings to {out}")


def run_workloads(
    names: list[str] | None,
    device: str,
    threads: list[int],
    backends: list[str] | None,
    keep: Any,
    *,
    dtypes: list[str] | None,
    layouts: list[Layout],
    rounds: int,
    graph: bool,
) -> None:
    """Time workloads, which run on a GPU as well. Raises ValueError for an unknown one."""
    for name in names or []:
        if name not in WORKLOADS:
            raise ValueError(unknown(name, list(WORKLOADS), "workload"))
    places = [
        Place(device=device, dtype=t, layout=how, threads=n)
        for n in threads
        for t in dtypes or ["float32"]
        for how in layouts
    ]
    roofs = {n: copied(device, n, 256 if device == "cpu" else 2048) for n in threads}
    work = [
        (name, place, one)
        for place in places
        for name in names or WORKLOADS
        for one in backends or [WORKLOADS[name].usual(device)]
        if WORKLOADS[name].maps
        or (place.layout, place.dtype) == (places[0].layout, places[0].dtype)
    ]
    for name, place, one in track(work, "timing", transient=True):
        timing = measure(name, one, place, rounds, graph=graph)
        bytes_of = touched(WORKLOADS[name], WORKLOADS[name].arguments(place, 1))
        keep(row(timing, bytes_of, roofs[place.threads]))


def given_caches(names: list[str] | None) -> list[Cache]:
    """The states of the cache of these names. Raises ValueError for one there is not."""
    for name in names or []:
        if name not in CACHES:
            raise ValueError(unknown(name, list(CACHES), "state of the cache"))
    return [one for one in CACHES if one in (names or ["cold"])]


def there_is(device: str) -> None:
    """Raises ValueError for a device that is not here."""
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device {device!r} is not here; choose cpu, or cuda where there is a GPU")


def given_layouts(names: list[str] | None) -> list[Layout]:
    """The layouts of these names. Raises ValueError for one there is not."""
    known: dict[str, Layout] = {"channels_last": "channels_last", "contiguous": "contiguous"}
    for name in names or []:
        if name not in known:
            raise ValueError(unknown(name, list(known), "layout"))
    return [known[name] for name in names or known]


def row(timing: Timing, bytes_of: int | None, roof: float) -> dict[str, Any]:
    """A timing as it is written: with its ratio, and how near it comes to moving its bytes."""
    middle = sorted(timing.ours_ms)[len(timing.ours_ms) // 2]
    about = {"operator": WORKLOADS[timing.workload].operator, "bytes": bytes_of, "roof": roof}
    near = None if bytes_of is None else bytes_of / roof / (middle / 1e3)
    found = asdict(timing)
    return {**found.pop("place"), **found, **about, "ratio": timing.ratio, "of_roof": near}


def line(found: dict[str, Any]) -> str:
    """One timing in words."""
    ours = sorted(found["ours_ms"])
    text = f"{found['workload']:<32} {found['backend']:<8} {found['threads']} x {found['device']}"
    text += f" {found['dtype']:<8} {found['layout']:<13} {ours[len(ours) // 2]:9.3f} ms"
    if found["ratio"] is not None:
        middle, low, high = found["ratio"]
        text += f"  {middle:6.1f} times torchvision ({low:.1f} to {high:.1f})"
    if found["of_roof"] is not None:
        text += f"  {100 * found['of_roof']:.0f} % of the copy rate"
    return text
