"""The files that users copy: they parse, their shells parse, and every command has its options."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from reports.gate_page import MARKER
from reports.performance import again, gathered
from tests.reports import measured

CI = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "ci"
FILES = ("github.yml", "gitlab.yml")
KEY = re.compile(r"(?P<key>[\w.-]+):(?: +(?P<value>.*))?$")


def parsed(text):
    """The part of YAML that these files keep to: maps, lists, one-line values, blocks."""
    lines = [line for line in text.splitlines() if not line.strip().startswith("#")]
    value, rest = _node(lines, 0)
    assert not [line for line in rest if line.strip()], rest
    return value


def _depth(line):
    assert "\t" not in line, line
    return len(line) - len(line.lstrip())


def _node(lines, depth):
    while lines and not lines[0].strip():
        lines = lines[1:]
    if lines and lines[0].lstrip().startswith("- "):
        return _list(lines, _depth(lines[0]))
    return _map(lines, depth)


def _list(lines, depth):
    found = []
    while lines and (not lines[0].strip() or lines[0][depth:].startswith("- ")):
        if not lines[0].strip():
            lines = lines[1:]
            continue
        assert _depth(lines[0]) == depth, lines[0]
        text = lines[0][depth + 2 :]
        if KEY.match(text) and not text.startswith(('"', "'")):
            value, lines = _map([" " * (depth + 2) + text, *lines[1:]], depth + 2)
        else:
            value, lines = _value(text, lines[1:], depth)
        found.append(value)
    return found, lines


def _map(lines, depth):
    found = {}
    while lines and (not lines[0].strip() or _depth(lines[0]) >= depth):
        if not lines[0].strip():
            lines = lines[1:]
            continue
        match = KEY.match(lines[0].strip())
        assert match, f"not a key: {lines[0]!r}"
        assert _depth(lines[0]) == depth, f"not at depth {depth}: {lines[0]!r}"
        assert match["key"] not in found, f"twice: {match['key']}"
        value, lines = _value(match["value"] or "", lines[1:], depth)
        found[match["key"]] = value
    return found, lines


def _value(text, lines, depth):
    if text in ("|", ">-"):
        block = []
        while lines and (not lines[0].strip() or _depth(lines[0]) > depth):
            block.append(lines[0].strip() if text == ">-" else lines[0])
            lines = lines[1:]
        if text == ">-":
            return " ".join(one for one in block if one), lines
        indent = min(_depth(one) for one in block if one.strip())
        return "\n".join(one[indent:] for one in block).strip() + "\n", lines
    if text:
        assert not text.startswith(("{", "&", "*", "!", "%", "@", "`")), text
        if text.startswith("["):
            return [_plain(one.strip()) for one in text.strip("[]").split(",")], lines
        return _plain(text), lines
    if lines and _depth(lines[0]) > depth:
        return _node(lines, _depth(lines[0]))
    return None, lines


def _plain(text):
    if text.startswith('"'):
        assert text.endswith('"'), text
        return text[1:-1]
    assert not re.search(r": | #", text), f"needs quotes: {text}"
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


@pytest.fixture(params=FILES)
def file(request):
    """The text of each file, and what it holds."""
    text = (CI / request.param).read_text()
    return text, parsed(text)


def scripts(node):
    """Every piece of shell in a file."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("run", "script", "before_script", "after_script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)
    if isinstance(node, list):
        for one in node:
            yield from scripts(one)


