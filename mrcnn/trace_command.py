"""The command `python -m mrcnn trace`."""

from pathlib import Path
from typing import Annotated

import typer


def write_trace(
    files: Annotated[
        list[Path] | None, typer.Argument(help="IMAGE and CHECKPOINT, where no option says it.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Random weights of a preset, instead of CHECKPOINT.")
    ] = None,
    shapes: Annotated[
        int | None, typer.Option(help="Instead of IMAGE, the built-in one of this number.")
    ] = None,
    changes: Annotated[
        list[str], typer.Option("--set", help="path=value as for train; may be repeated.")
    ] = [],  # noqa: B006
    detection: Annotated[int, typer.Option(min=0, help="Whose RoI is shown; 0 the best.")] = 0,
    shown: Annotated[
        int | None,
        typer.Option("--object", min=0, help="Instead, the annotated object of this number."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("trace"),
    runs: Annotated[Path, typer.Option(help="Where generated data are kept.")] = Path(
        "reports/runs"
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Write every stage of one image, to be drawn by `python -m reports explain`.

    A checkpoint may be changed with --set as long as its weights fit: its RoI layer, say.
    """
    from mrcnn.options import usable
    from mrcnn.trace_source import traced

    usable(device)
    trace = traced(files or [], preset, changes, shapes, detection, shown, runs, device)
    trace.save(out)
    typer.echo(f"wrote {out}: {len(trace.found)} detections")
    if not len(trace.found):
        for reason, setting, count in trace.about["detection_drops"]:
            typer.echo(f"  {count} of {trace.about['pairs']} {reason} ({setting})")
    typer.echo(f"to draw it: python -m reports explain {out}")
