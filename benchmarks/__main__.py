"""python -m benchmarks: how fast the backends are, against each other."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.cases import CASES
from benchmarks.timing import backends_of, measure
from kernels.command import command_line
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by
from mrcnn.spec import unknown

app = typer.Typer(
    help="""Time the operators' backends in turn, on fresh inputs, with every answer checked.

    \b
    Examples:
      python -m benchmarks list
      python -m benchmarks run
      python -m benchmarks run "small C4 head, training" --rounds 40 --threads 1
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_all() -> None:
    """Name every workload and the backends that can run it."""
    for name, case in CASES.items():
        typer.echo(f"{name}: {case.operator} ({', '.join(backends_of(name))})")


@app.command()
def run(
    cases: Annotated[list[str] | None, typer.Argument(help="Workloads; default all.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Samples of each backend.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="PyTorch threads.")] = 1,
    peer: Annotated[
        str, typer.Option(help="The backend that ratios are taken to.")
    ] = "torchvision",
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = Path(
        "reports/runs/benchmarks.json"
    ),
) -> None:
    """Print median times and ratios with the middle 80 % of rounds, and write all samples."""
    for name in cases or []:
        if name not in CASES:
            raise ValueError(unknown(name, list(CASES), "workload"))
    torch.set_num_threads(threads)
    kept = []
    for name in cases or CASES:
        timing = measure(name, backends_of(name), rounds)
        kept.append({"case": name, "samples_ms": timing.samples_ms})
        for backend in timing.samples_ms:
            line = f"{name:<28} {backend:<12} {timing.median_ms(backend):9.2f} ms"
            if backend != peer and peer in timing.samples_ms:
                middle, low, high = timing.ratio(backend, peer)
                line += f"   {middle:.2f} times as fast as {peer} ({low:.2f} to {high:.2f})"
            typer.echo(line)
    write_json(out, {"timings": kept, "made_by": made_by("cpu", {})})
    typer.echo(f"wrote {len(json.loads(out.read_text())['timings'])} workloads to {out}")


if __name__ == "__main__":
    command_line(app)
