"""The performance page: what is fast, where time goes, how far from the limit, what got slower.

Reads every *.json that `python -m benchmarks` has left in one folder; a page of what there is, and
a line on what there is not.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports import gate_words, trends
from reports.blocks import Section, Table, duration, kind, markdown
from reports.detector_sections import contests, precision, processes, stages, throughput
from reports.gate_words import Sentence, checked, one_line
from reports.growth import growth
from reports.page import filled, write
from reports.performance_sections import limits, operators, over_time

TEMPLATE = "performance.html.jinja"
MEASURED = "reports/runs/performance"
"""Where the records lie that `python -m reports render` makes the page of."""
KEPT = "records"
"""The folder beside a page with the records it was made of: the same page again from it."""
NEEDED = {
    "timings": ("workload", "device", "threads", "ours_ms"),
    "detector": ("name", "device", "threads", "ours_ms", "peer_ms", "ratio"),
    "contests": ("name", "device", "threads", "ours_ms", "peer_ms", "ratio"),
    "stages": ("model", "pass", "stage", "ms", "threads"),
    "scaling": ("what", "variable", "values", "ms"),
    "largest": ("what", "variable", "value", "limit_gib"),
    "operators": ("model", "pass", "threads", "operator", "ms"),
    "fresh": ("who", "task", "threads", "first_result_s", "peak_mb"),
    "throughput": ("what", "images_per_s"),
    "precision": (),
}
"""Group of rows -> what each of them must have."""
COMMANDS = {
    "timings": "python -m benchmarks run",
    "detector": "python -m benchmarks detector",
    "contests": "python -m benchmarks peer",
    "fresh": "python -m benchmarks peer",
    "precision": "python -m benchmarks peer",
    "stages": "python -m benchmarks stages",
    "operators": "python -m benchmarks stages --profile",
    "throughput": "python -m benchmarks throughput",
    "scaling": "python -m benchmarks scale",
    "first_calls": "python -m benchmarks first-call",
    "gate": "python -m benchmarks gate --base main",
    "trends": "python -m benchmarks history --folder history",
}
"""Group -> the command that measures it, where the record does not name its own."""
SAMPLED = ("timings", "detector", "contests", "stages")
"""Groups of rows with a sample for each round, whose commands take --threads and --rounds."""
MADE = (
    *("commit", "code_id", "processor", "device", "cores"),
    *("python", "torch", "torchvision", "numba", "numpy"),
)
OTHERWISE = ("kind", "made_by", "command", "file", "looks", "said", "level", "runs")
Found = dict[str, Any]


def render_performance(folder: Path, out: Path) -> list[Path]:
    """Write report.html, report.md, pictures and the records below `out`; returns their paths.

    A pure function of the records: the same records give the same bytes.

    Raises ValueError naming a file that holds no such records, or if there is none.
    """
    found = gathered(folder)
    parts = sections(found)
    head = {
        "title": title(found),
        "findings": [finding for part in parts for finding in part.findings],
        "warnings": warnings(found),
        "absent": absent(found),
        "made": made(found),
        "again": again(found),
    }
    out.mkdir(parents=True, exist_ok=True)
    page = filled(TEMPLATE, {**head, "sections": parts, "kind": kind})
    pictures = {p.file: p.content for part in parts for p in part.pictures}
    written = [
        write(out / "report.html", page),
        write(out / "report.md", in_markdown(head, parts).encode()),
    ]
    written += [write(out / name, content) for name, content in pictures.items()]
    return written + kept(folder, out / KEPT)


def gathered(folder: Path) -> Found:
    """The records of a folder: group -> rows, the gates, the histories, and what made them.

    Raises ValueError naming a file that holds no such records, or if there is none.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ValueError(f"{folder}: no record of a measurement (*.json) there")
    found: Found = {name: [] for name in NEEDED}
    found |= {"first_calls": {}, "gate": [], "trends": [], "others": {}, "files": []}
    for file in files:
        one = _read(file)
        found["files"].append((file.name, one))
        if one.get("kind") == "gate":
            found["gate"].append(checked(one, str(file)))
        elif one.get("kind") == "trends":
            found["trends"].append(trends.checked(one, str(file)))
        else:
            _gather(found, one, file)
    return found


def _read(file: Path) -> Found:
    try:
        one = json.loads(file.read_text())
        if not isinstance(one, dict):
            raise ValueError(f"a {type(one).__name__}, expected an object")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not a record of a measurement ({error})") from None
    return one


