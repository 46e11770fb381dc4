"""A process of a side: what it does with crashes, late answers and output of its work."""

import json

import pytest

from benchmarks.gate.process import Failed, Worker
from benchmarks.gate.sides import Side
from tests.benchmarks.toy import suite, work

CHATTY = "print('{}'); print('words', flush=True); import os; os.write(1, b'raw'); spend(1)"


@pytest.fixture
def side(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "work.py").write_text(
        work(
            fine=5,
            chatty=CHATTY,
            dies="import os; os._exit(3)",
            speaks="import os; os.write(2, b'first\\nlast words'); os._exit(4)",
            crashes="import os; os.abort()",
            hangs="import time; time.sleep(60)",
            quits="raise SystemExit('enough')",
            reads="assert __import__('sys').stdin.read() == ''",
        )
    )
    return Side(name="base", folder=folder, code=suite(tmp_path / "code"), kernels="work.py")


def asked(worker, name):
    return worker.call(do="prepare", name=name, seed=1)


def test_samples_come_back(side):
    with Worker(side, threads=1) as worker:
        listed = worker.call(do="list")["benchmarks"]
        assert listed["fine"]["operator"] == "toy"
        asked(worker, "fine")
        found = worker.call(do="slice", calls=3, samples=5)["ms"]
        assert found == pytest.approx([5.0] * 5, rel=0.05)
        assert worker.call(do="finish") == {}


def test_what_the_work_prints_or_reads_disturbs_nothing(side):
    with Worker(side, threads=1) as worker:
        worker.call(do="list")
        for name in ("chatty", "reads"):
            assert asked(worker, name) == {}
            assert len(worker.call(do="slice", calls=1, samples=2)["ms"]) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dies", "its process ended with exit code 3"),
        ("speaks", "its process ended with exit code 4: last words"),
        ("crashes", "its process ended with signal SIGABRT"),
        ("hangs", "no answer within 1 s"),
    ],
)
def test_a_process_that_is_lost_says_how(side, name, words):
    with Worker(side, threads=1) as worker:
        worker.call(do="list")
        worker.patience_s = 1.0
        with pytest.raises(Failed) as failed:
            asked(worker, name)
        assert str(failed.value) == words
        assert failed.value.dead
        with pytest.raises(Failed):  # and it stays lost
            worker.call(do="list")


def test_an_exception_is_an_answer_and_the_process_goes_on(side):
    with Worker(side, threads=1) as worker:
        worker.call(do="list")
        with pytest.raises(Failed, match="^SystemExit: enough$") as failed:
            asked(worker, "quits")
        assert not failed.value.dead
        with pytest.raises(Failed, match="^LookupError: there is no benchmark 'other'$"):
            asked(worker, "other")
        assert asked(worker, "fine") == {}


def test_a_process_that_does_not_start_says_why(side):
    (side.folder / "work.py").write_text("import nothing_such")
    with (
        Worker(side, threads=1) as worker,
        pytest.raises(Failed, match="ModuleNotFoundError: .*nothing_such"),
    ):
        worker.call(do="list")


def test_processes_differ_in_nothing_that_we_choose(side):
    (side.folder / "work.py").write_text(
        work(shows="import os, json; raise ValueError(json.dumps(dict(os.environ)))")
    )
    with Worker(side, threads=2) as worker:
        worker.call(do="list")
        with pytest.raises(Failed) as failed:
            asked(worker, "shows")
    text = str(failed.value)
    assert text.startswith("ValueError: {")
    assert len(text) <= 400
    assert json.dumps("no line is longer")
