"""Results of many runs: one JSON line a run, in a folder or on a branch, and where they changed.

A branch is written with git's own plumbing: neither the working tree nor the index is touched, and
a commit that somebody else has put on it meanwhile is kept.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.history.change_points import LEVEL, changes

FILE = "history.jsonl"
TRIES = 5
NOBODY = {"NAME": "benchmarks", "EMAIL": "benchmarks@localhost"}
"""Who commits where git knows nobody, on a machine of continuous integration say."""
Line = dict[str, Any]


def line_of(record: Mapping[str, Any], when: str | None = None) -> Line:
    """A run's record as the line that is kept of it: a few numbers for each benchmark.

    record   of a gate, or of `python -m benchmarks run` or `detector`
    when     ISO 8601; None: now

    Raises ValueError for a record of neither.
    """
    made = record.get("made_by") or {}
    line: Line = {
        "when": when or datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(made),
        "code_id": made.get("code_id"),
    }
    if record.get("kind") == "gate":
        head, base = record.get("head") or {}, record.get("base") or {}
        line |= {"kind": "gate", "commit": head.get("commit"), "dirty": bool(head.get("dirty"))}
        line |= {"base": base.get("commit"), "against": record.get("against")}
        line |= {"exit_code": record["exit_code"]}
        line["benchmarks"] = {row["name"]: _judged(row) for row in record["benchmarks"]}
    elif rows := [*record.get("timings", ()), *record.get("detector", ())]:
        line |= {"kind": "run", "commit": made.get("commit"), "dirty": bool(made.get("dirty"))}
        line |= {"base": None, "against": "torchvision"}
        line["benchmarks"] = {_named(row): _timed(row) for row in rows}
    else:
        raise ValueError("a record without benchmarks: expected a gate's, or timings")
    return line


def _machine(made: Mapping[str, Any]) -> str:
    device = made.get("device") or "cpu"
    what = made.get("processor") if device == "cpu" else device
    return f"{what or 'unknown'}, {made.get('cores') or '?'} cores"


def _judged(row: Mapping[str, Any]) -> Line:
    head = [s["ms"] for s in row.get("samples") or () if s["side"] in ("head", "ours")]
    numbers = {name: row.get(name) for name in ("verdict", "ratio", "low", "high")}
    return {**numbers, "ms": median(map(median, filter(None, head))) if any(head) else None}


def _named(row: Mapping[str, Any]) -> str:
    """What tells a timing apart from all others of its run."""
    parts = [row["name"]] if row.get("name") else [row["workload"], row["dtype"], row["layout"]]
    parts += [row.get(key) for key in ("backend", "device", "cache", "precision")]
    parts += ["graph" if row.get("graph") else None]
    parts += [f"{row['threads']} threads" if row["threads"] > 1 else None]
    return ", ".join(str(part) for part in parts if part)


def _timed(row: Mapping[str, Any]) -> Line:
    ratio = row.get("ratio")
    found = {"verdict": None, "ms": median(row["ours_ms"])}
    if ratio:
        found |= dict(zip(("ratio", "high", "low"), [1 / r for r in ratio], strict=True))
    return found


def append(folder: Path, line: Mapping[str, Any]) -> Path:
    """Add a line to the history in a folder; returns the file. What is there is not rewritten."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    with file.open("ab") as out:
        torn = out.tell() > 0 and not file.read_bytes().endswith(b"\n")
        out.write(b"\n" * torn + _packed(line))
        out.flush()
        os.fsync(out.fileno())
    return file


def append_to_branch(branch: str, line: Mapping[str, Any], repository: Path = Path()) -> str:
    """Add a line to the history on a branch, which is made if it is not there; returns the commit.

    Raises ValueError if this is no git repository, the name is none of a branch, or that branch is
    checked out.
    """
    reference = f"refs/heads/{branch}"
    named = _git(repository, "check-ref-format", reference, may_fail=True).ok
    if branch.startswith("-") or not named:
        raise ValueError(f"history branch {branch!r}: not a name of a branch")
    if _git(repository, "symbolic-ref", "-q", "HEAD", may_fail=True).text == reference:
        raise ValueError(f"history branch {branch!r}: it is checked out; choose one of its own")
    for _ in range(TRIES):
        parent = _git(repository, "rev-parse", "-q", "--verify", reference, may_fail=True).text
        commit = _commit(repository, parent, line)
        moved = _git(
            repository, "update-ref", reference, commit, parent or "0" * len(commit), may_fail=True
        )
        if moved.ok:
            return commit
    raise ValueError(f"history branch {branch!r}: others write to it all the time")