def _gather(found: Found, one: Found, file: Path) -> None:
    known = False
    for name, rows in one.items():
        if name in NEEDED:
            _check(rows, name, file)
            found[name] += rows
        elif name == "first_calls":
            if not all(isinstance(v, dict) and "compiles_s" in v for v in rows.values()):
                raise ValueError(f"{file}: first_calls: expected compiles_s and cached_s of each")
            found[name] |= rows
        elif name not in OTHERWISE and _is_table(rows):
            found["others"].setdefault(name, []).extend(rows)
        else:
            continue
        known = True
    if not known:
        groups = ", ".join([*NEEDED, "first_calls"])
        raise ValueError(f"{file}: not a record of a measurement: expected one of {groups}")


def _check(rows: Any, name: str, file: Path) -> None:
    if not isinstance(rows, list):
        raise ValueError(f"{file}: {name}: expected a list of rows, got {type(rows).__name__}")
    for row in rows:
        lacking = [key for key in NEEDED[name] if not isinstance(row, dict) or key not in row]
        if lacking:
            raise ValueError(f"{file}: {name}: a row lacks {', '.join(lacking)}: {row!r:.80}")
        for key in ("ours_ms", "ms"):
            if key in NEEDED[name] and not (row[key] or row.get("error")):
                raise ValueError(f"{file}: {name}: a row without samples ({key}): {row!r:.80}")


def _is_table(rows: Any) -> bool:
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) for row in rows)


def sections(found: Found) -> list[Section]:
    """All that there is, in the order in which it is read."""
    made = [
        over_time(found["gate"], found["trends"]),
        contests([*found["contests"], *found["detector"]]),
        stages(found["stages"], found["operators"]),
        operators(found["timings"]),
        limits(found["timings"]),
        growth(found["scaling"], found["largest"]),
        processes(found["fresh"]),
        throughput(found["throughput"]),
        precision(found["precision"]),
        first_calls(found["first_calls"]),
        others(found["others"]),
    ]
    return [section for section in made if section is not None]


def first_calls(found: Mapping[str, Mapping[str, float]]) -> Section | None:
    """How long the first call of each operator takes."""
    if not found:
        return None
    rows = tuple(
        (name, duration(1e3 * one["compiles_s"]), duration(1e3 * one["cached_s"]))
        for name, one in found.items()
    )
    head = ("operator", "compiles", "from the cache")
    return Section(
        anchor="first",
        title="The first call",
        says=("Seconds of the first call in a fresh process, imports aside.",),
        blocks=(Table(name="First calls", head=head, rows=rows),),
    )


