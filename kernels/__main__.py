"""python -m kernels: what there is, and whether it agrees with its reference."""

from typing import Annotated

import typer

import kernels
from kernels.check import check as compare
from kernels.check import chosen
from kernels.command import command_line

app = typer.Typer(
    help="""The operators of Mask R-CNN and their backends.

    \b
    Examples:
      python -m kernels list
      python -m kernels check
      python -m kernels check roi_align --backend separable --cases 200
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_all() -> None:
    """Name every operator, its backends (the usual one starred) and its source."""
    for name, op in kernels.operators().items():
        usual = set(op.default.values())
        shown = ", ".join(b + "*" * (b in usual) for b in op.backends)
        typer.echo(f"{name:<12} {shown:<36} {op.source}")
    note = kernels.foreign()
    if note:
        typer.echo(note, err=True)


@app.command()
def check(
    operator: Annotated[str | None, typer.Argument(help="One operator; default all.")] = None,
    backend: Annotated[str | None, typer.Option(help="One backend; default all.")] = None,
    cases: Annotated[int, typer.Option(help="Drawn cases per backend.")] = 50,
    seed: Annotated[int, typer.Option(help="Other cases for another seed.")] = 0,
) -> None:
    """Compare backends with the float64 reference on drawn cases. Exit code 1 if one is off."""
    failed = 0
    for op, name in chosen(operator, backend):
        outcome = compare(op, name, cases, seed)
        failed += not outcome.passed
        word = "ok" if outcome.passed else "FAILED"
        line = f"{op.name:<12} {name:<12} {word:<7} {outcome.worst:.2f} of the bound"
        typer.echo(line + (f"; refused: {outcome.refused}" if outcome.refused else ""))
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    command_line(app)