def _commit(repository: Path, parent: str, line: Mapping[str, Any]) -> str:
    """A commit after `parent` whose file has one line more; all other files stay."""
    text, entries = b"", []
    if parent:
        text = _file_of(repository, parent)
        listed = _git(repository, "ls-tree", parent).text.splitlines()
        entries = [entry for entry in listed if entry.partition("\t")[2] != FILE]
    if text and not text.endswith(b"\n"):
        text += b"\n"
    blob = _git(repository, "hash-object", "-w", "--stdin", given=text + _packed(line)).text
    entries.append(f"100644 blob {blob}\t{FILE}")
    tree = _git(repository, "mktree", given="\n".join(entries).encode() + b"\n").text
    said = f"{line.get('kind', 'run')} of {str(line.get('commit') or 'a working tree')[:12]}"
    return _git(
        repository, "commit-tree", tree, *(["-p", parent] if parent else []), "-m", said
    ).text


def read(place: Path) -> list[Line]:
    """The lines of a history: a file, or the folder it lies in. Raises ValueError naming the line
    that is none, OSError if there is no file.
    """
    file = place / FILE if place.is_dir() else place
    return _lines(file.read_bytes(), str(file))


def read_branch(branch: str, repository: Path = Path()) -> list[Line]:
    """The lines of the history on a branch, `origin/NAME` too. Raises ValueError if it has none."""
    text = _file_of(repository, branch)
    if not text:
        raise ValueError(f"{branch}: no branch with a {FILE}")
    return _lines(text, f"{branch}:{FILE}")


def trends(lines: Sequence[Line], level: float = LEVEL) -> dict[str, Any]:
    """The series of a history with their changes, as `python -m reports` draws them.

    Three measures, each a series of its own a benchmark: the ratio to torchvision and the ratio to
    a base that several runs share hold on any machine; milliseconds are compared within a machine.
    `level` is the chance that a history without any change shows one in any of its series.
    """
    kept: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        for name, row in line["benchmarks"].items():
            for measure, where, value in _values(line, row):
                point = {"when": line["when"], "commit": line.get("commit"), "value": value}
                kept.setdefault((name, measure, where), []).append(point)
    series = {key: points for key, points in kept.items() if len(points) > 1}
    each = max(level / max(len(series), 1), 1e-4)
    rows = []
    for (name, measure, where), points in series.items():
        found = [asdict(c) for c in changes([point["value"] for point in points], each)]
        rows.append(
            {"name": name, "measure": measure, "where": where, "points": points, "changes": found}
        )
    return {"kind": "trends", "level": level, "runs": len(lines), "series": rows}


def _values(line: Line, row: Mapping[str, Any]) -> Iterable[tuple[str, str, float]]:
    if row.get("ratio"):
        if line.get("against"):
            yield f"time over {line['against']}'s", "", row["ratio"]
        elif line.get("base"):
            yield "time over a fixed base's", str(line["base"])[:12], row["ratio"]
    if row.get("ms"):
        yield "ms", str(line.get("machine") or "unknown"), row["ms"]


def _packed(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, sort_keys=True, allow_nan=False).encode() + b"\n"


def _lines(text: bytes, name: str) -> list[Line]:
    found = []
    for number, one in enumerate(text.splitlines(), 1):
        if not one.strip():
            continue
        try:
            line = json.loads(one)
            line["benchmarks"].items()
            str(line["when"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{name}, line {number}: not a run's line of a history") from None
        found.append(line)
    return found


class _Done(NamedTuple):
    ok: bool
    text: str
    raw: bytes


def _file_of(repository: Path, commit: str) -> bytes:
    return _git(repository, "cat-file", "blob", f"{commit}:{FILE}", may_fail=True).raw


def _git(
    repository: Path, *arguments: str, given: bytes | None = None, may_fail: bool = False
) -> _Done:
    """What git says. Raises ValueError with its last words where it fails and may not."""
    missing = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in NOBODY.items()
        if arguments[0] == "commit-tree" and not _known(repository, part)
    }
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=repository,
            input=given,
            capture_output=True,
            env={**missing, **os.environ},
        )
    except OSError as error:
        raise ValueError(f"git cannot be run: {error.strerror}") from None
    if done.returncode and (not may_fail or b"not a git repository" in done.stderr):
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ValueError(f"git {arguments[0]} in {repository}: {words[-1]}")
    raw = b"" if done.returncode else done.stdout
    return _Done(not done.returncode, raw.decode(errors="replace").strip(), raw)


def _known(repository: Path, part: str) -> bool:
    done = subprocess.run(
        ["git", "config", f"user.{part.lower()}"], cwd=repository, capture_output=True
    )
    return done.returncode == 0
