"""The options of `python -m benchmarks gate`."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gate import verdict

Base = Annotated[
    str | None, typer.Option(help="The revision compared with: origin/main, HEAD~1, a tag.")
]
Head = Annotated[
    str | None, typer.Option(help="The revision judged; default the working tree as it is.")
]
Kernels = Annotated[
    Path | None, typer.Option(help="Measure the kernels that this file declares, on each side.")
]
Against = Annotated[
    str | None, typer.Option(help="torchvision: is head as far ahead of it as declared?")
]
Ahead = Annotated[
    float,
    typer.Option(min=0.01, help="With --against: where nothing is declared, times as fast."),
]
Budget = Annotated[str, typer.Option(help="Time for all rounds: 90s, 10m, 1h.")]
RoundsMax = Annotated[
    int, typer.Option(min=verdict.FEWEST, help="Rounds at most, whatever the budget.")
]
Every = Annotated[bool, typer.Option("--all", help="All benchmarks, not the default ones alone.")]
Only = Annotated[list[str] | None, typer.Option(help="This benchmark; may be repeated.")]
Gone = Annotated[
    list[str] | None, typer.Option(help="A benchmark that head need not have any more.")
]
New = Annotated[list[str] | None, typer.Option(help="A benchmark that base need not have.")]
OnUnsure = Annotated[str, typer.Option(help="pass or fail: exit code 0 or 3.")]
Build = Annotated[str | None, typer.Option(help="A shell command that is run in each side first.")]
Python = Annotated[
    str | None, typer.Option(help="Each side's interpreter, relative to it: venv/bin/python.")
]
Patience = Annotated[
    float, typer.Option(min=1, help="Seconds that one benchmark may take before it hangs.")
]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML.")]
Summary = Annotated[Path | None, typer.Option(help="Append a job summary, Markdown.")]
Comment = Annotated[
    Path | None, typer.Option(help="Write the body of a pull request's comment, Markdown.")
]
History = Annotated[Path | None, typer.Option(help="Add the result to the history in this folder.")]
HistoryBranch = Annotated[
    str | None, typer.Option(help="Add the result to the history on this branch.")
]
Out = Annotated[Path, typer.Option(help="The folder for gate.json.")]
Counted = Annotated[
    str | None,
    typer.Option(help="instructions: count them, by valgrind, in place of measuring time."),
]