def others(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Section | None:
    """Rows that this page has no picture for, as they are: nothing recorded is left out."""
    tables = []
    for name, rows in groups.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines = tuple(tuple(shown(row.get(key)) for key in columns) for row in rows)
        head = tuple(column.replace("_", " ") for column in columns)
        tables.append(Table(name=name.replace("_", " ").capitalize(), head=head, rows=lines))
    if not tables:
        return None
    return Section(anchor="others", title="Also measured", blocks=tuple(tables))


def shown(value: Any) -> str:
    """A recorded value as a cell: of many numbers the middle one."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and all(isinstance(v, (int, float)) for v in value):
        return f"{sorted(value)[len(value) // 2]:.4g}" + (f" (of {len(value)})" * (len(value) > 1))
    return one_line(str(value))


def title(found: Found) -> str:
    """The page's title, with the machine."""
    about = _abouts(found)
    where = {a.get("device") if a.get("device") != "cpu" else a.get("processor") for a in about}
    named = ", ".join(sorted(str(w) for w in where if w))
    return f"Performance: {named}" if named else "Performance"


def _abouts(found: Found) -> list[Mapping[str, Any]]:
    return [one["made_by"] for _, one in found["files"] if one.get("made_by")]


def made(found: Found) -> list[tuple[str, str]]:
    """Where the numbers come from: each value that any record has."""
    rows = []
    for name in MADE:
        seen = dict.fromkeys(str(a[name]) for a in _abouts(found) if a.get(name) is not None)
        if seen:
            rows.append((name.replace("_", " "), ", ".join(seen)))
    return rows


def warnings(found: Found) -> list[str]:
    """What a reader has to know before comparing two numbers of this page."""
    said = []
    for name in ("commit", "code_id", "processor", "torch"):
        seen = sorted({str(a.get(name)) for a in _abouts(found)})
        if len(seen) > 1:
            said.append(f"Parts of this page were made with different {name}: {', '.join(seen)}.")
    if any(a.get("dirty") for a in _abouts(found)):
        said.append("Made from a working tree with uncommitted changes.")
    return said


def absent(found: Found) -> list[tuple[str, str]]:
    """What was not measured, and the command that would."""
    names = {
        "timings": "operators, ratios and roofline",
        "contests": "the detector against torchvision's",
        "stages": "the detector by stage",
        "scaling": "how cost grows",
        "fresh": "memory, and time to the first result",
        "throughput": "loading and scoring",
        "gate": "a gate's verdicts",
        "trends": "the history",
    }
    return [(text, COMMANDS[name]) for name, text in names.items() if not found[name]]


def again(found: Found) -> str:
    """Lines to paste: the code, the environment, every measurement, and this page."""
    about = _abouts(found)
    commits = dict.fromkeys(str(a["commit"]) for a in about if a.get("commit"))
    lines = [f"git checkout {commit}" for commit in list(commits)[:1]]
    versions = [f"{n}=={a[n]}" for a in about[:1] for n in ("torch", "torchvision") if a.get(n)]
    lines.append(f"python -m pip install --editable . {' '.join(versions)}".rstrip())
    for name, one in found["files"]:
        lines += commands(one, name)
    return "\n".join([*dict.fromkeys(lines), "python -m reports render"])


def commands(one: Found, file: str) -> list[str]:
    """What measures the same again with the same threads and rounds: into a file of that name, or,
    where it takes several commands, into one for each.
    """
    if command := one.get("command"):
        return [str(command) if isinstance(command, str) else " ".join(command)]
    if one.get("kind") == "gate":
        return [gate_words.again(one) + f" --out {MEASURED}"]
    groups = [one["kind"]] if one.get("kind") else [name for name in COMMANDS if one.get(name)]
    lines = dict.fromkeys(COMMANDS[name] for name in groups)
    if COMMANDS["operators"] in lines:
        lines.pop(COMMANDS["stages"], None)
    found = []
    for line in lines:
        own = file if len(lines) == 1 else f"{line.split()[3]}.json"
        rows = [r for n in SAMPLED if line.startswith(COMMANDS[n]) for r in one.get(n, ())]
        found.append(f"{line}{as_options(rows)} --out {MEASURED}/{own}")
    return found


def as_options(rows: Sequence[Mapping[str, Any]]) -> str:
    """The device, threads of a CPU and rounds that rows were measured with, and whether all were
    replays of CUDA graphs, where they have them.
    """
    samples = {len(row["ours_ms"] if "ours_ms" in row else row["ms"]) for row in rows}
    devices = dict.fromkeys(row.get("device", "cpu") for row in rows)
    words = [f" --device {device}" for device in devices if device != "cpu"]
    words += [" --graph"] if rows and all(row.get("graph") for row in rows) else []
    counts = {row["threads"] for row in rows if row.get("device", "cpu") == "cpu"}
    words += [f" --threads {n}" for n in sorted(counts)]
    return "".join(words) + (f" --rounds {max(samples)}" if samples else "")


def in_markdown(head: Mapping[str, Any], parts: Sequence[Section]) -> str:
    """The page for a reader without a browser."""
    findings: Sequence[Sentence] = head["findings"]
    lines = [
        f"# {head['title']}",
        "\n".join(f"- {f.mark} **{f.text}**" for f in findings),
        "\n".join(f"> {warning}" for warning in head["warnings"]),
        *(markdown(part) for part in parts),
        "## Measure it again",
        f"```\n{head['again']}\n```",
        "\n".join(["| made by | |", "|---|---|", *(f"| {n} | {v} |" for n, v in head["made"])]),
    ]
    missing = [f"- {text}: `{command}`" for text, command in head["absent"]]
    lines += ["Not measured:\n\n" + "\n".join(missing)] if missing else []
    return "\n\n".join(line for line in lines if line) + "\n"


def kept(folder: Path, target: Path) -> list[Path]:
    """Copies of the records below the page, so that it can be committed and made again."""
    if folder.resolve() == target.resolve():
        return []
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.json"):
        if not (folder / old.name).exists():
            old.unlink()
    return [Path(shutil.copyfile(f, target / f.name)) for f in sorted(folder.glob("*.json"))]
