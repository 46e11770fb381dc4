"""python -m benchmarks count: instructions of a benchmark in place of its time."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import kernels
from benchmarks import suite
from benchmarks.benchmark import named
from benchmarks.gate.counted import CALLS, Count, instructions, missing
from benchmarks.gate.sides import CODE, Side
from mrcnn.atomic import write_json
from mrcnn.provenance import made_by

OUT = Path("reports/runs/count.json")


def count(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Of benchmarks, or their first parts; default those of the gate."),
    ] = None,
    calls: Annotated[int, typer.Option(min=1, help="Calls, each counted.")] = CALLS,
    out: Annotated[Path, typer.Option(help="Where all counts go.")] = OUT,
) -> None:
    """Instructions of one call of a benchmark, by valgrind: what noise does not change.

    \b
    A count says whether the code does more work, not whether it is slower: it sees no caches,
    no memory bandwidth, one thread, and AVX2 in place of AVX-512.

    \b
    Examples:
      python -m benchmarks count nms/1k
      python -m benchmarks count
    """
    if (why := missing()) is not None:
        raise ValueError(why)
    known = [n for n, one in suite.everything().items() if (one.threads, one.device) == (1, "cpu")]
    chosen = named(names or [n for n in suite.DEFAULT if n in known], known)
    start = time.perf_counter()
    with Console(stderr=True).status(f"counting {len(chosen)} benchmarks: minutes"):
        found = instructions(chosen, Side(name="head", folder=CODE), calls=calls)
    took = time.perf_counter() - start
    counts = {n: one for n, one in found.items() if isinstance(one, Count)}
    for name, one in counts.items():
        typer.echo(
            f"{name:<56} {one.each:>16,} instructions a call;"
            f" {calls} calls within {1e6 * one.spread:.0f} millionths"
        )
    if counts:
        rows = [{**asdict(one), "each": one.each, "spread": one.spread} for one in counts.values()]
        about = made_by("cpu", kernels.in_use("cpu"))
        write_json(out, {"counts": rows, "seconds": took, "made_by": about})
        typer.echo(f"wrote {len(counts)} counts to {out}; {took:.0f} s")
    if failed := {n: why for n, why in found.items() if isinstance(why, str)}:
        name, why = next(iter(failed.items()))
        raise ValueError(f"{len(failed)} without a number: {name}: {why}")
