"""Sides: two states of a repository, each in a folder of its own, that differ in nothing else.

Folders have names of equal length, for the length of a path can move what lies behind it in
memory, and so its speed.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from kernels.command import one_line

CODE = Path(__file__).resolve().parents[2]
"""What holds the running `benchmarks`, which measures every side."""
TREE = "the working tree"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One state of the code.

    name       "base", "head", or any other of the same length
    folder     where its files lie
    revision   as it was asked for
    commit     what that was; None: the files are of no commit
    dirty      files that differ from the commit
    python     the interpreter that runs it
    code       a folder that comes first on its path, with the `benchmarks` that measures
    kernels    a file of kernels within `folder`, which are measured; None: the suite is
    peer       measure the peer's work in place of its own
    """

    name: str
    folder: Path
    revision: str = TREE
    commit: str | None = None
    dirty: int = 0
    python: str = sys.executable
    code: Path = CODE
    kernels: str | None = None
    peer: bool = False

    @property
    def said(self) -> str:
        """Which state it is, in words."""
        short = (self.commit or "")[:12]
        if self.revision != TREE:
            return f"{self.name}: {self.revision} ({short})"
        changed = f"{self.dirty} changed files" if self.dirty else "nothing changed"
        return f"{self.name}: {TREE} ({changed} since {short})"


def git(root: Path, *arguments: str) -> str:
    """What git prints. Raises ValueError with its last line where it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, errors="replace"
        )
    except FileNotFoundError:
        raise ValueError("git is not installed, and revisions are taken from it") from None
    if done.returncode:
        words = one_line(done.stderr.strip().rpartition("\n")[2]) or "no reason given"
        raise ValueError(f"git {arguments[0]}: {words.removeprefix('fatal: ')}")
    return done.stdout


def top(folder: Path) -> Path:
    """The root of the repository that a folder lies in. Raises ValueError where it is in none."""
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
    except ValueError as error:
        if "not a git repository" not in str(error):
            raise
        raise ValueError(f"{folder}: not a git repository, so it has no revisions") from None


def commit_of(root: Path, revision: str) -> str:
    """The full name of a revision's commit. Raises ValueError for one that is not there."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except ValueError:
        shallow = git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
        hint = "; this clone is shallow: fetch the revision first" if shallow else ""
        raise ValueError(f"unknown revision {revision!r} in {root.name}{hint}") from None


def changed(root: Path) -> int:
    """How many files differ from HEAD, new ones that are not ignored among them."""
    return len([p for p in git(root, "status", "--porcelain", "-z").split("\0") if p])


@contextmanager
def checked_out(
    root: Path,
    *,
    base: str | None,
    head: str | None = None,
    kernels: str | None = None,
    build: str | None = None,
    python: str | None = None,
) -> Iterator[dict[str, Side]]:
    """The sides "base", where asked for, and "head", in a temporary folder that goes in the end.

    head      None: the working tree as it is, files that are not ignored among them
    kernels   a file of kernels, relative to the root
    build     a shell command that is run in each side
    python    each side's interpreter, relative to it; None: the running one

    Raises ValueError in one line for an unknown revision, a full disk, a side that does not build.
    """
    git(root, "worktree", "prune")
    wanted = {"base": base, "head": head}
    commits = {n: commit_of(root, r or "HEAD") for n, r in wanted.items() if n == "head" or r}
    with TemporaryDirectory(prefix="gate-") as made:
        place = Path(made)
        code = measuring(place / "code", own=(root / "kernels" / "op.py").is_file())
        try:
            sides = {}
            for name, commit in commits.items():
                folder, revision = place / name, wanted[name]
                side = Side(name=name, folder=folder, commit=commit, code=code, kernels=kernels)
                if revision is None:
                    copy(root, folder)
                    side = replace(side, dirty=changed(root))
                else:
                    git(root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
                    side = replace(side, revision=revision)
                sides[name] = built(side, build, python)
            yield sides
        finally:
            for name, revision in wanted.items():
                if revision is not None and (place / name).exists():
                    git(root, "worktree", "remove", "--force", str(place / name))


def measuring(folder: Path, *, own: bool) -> Path:
    """A folder with links to the code that measures, the same for every side.

    own   whether a side has `kernels` and `mrcnn` itself; else they are those installed here
    """
    folder.mkdir()
    for name in ("benchmarks", "reports") if own else ("benchmarks", "reports", "kernels", "mrcnn"):
        (folder / name).symlink_to(CODE / name, target_is_directory=True)
    return folder


def copy(root: Path, folder: Path) -> None:
    """The files of a working tree that git knows or would know, as they are."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in dict.fromkeys(listed.split("\0")):
        source, target = root / name, folder / name
        if name and (source.is_file() or source.is_symlink()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    folder.mkdir(exist_ok=True)


def built(side: Side, build: str | None, python: str | None) -> Side:
    """The side after its build. Raises ValueError with the last line where that fails."""
    if build is not None:
        done = subprocess.run(
            build, shell=True, cwd=side.folder, capture_output=True, text=True, errors="replace"
        )
        if done.returncode:
            words = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            raise ValueError(
                f"{side.name} does not build: {build!r} ended with {ended(done.returncode)}: "
                f"{one_line(words) or 'it said nothing'}"
            )
    if python is None:
        return side
    found = side.folder / python
    if not os.access(found, os.X_OK):
        raise ValueError(f"{side.name} has no interpreter {python}: --build must make it")
    return replace(side, python=str(found))


def ended(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
