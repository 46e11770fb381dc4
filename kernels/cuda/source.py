"""The text of a program: its includes put in, its kernels found."""

import re
from pathlib import Path

HERE = Path(__file__).parent
_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"[^\n]*$', re.MULTILINE)
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)'
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


class CompileError(Exception):
    """A program that does not compile; the message holds what the compiler said."""


def expanded(file: Path) -> str:
    """The file's text with each `#include "x"` replaced by x's, once, beside the file or here.

    `#line` directives let a compiler name the file and the line that an error is in.
    Raises CompileError for a file that is in neither place.
    """
    return _expanded(file, set())


def kernels_in(text: str) -> dict[str, tuple[str, ...]]:
    """The names of the kernels, `extern "C" __global__ void`, and of each one's parameters."""
    found = {}
    for name, parameters in _KERNEL.findall(_COMMENT.sub("", text)):
        parts = [part.strip() for part in parameters.split(",") if part.strip()]
        found[name] = tuple(re.split(r"\W+", part)[-1] for part in parts)
    return found


def _expanded(file: Path, seen: set[Path]) -> str:
    seen.add(file.resolve())
    text, shown = file.read_text(), f"{file.parent.name}/{file.name}"

    def replaced(found: re.Match[str]) -> str:
        after = text.count("\n", 0, found.end()) + 2
        places = [file.parent / found[1], HERE / found[1]]
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise CompileError(f'{shown}:{after - 1}: #include "{found[1]}": no such file')
        inner = "" if path.resolve() in seen else _expanded(path, seen)
        return f'{inner}\n#line {after} "{shown}"'

    return f'#line 1 "{shown}"\n{_INCLUDE.sub(replaced, text)}'
