"""The one script for a GPU: no step is lost, whatever becomes of it."""

import pytest
from typer.testing import CliRunner

from benchmarks import run_command
from benchmarks.__main__ import app
from benchmarks.family import asked_for
from benchmarks.gpu import ROOT, Step, checked, everything, gathered, left_out, peers, timed
from kernels import operators
from kernels.conformance.zoo.gpu import PLANTED

WRITES = 'import sys; open(sys.argv[2], "w").write(\'{"timings": [1], "detector": [2]}\'); print(3)'
FAILS = (
    'import sys; open(sys.argv[2], "w").write(\'[{"check": "values"}]\'); print("x"); sys.exit(1)'
)
HANGS = """import sys, time
print("so far", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    open(sys.argv[2], "w").write('[{"check": "half of them"}]')
    raise SystemExit(130)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder, and the steps that ran there; what hangs has time to start on a busy machine."""
    folder = tmp_path_factory.mktemp("steps")
    texts = {"writes": WRITES, "fails": FAILS, "hangs": HANGS}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    limits = {"hangs": 12.0}
    made = [Step(name=n, command=(n,), limit_s=limits.get(n, 60.0)) for n in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, [step.run(folder) for step in made] + [left_out(made[0])]


@pytest.fixture
def steps(ran):
    return ran[1]


def test_each_step_says_how_it_ended(steps):
    assert [step["exit_code"] for step in steps] == [0, 1, None, None]
    assert [step["words"] for step in steps] == [
        ["3"],
        ["x"],
        ["so far"],
        ["left out: no time was left"],
    ]


def test_what_has_ended_is_kept_and_what_has_not_is_run_again(ran, monkeypatch):
    folder, steps = ran
    monkeypatch.chdir(folder)
    (folder / "writes.py").write_text("raise SystemExit(5)")
    (folder / "hangs.py").write_text("raise SystemExit(6)")
    again = [Step(name=n, command=(n,), limit_s=60.0) for n in ("writes", "hangs")]
    monkeypatch.setattr("benchmarks.gpu.timed", lambda rounds: again)
    monkeypatch.setattr("benchmarks.gpu.checked", list)
    monkeypatch.setattr("benchmarks.gpu.peers", list)
    kept, repeated = everything(folder, 3, 1.0)
    assert kept == steps[0]
    assert repeated["exit_code"] == 6
    monkeypatch.setattr("benchmarks.gpu.code_id", lambda: "other code")
    assert everything(folder, 3, 1.0, accept_old_code=True) == [kept, repeated]
    assert everything(folder, 3, 1.0)[0]["exit_code"] == 5


def test_what_the_steps_found_is_gathered(steps):
    found = gathered(steps, {"device": "a GPU"})
    assert found["timings"] == [1]
    assert found["detector"] == [2]
    assert found["outcomes"] == [{"check": "values"}, {"check": "half of them"}]
    assert found["zoo"] == []
    assert [step["step"] for step in found["steps"]] == ["writes", "fails", "hangs", "writes"]
    assert found["made_by"] == {"device": "a GPU"}


def test_no_finding_says_where_the_project_lies(steps):
    found = [{"reason": f"in {ROOT}/kernels/op.py, line 1"}]
    kept = gathered([{**steps[1], "found": found}], {})
    assert kept["outcomes"] == [{"reason": "in kernels/op.py, line 1"}]


def test_every_operator_is_checked_on_both_kinds_of_kernel():
    names = {step.name for step in (*checked(), *peers())}
    for name in operators():
        assert {f"{name} cuda gpu", f"{name} triton gpu"} <= names
    assert {f"zoo {p.title.replace('/', ' ')}" for p in PLANTED} <= names
    assert {step.name for step in timed(5)} >= {"float32", "half", "graphs", "detector"}


@pytest.mark.parametrize(
    ("name", "count", "dtypes", "graph"),
    [
        ("float32", 46, {"float32"}, False),
        ("half", 32, {"float16", "bfloat16"}, False),
        ("graphs", 12, {"float32", "float16"}, True),
    ],
)
def test_a_timed_step_asks_for_benchmarks_that_are_there(name, count, dtypes, graph, monkeypatch):
    rows = []

    def run_family(names, *, dtypes, layouts, backends, **options):
        found = asked_for(names, dtypes, layouts)
        rows.extend((one.name, one.dtype, by, options) for one in found for by in backends)

    monkeypatch.setattr(run_command, "run_family", run_family)
    monkeypatch.setattr(run_command, "there_is", lambda device: None)
    (step,) = (step for step in timed(5) if step.name == name)
    done = CliRunner().invoke(app, step.command[1:], catch_exceptions=False)
    assert done.exit_code == 0
    assert len({(named, by) for named, _, by, _ in rows}) == len(rows) == count
    assert {dtype for _, dtype, _, _ in rows} == dtypes
    assert {by for _, _, by, _ in rows} == {"cuda", "triton"}
    (options,) = {(o["device"], o["rounds"], o["graph"]) for *_, o in rows}
    assert options == ("cuda", 5, graph)
    assert any(named.endswith("/with_backward") for named, *_ in rows)
