"""A gate's record in words: what was decided, by how much, and what could not be measured.

Reads the gate.json that `python -m benchmarks gate` writes.
"""

import json
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Record = Mapping[str, Any]
Row = Mapping[str, Any]
NO_NUMBER = "NO NUMBER"
STOPPED = 130
"""The exit code of a gate that somebody stopped."""
MARKS = {
    "SLOWER": "✗",
    "BEHIND": "✗",
    NO_NUMBER: "!",
    "UNSURE": "?",
    "FASTER": "✓",
    "AHEAD": "✓",
    "SAME": "=",
}
"""Verdicts, what a reader has to see first in front, and the mark of each."""
KINDS = {"SLOWER": "bad", "BEHIND": "bad", NO_NUMBER: "bad", "UNSURE": "open"}
KINDS |= {"FASTER": "good", "AHEAD": "good", "SAME": ""}
ON_THE_WAY = ("compiling", "by the noise of", "base:", "head:", "peer:", "ours:")
"""How lines begin that tell of progress."""
BASES = ("base", "peer", "torchvision")
"""What the samples of the side that is compared with are called."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """What a reader has to know, its mark, and whether it is good, bad or open news."""

    text: str
    mark: str
    kind: str


def load_gate(file: Path) -> Record:
    """A gate's record. Raises ValueError naming the file if it holds none."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not a gate's record ({error})") from None
    return checked(found, str(file))


def checked(record: Any, name: str = "the record") -> Record:
    """The record, if it is one of a gate. Raises ValueError that says what is wrong with it."""
    try:
        if record["kind"] != "gate":
            raise ValueError(f"its kind is {record['kind']!r}, expected 'gate'")
        if record["exit_code"] not in (*range(4), STOPPED):
            raise ValueError(f"its exit_code is {record['exit_code']!r}, expected 0, 1, 2 or 3")
        for row in record["benchmarks"]:
            _check(row)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{name}: not a gate's record ({why})") from None
    return record  # type: ignore[no-any-return]


def _check(row: Row) -> None:
    name, verdict = row["name"], row["verdict"]
    if verdict is None or row.get("error"):
        return
    if verdict not in MARKS:
        raise ValueError(f"{name}: verdict {verdict!r}, expected one of {', '.join(MARKS)}")
    numbers = [row["ratio"], row["low"], row["high"]]
    if verdict == "UNSURE" and None in numbers:
        return
    if not all(isinstance(n, (int, float)) and 0 < n < math.inf for n in numbers):
        raise ValueError(f"{name}: {verdict} with ratio, low, high {numbers}, expected numbers > 0")


def verdict_of(row: Row) -> str:
    """The word of a benchmark's verdict; NO NUMBER where it could not be measured."""
    return NO_NUMBER if row.get("error") or row["verdict"] is None else str(row["verdict"])


def worst_first(record: Record) -> list[Row]:
    """The benchmarks, those that a reader has to see in front; else in their own order."""
    order = list(MARKS)
    return sorted(record["benchmarks"], key=lambda row: order.index(verdict_of(row)))


def headline(record: Record) -> Sentence:
    """The gate's answer in one sentence, for a title."""
    rows = {word: [r for r in record["benchmarks"] if verdict_of(r) == word] for word in MARKS}
    total, code = len(record["benchmarks"]), record["exit_code"]
    slow, unsure = rows["SLOWER"] + rows["BEHIND"], rows["UNSURE"]
    if code in (2, STOPPED):
        lost = rows[NO_NUMBER]
        what = f"{len(lost)} of {total} benchmarks" if lost else "the benchmarks"
        begin = "Could not measure" if code == 2 else "Stopped before it had measured"
        text, mark, kind = f"{begin} {what}", "!", "bad"
        text += f"; {len(slow)} got slower" if slow else ""
    elif slow:
        word = "fell behind" if rows["BEHIND"] else "got slower"
        text, mark, kind = f"{len(slow)} of {total} benchmarks {word}", "✗", "bad"
    elif unsure:
        text, mark, kind = f"Unsure about {len(unsure)} of {total} benchmarks", "?", "open"
    elif record.get("against"):
        text, mark, kind = f"All {total} stay ahead of {record['against']}", "✓", "good"
    else:
        won = f", {len(rows['FASTER'])} got faster" if rows["FASTER"] else ""
        text, mark, kind = f"None of {total} benchmarks got slower{won}", "✓", "good"
    return Sentence(text=text, mark=mark, kind=kind)


def sentences(record: Record) -> list[Sentence]:
    """One sentence for each benchmark that is not SAME or AHEAD, what matters most in front."""
    said = []
    for row in worst_first(record):
        word = verdict_of(row)
        if word not in ("SAME", "AHEAD"):
            text = f"{row['name']}: {word}, {about(row, record)}"
            said.append(Sentence(text=text, mark=MARKS[word], kind=KINDS[word]))
    return said


