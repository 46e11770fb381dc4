"""Instructions are counted the same twice, whatever the machine does, and one more is seen."""

import json
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from statistics import median

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.gate import counted, counted_command
from benchmarks.gate.counted import Count, instructions, missing, totals
from benchmarks.gate.counted_call import MACHINE_CODE, requests
from benchmarks.gate.sides import CODE as CHECKOUT
from benchmarks.gate.sides import Side

here = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def test_without_valgrind_the_requests_do_nothing():
    request = requests()
    assert [request(kind, 0) for kind in (0x1001, 0x43540001)] == [0, 0]
    assert len(MACHINE_CODE) == 28


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "valgrind, which is not installed" in missing()
    with pytest.raises(ValueError, match="valgrind, which is not installed"):
        instructions(["nms"], Side(name="head", folder=tmp_path))
    monkeypatch.setattr(counted.platform, "machine", lambda: "riscv64")
    assert missing() == "instructions are counted on Linux on x86-64 alone"


def test_dumps_are_read_in_order(tmp_path):
    for number, mark, total in [
        (2, "empty 0", 20),
        (10, "work 0", 30),
        (1, "empty 0", 10),
        (3, "work 12", 9),
    ]:
        text = f"desc: Trigger: Client Request: {mark}\nevents: Ir\nsummary: {total}\n"
        (tmp_path / f"out.{number}").write_text(text)
    (tmp_path / "out").write_text("desc: Trigger: Program termination\nsummary: 9\n")
    assert totals(tmp_path) == {("empty", 0): (10, 20), ("work", 0): (30,), ("work", 12): (9,)}


def test_a_count_has_a_middle_and_a_spread():
    found = Count(name="a", side="head", calls=(100, 101, 103))
    assert found.each == 101
    assert found.spread == pytest.approx(3 / 101)


PROGRAM = """
    import sys
    from benchmarks.gate.counted_call import count, requests

    def work():
        return sum(i * i for i in range({size}))

    count(work, 3, requests())
    print('{{"sum": null}}')
"""


def counted_in(tmp_path, size, name="program"):
    file = tmp_path / f"{name}.py"
    file.write_text(textwrap.dedent(PROGRAM.format(size=size)))
    start = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); exec(open({str(file)!r}).read())"
    command = [sys.executable, "-c", start]
    answered, end = counted.finished(command, "head", tmp_path, 60.0)  # what compiles has compiled
    assert (answered, end) == ({"sum": None}, "exit code 0")
    return counted.under_valgrind(command, "head", tmp_path, 120.0)[0]


@contextmanager
def a_core_loaded():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@here
def test_the_same_work_has_the_same_count_on_a_loaded_machine_too(tmp_path):
    """And half a percent more work is half a percent more instructions."""
    once = counted_in(tmp_path, 2000)
    assert (max(once) - min(once)) / once[0] < 1e-3
    with a_core_loaded():
        again = counted_in(tmp_path, 2000)
    assert again == once
    more = counted_in(tmp_path, 2010)
    assert median(more) / median(once) == pytest.approx(1.005, abs=5e-4)


@here
def test_a_process_that_fails_is_said_in_one_line(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(ValueError, match=r"^head: no such luck$"):
        counted.under_valgrind(command, "head", tmp_path, 60.0)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(ValueError, match="^head: not counted after 1 s$"):
        counted.under_valgrind(command, "head", tmp_path, 1.0)


NAME = "nms/1k/float32/contiguous/forward"


@pytest.fixture
def run_count(tmp_path, monkeypatch):
    def run(found, *given):
        monkeypatch.setattr(counted_command, "instructions", lambda names, side, **_: found)
        monkeypatch.setattr(counted_command, "missing", lambda: None)
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command("other")(lambda: None)
        app.command("count")(counted_command.count)
        out = tmp_path / "count.json"
        done = CliRunner().invoke(app, ["count", "--out", str(out), *given])
        return done, json.loads(out.read_text()) if out.exists() else None

    return run


def test_the_command_keeps_every_call(run_count):
    found = {NAME: Count(name=NAME, side="head", calls=(1000, 1001, 1000))}
    done, kept = run_count(found, NAME)
    assert done.exit_code == 0
    assert f"{NAME:<56}            1,000 instructions a call" in done.output
    assert kept["counts"][0] == {"name": NAME, "side": "head", "calls": [1000, 1001, 1000],
                                 "each": 1000, "spread": 0.001}  # fmt: skip


def test_a_benchmark_without_a_count_is_an_error_and_others_are_kept(run_count):
    found = {NAME: Count(name=NAME, side="head", calls=(1000,)), "other": "its process crashed"}
    done, kept = run_count(found, NAME)
    assert str(done.exception) == "1 without a number: other: its process crashed"
    assert len(kept["counts"]) == 1


def test_an_unknown_benchmark_is_named(run_count):
    done, kept = run_count({}, "nms/1k/float32/contiguous/foward")
    assert "did you mean 'nms/1k/float32/contiguous/forward'" in str(done.exception)
    assert kept is None


def test_crashes_and_lost_counts_have_reasons(monkeypatch, tmp_path):
    """And who comes after a crash is still counted."""
    begun = []

    def finished(command, *_):
        names, answered = json.loads(command[-3]), {}
        begun.append(names)
        for name in names:
            if name == "crashes":
                return answered, "signal SIGSEGV"
            answered[name] = "AssertionError: off by 1" if name == "wrong" else None
        return answered, "exit code 0"

    monkeypatch.setattr(counted, "missing", lambda: None)
    monkeypatch.setattr(counted, "finished", finished)
    monkeypatch.setattr(counted, "under_valgrind", lambda *_: {0: (10, 11, 10), 1: (10,)})
    names = ["wrong", "right", "crashes", "lost"]
    found = instructions(names, Side(name="head", folder=tmp_path))
    assert begun == [names, ["lost"]]
    assert found == {
        "wrong": "AssertionError: off by 1",
        "right": Count(name="right", side="head", calls=(10, 11, 10)),
        "crashes": "its process ended with signal SIGSEGV",
        "lost": "1 of 3 calls counted",
    }
