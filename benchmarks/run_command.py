"""python -m benchmarks list and run: the operators against torchvision's."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

import kernels
from benchmarks import suite
from benchmarks.family import DTYPES, LAYOUTS, run_family
from benchmarks.gate.process import ended_as_by_ctrl_c
from benchmarks.roofs import Cache
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by
from mrcnn.spec import unknown

RUNS = Path("reports/runs")
CACHES: tuple[Cache, ...] = ("cold", "hot")


def list_all() -> None:
    """Name every benchmark, and say whether torchvision has the same and whether it is gated."""
    for name, one in suite.everything().items():
        peer = "against torchvision" if one.peer else "no peer"
        typer.echo(f"{name:<64} {peer}{', gated' if name in suite.DEFAULT else ''}")


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
    graph: Annotated[
        bool, typer.Option("--graph", help="On a GPU, time the replay of CUDA graphs.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=3, help="Pairs of samples.")] = 21,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Of a CPU, default 1; may be repeated. A GPU has one row."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = RUNS
    / "performance/operators.json",
) -> None:
    """Print times and their ratio to torchvision's with its interval, and write all samples.

    \b
    With --graph the kernels alone are timed, without what Python takes. What waits for the GPU,
    no graph can hold: ours fails then, and torchvision's has no times.

    \b
    Examples:
      python -m benchmarks run roi_align/P2 nms --threads 1 --threads 2
      python -m benchmarks run paste_masks/4k --cache cold --cache hot
      python -m benchmarks run nms/10k --device cuda --backend cuda --backend triton
      python -m benchmarks run roi_align/P2 --device cuda --graph --dtype float16
    """
    there_is(device)
    if graph and device != "cuda":
        raise ValueError("--graph needs --device cuda")
    known(dtype, DTYPES, "dtype")
    layouts = known(layout, LAYOUTS, "layout")
    caches = known(cache or ["cold"], CACHES, "state of the cache")
    with kept_in(out, device) as rows:

        def show(found: dict[str, Any]) -> None:
            rows.setdefault("timings", []).append(found)
            typer.echo(line(found))

        run_family(
            names, device=device, dtypes=dtype, layouts=layouts, rounds=rounds,
            threads=threads or (1,), cache=[one for one in CACHES if one in caches],
            show=show, backends=backend, graph=graph,
        )  # fmt: skip


@contextmanager
def kept_in(out: Path, device: str = "cpu") -> Iterator[dict[str, list[Any]]]:
    """Rows by kind, which are written when the block ends, however it ends."""
    rows: dict[str, list[Any]] = {}
    try:
        with ended_as_by_ctrl_c():
            yield rows
    finally:
        if any(rows.values()):
            write_json(out, {**rows, "made_by": made_by(device, kernels.in_use(device))})
            typer.echo(f"wrote {sum(map(len, rows.values()))} rows to {out}")


def known(names: list[str] | None, choices: Iterable[str], kind: str) -> list[str]:
    """The names given, or all. Raises ValueError for one there is not."""
    every = list(choices)
    for name in names or []:
        if name not in every:
            raise ValueError(unknown(name, every, kind))
    return names or every


def there_is(device: str) -> None:
    """Raises ValueError for a device that is not here."""
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device {device!r} is not here; choose cpu, or cuda where there is a GPU")


def line(found: dict[str, Any]) -> str:
    """One timing in words."""
    where = f"{found['threads']} x cpu" if found["device"] == "cpu" else found["device"]
    by = found["backend"] + (", graph" if found["graph"] else "")
    text = f"{found['name']:<56} {by:<13} {where:<7} {found['cache']}"
    text += f" {median(found['ours_ms']):9.3f} ms"
    if found["ratio"] is not None:
        middle, low, high = found["ratio"]
        text += f"  {middle:6.1f} times torchvision ({low:.1f} to {high:.1f})"
    return f"{text}  {100 * found['of_light']:.0f} % of the limit"
