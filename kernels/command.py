"""How every `python -m` here ends: exit code 0, 1, 2 or 130, and one line where it went wrong."""

import re
import sys
from typing import NoReturn

import typer

# typer carries its own copy of click in some versions: take the class from typer, wherever it is.
ClickException: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)

STOPPED = "stopped"
RESUMES = "stopped; what was finished is kept, and the same command goes on from there"


def command_line(app: typer.Typer, *, stopped: str = STOPPED) -> NoReturn:
    """Run a command and exit: 0 fine, 2 for bad input with one line `error: ...`, 130 on Ctrl-C.

    stopped   what is said on Ctrl-C; RESUMES for commands that go on where they were

    ValueError and OSError count as bad input: this project raises them for what a caller gave.
    Anything else is a fault of ours, ends with its traceback and exit code 1.
    """
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        _stop(stopped, 130)
    except ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            _stop(error.format_message(), 2)  # type: ignore[attr-defined]
        _stop(f"error: {one_line(error.format_message())}", 2)  # type: ignore[attr-defined]
    except FloatingPointError as error:
        _stop(f"error: {one_line(str(error))}", 1)
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _stop(f"error: {one_line(named)}", 2)
    except ValueError as error:
        _stop(f"error: {one_line(str(error))}", 2)
    if code == 130:
        _stop(stopped, 130)
    sys.exit(code if isinstance(code, int) else 0)


def seconds(text: str) -> float:
    """The seconds of a --budget such as 90s, 30m or 2h. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"--budget must be a time such as 90s, 30m or 2h, got {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def one_line(text: str) -> str:
    """The text with every run of white space as one blank."""
    return " ".join(text.split())


def _stop(line: str, code: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(code)
