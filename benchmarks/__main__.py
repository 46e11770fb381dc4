"""python -m benchmarks: how fast the code is, against torchvision's and against what it was."""

from pathlib import Path
from typing import Annotated

import torch
import typer

import kernels
from benchmarks import run_command
from benchmarks.detector import command as detector_command
from benchmarks.first_call import first_calls
from benchmarks.gate import counted_command, pool_command
from benchmarks.gate.command import gate
from benchmarks.gpu import everything, gathered
from benchmarks.growth import command as scale_command
from benchmarks.history import command as history_command
from kernels.command import command_line
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by
from reports.gpu import render_gpu

app = typer.Typer(
    help="""Time the code against torchvision's and against what it was, with every answer checked.

    \b
    Examples:
      python -m benchmarks list
      python -m benchmarks gate --base origin/main
      python -m benchmarks gate --against torchvision
      python -m benchmarks run
      python -m benchmarks run roi_align/P2 nms --rounds 40 --threads 2
      python -m benchmarks run nms/10k --device cuda --backend triton
      python -m benchmarks detector --threads 2
      python -m benchmarks stages
      python -m benchmarks scale --quick
      python -m benchmarks first-call
      python -m benchmarks gpu
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
RUNS = Path("reports/runs")
app.command("list")(run_command.list_all)
app.command("run")(run_command.run)
app.command("gate")(gate)
app.command("pool")(pool_command.record)
app.command("replay")(pool_command.replay)
app.command("plant")(pool_command.plant)
app.command("count")(counted_command.count)
app.command("scale")(scale_command.scale)
app.command("history")(history_command.history)
app.command("detector")(detector_command.detector)
app.command("stages")(detector_command.stages)
app.command("peer")(detector_command.peer)
app.command("throughput")(detector_command.throughput)


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
    out: Annotated[Path, typer.Option(help="Where the seconds go.")] = RUNS
    / "performance/first-call.json",
) -> None:
    """How long the first call of each operator takes: when it compiles, and from the cache."""
    found = first_calls()
    for name, seconds in found.items():
        compiles, cached = seconds["compiles_s"], seconds["cached_s"]
        typer.echo(f"{name:<24} compiles {compiles:6.2f} s   from the cache {cached:6.2f} s")
    write_json(out, {"first_calls": found, "made_by": made_by("cpu", kernels.in_use("cpu"))})


if __name__ == "__main__":
    command_line(app)