def about(row: Row, record: Record) -> str:
    """By how much, with the interval; or why there is no number."""
    if verdict_of(row) == NO_NUMBER:
        return one_line(row.get("error") or "no number, and no reason was given")
    return change(row, record.get("against"))


def change(row: Row, against: str | None = None) -> str:
    """The change of the time with its interval; against a peer: how many times as fast."""
    if None in (row["ratio"], row["low"], row["high"]):
        return "no interval yet"
    if against:
        middle, low, high = 1 / row["ratio"], 1 / row["high"], 1 / row["low"]
        return f"{middle:.3g} times as fast ({low:.3g} to {high:.3g})"
    middle, low, high = row["ratio"], row["low"], row["high"]
    if middle >= 2:
        return f"{middle:.3g} times as long ({low:.3g} to {high:.3g})"
    return f"{signed(middle)} ({signed(low)} to {signed(high)})"


def signed(ratio: float) -> str:
    """A ratio of times as a change in percent, with its sign: 1.05 is +5.0 %."""
    return f"{100 * (ratio - 1):+.1f} %".replace("-", "−")


def share(value: float | None) -> str:
    """A relative size in percent; empty where it is not known."""
    return "" if value is None else f"{100 * value:.1f} %"


def notes(record: Record) -> list[str]:
    """What the gate said that is of no one benchmark and no step on the way: changes that are not
    measured, a budget that is too small, why nothing was measured.
    """
    named = [f"{row['name']}:" for row in record["benchmarks"]]
    named += [f"{name}:" for group in ("new", "gone") for name in record.get(group) or ()]
    passed = (" ", *ON_THE_WAY, *named)
    return [one_line(line) for line in record.get("said") or () if not line.startswith(passed)]


def tally(record: Record) -> str:
    """How many benchmarks have each verdict: "1 SLOWER, 18 SAME"."""
    counts = Counter(verdict_of(row) for row in record["benchmarks"])
    return ", ".join(f"{counts[word]} {word}" for word in MARKS if counts[word]) or "no benchmark"


def sides(record: Record) -> list[tuple[str, str]]:
    """The two sides, each with its name and what it was."""
    if record.get("against"):
        return [("ours", side(record.get("head"))), ("against", str(record["against"]))]
    return [("base", side(record.get("base"))), ("head", side(record.get("head")))]


def side(found: Mapping[str, Any] | None) -> str:
    """A side in words: the name it was asked for by, its commit, whether it had changes."""
    if not found:
        return "not said"
    commit = str(found.get("commit") or "")[:12]
    name = str(found.get("revision") or "the working tree")
    text = name if not commit or name.startswith(commit) else f"{name} ({commit})"
    return text + (", with uncommitted changes" if found.get("dirty") else "")


def again(record: Record, names: Sequence[str] = ()) -> str:
    """The command that measures the same again; `names`: these benchmarks alone, whichever
    the run had.

    Uncommitted changes cannot be named by a commit: then the working tree is measured.
    """
    base, head = record.get("base") or {}, record.get("head") or {}
    words = ["python -m benchmarks gate"]
    if not record.get("against"):
        words.append(f"--base {str(base.get('commit') or base.get('revision') or 'main')[:12]}")
    if head.get("commit") and not head.get("dirty"):
        words.append(f"--head {head['commit'][:12]}")
    if record.get("against"):
        words.append(f"--against {record['against']}")
    if seconds := record.get("budget_s"):
        words.append(f"--budget {minutes(seconds)}")
    chosen = ("--only ", "--all") if names else ()
    words += [word for word in record.get("options") or () if not word.startswith(chosen)]
    words += [f"--only {shlex.quote(name)}" for name in names]
    return " ".join(words)


def minutes(seconds: float) -> str:
    """A time as the option --budget takes it."""
    return f"{seconds / 60:g}m" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g}s"


def per_round(row: Row) -> dict[str, list[float]]:
    """Milliseconds of each side, one median a round, in the order of the rounds; the side that is
    compared with comes first.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for sample in row.get("samples") or ():
        rounds = found.setdefault(str(sample["side"]), {})
        rounds.setdefault(int(sample["round"]), []).extend(sample["ms"])
    names = sorted(found, key=lambda name: name not in BASES)
    return {
        name: [median(found[name][n]) for n in sorted(found[name]) if found[name][n]]
        for name in names
    }


def ratios(row: Row) -> list[float]:
    """The second side's time over the first's, round by round; empty without samples of both."""
    both = list(per_round(row).values())
    if len(both) != 2:
        return []
    return [two / one for one, two in zip(*both, strict=False) if one > 0 and two > 0]


def one_line(text: str) -> str:
    """The text with every run of white space as one blank."""
    return " ".join(str(text).split())