def commands(text):
    """(package, arguments) of every `python -m PACKAGE ...` of ours in a shell text."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        for part in re.split(r"\|\||&&|;", line):
            found = re.search(r"python -m (benchmarks|reports) (.*)", part)
            if found:
                words = [w for w in shlex.split(found[2]) if w != "$WHAT"]
                yield found[1], words


def complain(package, words):
    """What the command line says to these arguments; None if it would run."""
    app = get_command(importlib.import_module(f"{package}.__main__").app)
    try:
        name, command, rest = app.resolve_command(app.make_context(package, [words[0]]), words)
        command.make_context(name, list(rest))
    except Exception as error:  # noqa: BLE001  (click's own, of whichever copy typer has)
        return str(getattr(error, "message", error)) or type(error).__name__
    return None


def test_a_file_parses_and_holds_both_jobs(file):
    text, found = file
    jobs = found.get("jobs", found)
    assert {"gate", "history"} <= set(jobs)
    assert len(list(scripts(found))) >= 5


def test_our_reader_agrees_with_one_that_reads_all_of_yaml(file):
    yaml = pytest.importorskip("yaml")
    text, found = file
    whole = yaml.load(text, Loader=yaml.SafeLoader)
    whole = {"on" if key is True else key: value for key, value in whole.items()}
    strip = lambda v: (  # noqa: E731
        {k: strip(x) for k, x in v.items()} if isinstance(v, dict)
        else [strip(x) for x in v] if isinstance(v, list)
        else v.strip() if isinstance(v, str) else v
    )  # fmt: skip
    assert strip(found) == strip(whole)


def test_every_piece_of_shell_parses(file):
    for script in scripts(file[1]):
        done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, (script, done.stderr)


def test_every_command_of_ours_takes_its_arguments(file):
    found = [one for script in scripts(file[1]) for one in commands(script)]
    kinds = {(package, words[0]) for package, words in found}
    assert {("benchmarks", "gate"), ("benchmarks", "history"), ("reports", "gate")} <= kinds
    for package, words in found:
        assert complain(package, words) is None, (package, words)


def test_every_command_of_the_readme_takes_its_arguments():
    text = (CI / "README.md").read_text()
    found = [one for block in re.findall(r"```\n(.*?)```", text, re.S) for one in commands(block)]
    assert len(found) >= 5
    for package, words in found:
        assert complain(package, words) is None, (package, words)


def test_every_command_by_which_a_page_is_measured_again_takes_its_arguments(tmp_path):
    lines = again(gathered(measured.whole(tmp_path / "records"))).splitlines()
    found = [one for line in lines for one in commands(line)]
    names = {words[0] for _, words in found}
    assert {"run", "peer", "stages", "scale", "gate", "throughput", "first-call"} <= names
    for package, words in found:
        assert complain(package, words) is None, (package, words)


def test_every_variable_that_is_used_is_set_or_the_systems(file):
    text, found = file
    used = {v for script in scripts(found) for v in re.findall(r"\$\{?([A-Z_]+)", script)}
    given = set(re.findall(r"^\s+([A-Z_]+):", text, re.M))
    assert {v for v in used - given if not v.startswith(("GITHUB_", "CI_", "GATE_TOKEN"))} == set()


def test_the_readme_names_every_variable_that_is_to_be_changed():
    text = (CI / "README.md").read_text()
    for name in FILES:
        found = parsed((CI / name).read_text())
        for variable in {**(found.get("env") or {}), **(found.get("variables") or {})}:
            assert f"`{variable}`" in text or variable == "GIT_DEPTH", variable


BROKEN = {
    "a key twice": "a: 1\na: 2\n",
    "no key": "a:\n  b\n",
    "a deeper key": "a: 1\n  b: 2\n",
    "a value that needs quotes": "a: b: c\n",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_yaml_that_is_none_is_seen(broken):
    with pytest.raises(AssertionError):
        parsed(BROKEN[broken])


def test_the_comment_is_found_again_by_its_first_line():
    (marker,) = re.findall(r'MARKER: "(.*)"', (CI / "github.yml").read_text())
    assert marker == MARKER


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("gate --base main --bugdet 10m", "bugdet"),
        ("gaet --base main", "gaet"),
        ("gate --base", "base"),
        ("history --level many", "valid number"),
    ],
)
def test_a_command_that_is_wrong_is_seen(line, why):
    assert why in complain("benchmarks", shlex.split(line))
