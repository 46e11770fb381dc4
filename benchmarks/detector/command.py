"""Commands that time the detector: whole, by stage, beside torchvision's; and what feeds it."""

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

import kernels
from benchmarks.detector.fresh import fresh
from benchmarks.detector.low_precision import average_precision, moved, precision_in_words
from benchmarks.detector.peer import CONTESTS, PRECISIONS, Contest
from benchmarks.detector.profiled import operators
from benchmarks.detector.share import WORK, choice, share
from benchmarks.detector.stages import CASES, REST, WHOLE, breakdown
from benchmarks.detector.throughput import rates
from benchmarks.run_command import RUNS, kept_in, known, there_is
from mrcnn.progress import on_terminal
from mrcnn.spec import unknown

PAGE = RUNS / "performance"
Rounds = Annotated[int, typer.Option(min=3, help="Pairs of samples.")]
Threads = Annotated[list[int] | None, typer.Option(min=1, help="May be repeated; default 1.")]


def detector(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="PyTorch threads.")] = 1,
    rounds: Rounds = 21,
    backend: Annotated[
        str | None, typer.Option(help="Of ours; default those usual on the device.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = PAGE / "detector.json",
) -> None:
    """What the kernels are worth to inference and to a training step, against torchvision's."""
    there_is(device)
    if backend is not None and not choice(device, backend):
        every = {name for op in kernels.operators().values() for name in op.native(device)}
        raise ValueError(unknown(backend, sorted(every), f"backend on {device}"))
    with kept_in(out, device) as rows, on_terminal() as show:
        for number, name in enumerate(WORK):
            found = share(name, device, threads, rounds, backend)
            rows.setdefault("detector", []).append({**asdict(found), "ratio": found.ratio})
            show("detector", number + 1, len(WORK))
            middle, low, high = found.ratio
            typer.echo(
                f"{name:<32} {threads} x {device} {median(found.ours_ms):9.1f} ms"
                f" {found.images_per_s:6.2f} images/s"
                f"  {middle:.2f} times as fast as with torchvision's ({low:.2f} to {high:.2f})"
            )


def stages(
    case: Annotated[list[str] | None, typer.Argument(help="By name; default all.")] = None,
    threads: Threads = None,
    precision: Annotated[str, typer.Option(help="fp32, or bf16 for inference.")] = "fp32",
    rounds: Rounds = 9,
    profile: Annotated[bool, typer.Option(help="PyTorch's operators too.")] = False,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = PAGE / "stages.json",
) -> None:
    """Where the time goes: each stage of inference and of a training step, beside the whole.

    \b
    Examples:
      python -m benchmarks stages inference --threads 1 --threads 2
      python -m benchmarks stages "training, small C4" --profile
    """
    names = known(case, CASES, "run to be taken apart")
    chosen: Any = known([precision], PRECISIONS, "precision")[0]
    with kept_in(out) as rows, on_terminal() as show:
        for name in names:
            made = CASES[name]()
            for count in threads or [1]:
                found = breakdown(made, rounds, count, chosen, show)
                rows.setdefault("stages", []).extend(found)
                typer.echo(breakdown_in_words(found))
                if profile:
                    found = operators(made, 3, count, show)
                    rows.setdefault("operators", []).extend(found)
                    typer.echo(operators_in_words(found))


def breakdown_in_words(rows: list[dict[str, Any]]) -> str:
    """A line a stage: median milliseconds and share of the whole."""
    first, total = rows[0], median(next(r["ms"] for r in rows if r["stage"] == WHOLE))
    images = first["images"]
    lines = [
        f"{first['pass']} of {first['model']}, {first['threads']} threads, {first['precision']}:"
        f" {1e3 * images / total:.2f} images/s"
    ]
    for row in rows:
        took = median(row["ms"])
        mark = "  " if row["stage"] in (WHOLE, REST) else "    "
        lines.append(f"{mark}{row['stage']:<28} {took:9.2f} ms {100 * took / total:6.1f} %")
    return "\n".join(lines)


def operators_in_words(rows: list[dict[str, Any]], most: int = 15) -> str:
    """A line for each of the slowest operators."""
    return "\n".join(
        f"    {row['operator'][:40]:<40} {row['ms']:9.2f} ms {100 * row['share']:6.1f} %"
        f" {row['calls']:6} calls"
        for row in rows[:most]
    )


def peer(
    task: Annotated[list[str] | None, typer.Argument(help="inference, training; both.")] = None,
    threads: Threads = None,
    precision: Annotated[list[str] | None, typer.Option(help="fp32, bf16; default both.")] = None,
    rounds: Rounds = 9,
    processes: Annotated[int, typer.Option(min=0, help="Fresh ones; 0 for none.")] = 3,
    model: Annotated[
        Path | None, typer.Option(help="A trained network, for the AP that bf16 costs.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = PAGE / "peer.json",
) -> None:
    """Our detector against torchvision's maskrcnn_resnet50_fpn: same weights, same answers.

    Rounds in turn, with answers compared before and after; then fresh processes of each: seconds
    to the first result, and the most memory.

    \b
    Examples:
      python -m benchmarks peer --threads 1 --threads 2
      python -m benchmarks peer inference --precision bf16 --processes 0
      python -m benchmarks peer --model reports/runs/ID/model.safetensors
    """
    tasks, kinds = known(task, CONTESTS, "task"), known(precision, PRECISIONS, "precision")
    with kept_in(out) as rows, on_terminal() as show:
        for name in tasks:
            for kind in kinds:
                for count in threads or [1]:
                    found = CONTESTS[name](
                        threads=count,
                        rounds=rounds,
                        precision=kind,  # type: ignore[arg-type]
                        show=show,
                    )
                    row = {**asdict(found), "ratio": found.ratio}
                    rows.setdefault("contests", []).append(row)
                    typer.echo(contest_in_words(found))
        if "bf16" in kinds and "inference" in tasks:
            rows["precision"] = [moved("bf16", show=show)]
            if model is not None:
                rows["precision"].append(average_precision(model, show=show))
            typer.echo("\n".join(map(precision_in_words, rows["precision"])))
        for count in (threads or [1]) if processes else []:
            found_fresh = fresh("full", count, processes, show=show)
            rows.setdefault("fresh", []).extend(found_fresh)
            typer.echo(fresh_in_words(found_fresh))


def contest_in_words(found: Contest) -> str:
    """A line, and how far the answers lie apart on the next."""
    middle, low, high = found.ratio
    return (
        f"{found.name}, {found.threads} threads, {found.precision}: {median(found.ours_ms):.0f} ms,"
        f" torchvision {median(found.peer_ms):.0f} ms;"
        f" {middle:.2f} times as fast ({low:.2f} to {high:.2f})\n    {found.same}"
    )


def fresh_in_words(rows: list[dict[str, Any]]) -> str:
    """A line for each detector and task: medians over processes."""
    lines = []
    kinds = dict.fromkeys((r["task"], r["who"], r["compiled"], r["threads"]) for r in rows)
    for kind in kinds:
        own = [r for r in rows if (r["task"], r["who"], r["compiled"], r["threads"]) == kind]
        seconds, peak = (median(r[name] for r in own) for name in ("first_result_s", "peak_mb"))
        note = "" if kind[2] else ", kernels to be compiled first"
        lines.append(
            f"{kind[0]:<14} {kind[1]:<12} {kind[3]} threads: first result after {seconds:6.2f} s,"
            f" {peak:6.0f} MiB at the peak{note}"
        )
    return "\n".join(lines)


def throughput(
    threads: Annotated[int, typer.Option(min=1, help="PyTorch threads.")] = 1,
    rounds: Rounds = 9,
    out: Annotated[Path, typer.Option(help="Where all samples go.")] = PAGE / "throughput.json",
) -> None:
    """Images a second that the data loader gives, by number of workers, and that are scored."""
    with kept_in(out) as rows, on_terminal() as show:
        rows["throughput"] = rates(rounds, threads, show)
        for row in rows["throughput"]:
            rate = median(row["images_per_s"])
            typer.echo(f"{row['what']:<36} {row['workers']} workers {rate:9.1f} images/s")
