"""The architecture, as tests: who may import whom, how long things may get, what is said of them.

Every rule is a function of text, so that each is also put before a text that breaks it.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kernels import operators

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "kernels": set(),
    "reports": set(),
    "mrcnn": {"kernels"},
    "benchmarks": {"kernels", "mrcnn", "reports"},
    "ablations": {"kernels", "mrcnn", "reports"},
}
FILES = sorted(p.relative_to(ROOT) for layer in MAY_IMPORT for p in (ROOT / layer).rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}


def imported(text, known=()):
    """The modules a text imports; `from a import b` is a.b where that is a module, else a."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in known else node.module for name in deeper]
    return found


def layering(layer, text):
    layers = {name.split(".")[0] for name in imported(text)} & set(MAY_IMPORT)
    return sorted(layers - {layer} - MAY_IMPORT[layer])


def too_long(text):
    found = ["the file"] * (text.count("\n") > 350)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
            found.append(node.name)
    return found


def undocumented(text):
    """Public functions and classes without a docstring; short methods explain themselves."""
    tree, found = ast.parse(text), []
    if ast.get_docstring(tree) is None:
        found.append("the module")
    for node in tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        if public and ast.get_docstring(node) is None:
            found.append(node.name)
    return found


def without_source(text):
    """Public functions of an operator that do not name their source."""
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            said = ast.get_docstring(node) or ""
            annotated = node.args.kwonlyargs or "Tensor" in ast.unparse(node.args)
            if (
                node.name in operators()
                and annotated
                and ("Source:" not in said or "Raises" not in said)
            ):
                found.append(node.name)
    return found


def inheritance(text):
    """Classes that call super() outside nn.Module's __init__."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            calls = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == "super"]
            found += [node.name] * bool(calls)
    return found


def speaks_of_this_machine(text):
    """Paths and hosts that mean nothing elsewhere."""
    hosts = r"pypi\.|/simple/|https?://(localhost|127\.)"
    return re.findall(rf"/work/|/root/|/home/\w+|{hosts}", text)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_each_file_keeps_the_rules(path):
    text = (ROOT / path).read_text()
    assert layering(path.parts[0], text) == []
    assert too_long(text) == []
    assert undocumented(text) == [] or not text.strip()
    assert inheritance(text) == []
    assert not FORBIDDEN_NAMES & {path.stem, *path.parts}
    if path.parts[0] == "kernels":
        assert without_source(text) == []


BROKEN = {
    "a lower layer imports a higher": lambda: layering("kernels", "from mrcnn.boxes import area"),
    "reports know a model": lambda: layering("reports", "import mrcnn.model"),
    "a long function": lambda: too_long("def f():\n" + "    x = 1\n" * 70),
    "a long file": lambda: too_long("x = 1\n" * 400),
    "no docstring": lambda: undocumented('"""M."""\ndef f(): pass'),
    "no module docstring": lambda: undocumented("x = 1"),
    "no source": lambda: without_source('def nms(boxes: "Tensor"):\n    """Keeps."""'),
    "super in a method": lambda: inheritance("class A:\n  def f(self): super().f()"),
    "a path of one machine": lambda: speaks_of_this_machine("open('/ho" + "me/someone/x')"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_can_be_broken(rule):
    assert BROKEN[rule]()


def test_no_import_goes_in_a_circle():
    """Within a package too: order the modules so that each imports only earlier ones."""
    parts = {
        p: p.parent.parts if p.name == "__init__.py" else p.with_suffix("").parts for p in FILES
    }
    names = {".".join(parts[p]): p for p in FILES}
    edges = {
        name: {i for i in imported((ROOT / p).read_text(), names) if i in names and i != name}
        for name, p in names.items()
    }
    assert not circle(edges)
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def circle(edges):
    """Modules that cannot be ordered."""
    left = {name: set(to) for name, to in edges.items()}
    while True:
        free = {name for name, to in left.items() if not to & set(left)}
        if not free:
            return sorted(left)
        left = {name: to for name, to in left.items() if name not in free}


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / p for p in listed.stdout.decode().split("\0") if p]


def test_no_file_speaks_of_one_machine():
    texts = (".py", ".md", ".toml", ".jinja", ".json", ".csv", "run", "Makefile")
    for path in tracked():
        if path.name.endswith(texts) and path.name != Path(__file__).name and path.exists():
            assert speaks_of_this_machine(path.read_text()) == [], path


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_every_folder_is_a_command_with_examples(package):
    run = [sys.executable, "-m", package, "--help"]
    shown = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"python -m {package} " in shown
    assert "Examples:" in shown


def test_commands_in_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"python -m (\w+) ([a-z][\w-]*)", text))
    assert len(commands) >= 8
    for package, command in commands:
        source = (ROOT / package / "__main__.py").read_text()
        quoted = f'command("{command}")' in source
        assert quoted or f"def {command.replace('-', '_')}(" in source, (package, command)
    targets = set(re.findall(r"^\s*make (\w[\w-]*)", text, re.M))
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    assert all(f"\n{target}:" in makefile for target in targets)


def test_tests_lie_where_their_modules_do():
    for path in (ROOT / "tests" / "mrcnn").rglob("test_*.py"):
        module = path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
        assert (ROOT / module).exists() or path.name == "test_torchvision_parity.py", path
