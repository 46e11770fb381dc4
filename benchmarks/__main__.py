"""python -m benchmarks: how fast the backends are, against torchvision."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import track

import kernels
from benchmarks.detector import WORK, choice, share
from benchmarks.first_call import first_calls
from benchmarks.gpu import everything, gathered
from benchmarks.timing import TOLERANCE, Timing, copied, measure, touched
from benchmarks.workloads import WORKLOADS, Layout, Place
from kernels.command import command_line
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by
from mrcnn.spec import unknown
from reports.gpu import render_gpu

app = typer.Typer(
    help="""Time the operators against torchvision's, in turn, with every answer checked.

    \b
    Examples:
      python -m benchmarks list
      python -m benchmarks run
      python -m benchmarks run roi_align "nms of 4,000" --rounds 40 --threads 2
      python -m benchmarks run --device cuda --backend triton --dtype float16
      python -m benchmarks detector --threads 2
      python -m benchmarks first-call
      python -m benchmarks gpu
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
RUNS = Path("reports/runs")


@app.command("list")
def list_all() -> None:
    """Name every workload, its operator, and whether torchvision has the same."""
    for name, workload in WORKLOADS.items():
        peer = "against torchvision" if workload.peer else "no peer"
        typer.echo(f"{name:<32} {workload.operator:<22} {peer}")


@app.command()
def run(
    workloads: Annotated[list[str] | None, typer.Argument(help="By name; default all.")] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="May be repeated; default numba, on a GPU cuda.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[list[str] | None, typer.Option(help="Of maps; may be repeated.")] = None,
    layout: Annotated[
        list[str] | None, typer.Option(help="contiguous or channels_last; default both.")
    ] = None,
    graph: Annotated[bool, typer.Option(help="Time the replay of CUDA graphs.")] = False,
    rounds: Annotated[int, typer.Option(min=3, help="Pairs of samples.")] = 21,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="On a CPU; may be repeated; default 1.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = RUNS / "speed.json",
) -> None:
    """Print times and their ratio to torchvision's with its interval, and write all samples."""
    for name in workloads or []:
        if name not in WORKLOADS:
            raise ValueError(unknown(name, list(WORKLOADS), "workload"))
    there_is(device)
    for one in dtype or []:
        if one not in TOLERANCE:
            raise ValueError(unknown(one, list(TOLERANCE), "dtype"))
    if graph and device != "cuda":
        raise ValueError("--graph needs --device cuda")
    places = [
        Place(device=device, dtype=t, layout=how, threads=n)
        for n in (threads or [1])
        for t in dtype or ["float32"]
        for how in given_layouts(layout)
    ]
    kept = []
    roofs = {n: copied(device, n, 256 if device == "cpu" else 2048) for n in threads or [1]}
    work = [
        (name, place, one)
        for place in places
        for name in workloads or WORKLOADS
        for one in backend or [WORKLOADS[name].usual(device)]
        if WORKLOADS[name].maps
        or (place.layout, place.dtype) == (places[0].layout, places[0].dtype)
    ]
    try:
        for name, place, one in track(work, "timing", transient=True):
            timing = measure(name, one, place, rounds, graph=graph)
            bytes_of = touched(WORKLOADS[name], WORKLOADS[name].arguments(place, 1))
            kept.append(row(timing, bytes_of, roofs[place.threads]))
            typer.echo(line(kept[-1]))
    finally:
        if kept:
            write_json(out, {"timings": kept, "made_by": made_by(device, kernels.in_use(device))})
    typer.echo(f"wrote {len(kept)} timings to {out}")


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


@app.command()
def detector(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="PyTorch threads.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Pairs of samples.")] = 21,
    backend: Annotated[
        str | None, typer.Option(help="Of ours; default those usual on the device.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = RUNS / "detector.json",
) -> None:
    """What the kernels are worth to inference and to a training step, against torchvision's."""
    there_is(device)
    if backend is not None and not choice(device, backend):
        every = {name for op in kernels.operators().values() for name in op.native(device)}
        raise ValueError(unknown(backend, sorted(every), f"backend on {device}"))
    kept = []
    for name in track(WORK, "timing", transient=True):
        found = share(name, device, threads, rounds, backend)
        middle, low, high = found.ratio
        kept.append({**asdict(found), "ratio": found.ratio})
        ours = sorted(found.ours_ms)[rounds // 2]
        typer.echo(
            f"{name:<32} {threads} x {device} {ours:9.1f} ms"
            f"  {middle:.2f} times as fast as with torchvision's ({low:.2f} to {high:.2f})"
        )
    write_json(out, {"detector": kept, "made_by": made_by(device, kernels.in_use(device))})


@app.command("gpu")
def on_gpu(
    rounds: Annotated[int, typer.Option(min=3, help="Pairs of samples.")] = 21,
    minutes: Annotated[float, typer.Option(min=1, help="Start nothing new after so many.")] = 9.0,
    out: Annotated[Path, typer.Option(help="The folder for files and page.")] = RUNS / "gpu",
    accept_old_code: Annotated[
        bool, typer.Option("--accept-old-code", help="Keep what other code has shown.")
    ] = False,
) -> None:
    """All that a GPU has to show: timings, conformance, the zoo of GPU bugs; one JSON, one page.

    What has ended in the same folder is kept: the same command goes on where time was over.
    """
    if not torch.cuda.is_available():
        raise ValueError("no GPU here: nothing was run")
    steps = everything(out / "steps", rounds, minutes, accept_old_code)
    write_json(out / "gpu.json", gathered(steps, made_by("cuda", kernels.in_use("cuda"))))
    for step in steps:
        code = "out of time" if step["exit_code"] is None else f"exit code {step['exit_code']}"
        typer.echo(f"{step['step']:<40} {step['seconds']:6.1f} s  {code}")
    typer.echo(f"wrote {out / 'gpu.json'} and {render_gpu(out / 'gpu.json', out)[0]}")
    if left := sum(step["exit_code"] is None for step in steps):
        typer.echo(f"{left} steps had no time to end: the same command goes on with them")


@app.command("first-call")
def first_call(
    out: Annotated[Path, typer.Option(help="Where the seconds go.")] = RUNS / "first-call.json",
) -> None:
    """How long the first call of each operator takes: when it compiles, and from the cache."""
    found = first_calls()
    for name, seconds in found.items():
        compiles, cached = seconds["compiles_s"], seconds["cached_s"]
        typer.echo(f"{name:<24} compiles {compiles:6.2f} s   from the cache {cached:6.2f} s")
    write_json(out, {"first_calls": found, "made_by": made_by("cpu", kernels.in_use("cpu"))})


if __name__ == "__main__":
    command_line(app)
