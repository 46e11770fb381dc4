"""`list` and `run`: each benchmark once, every row kept, what there is not named."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks import run_command, suite
from benchmarks.__main__ import app
from benchmarks.run_command import line
from tests.reports import measured

ROW = measured.timing("nms", "1k", 3.0, cache="cold", of_light=0.25)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [*words, "--out", "out.json"])


def test_each_benchmark_is_listed_once():
    found = CliRunner().invoke(app, ["list"])
    assert found.exit_code == 0
    listed = found.output.splitlines()
    every = suite.everything()
    assert [one.startswith(f"{name} ") for name, one in zip(every, listed, strict=True)] == (
        [True] * len(every)
    )
    assert sum(one.endswith(", gated") for one in listed) == len(suite.DEFAULT)


def test_every_option_reaches_the_family_and_every_row_is_kept(run, tmp_path, monkeypatch):
    asked = []

    def run_family(names, *, show, **options):
        asked.append({"names": names, **options})
        show(ROW)
        raise ValueError("could not measure the second")

    monkeypatch.setattr(run_command, "run_family", run_family)
    words = ("--dtype", "float16", "--layout", "contiguous", "--cache", "hot", "--rounds", "5")
    words += ("--threads", "1", "--threads", "2", "--backend", "numba")
    found = run("run", "nms/1k", *words)
    assert str(found.exception) == "could not measure the second"
    assert asked == [
        {
            "names": ["nms/1k"],
            "device": "cpu",
            "dtypes": ["float16"],
            "layouts": ["contiguous"],
            "rounds": 5,
            "threads": [1, 2],
            "cache": ["hot"],
            "backends": ["numba"],
            "graph": False,
        }
    ]
    kept = json.loads((tmp_path / "out.json").read_text())
    assert kept["timings"] == [ROW]
    assert kept["made_by"]["device"] == "cpu"
    assert found.output.splitlines() == [line(ROW), "wrote 1 rows to out.json"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--graph",), "--graph needs --device cuda"),
        (("--device", "tpu"), "device 'tpu' is not here"),
        (("--dtype", "float64"), "'float64' is no dtype"),
        (("--layout", "nhwc"), "'nhwc' is no layout"),
        (("--cache", "warm"), "'warm' is no state of the cache"),
        (("nms of 4,000",), "'nms of 4,000' is no benchmark"),
    ],
)
def test_what_there_is_not_is_named(run, words, said, tmp_path):
    found = run("run", *words)
    assert isinstance(found.exception, ValueError)
    assert said in str(found.exception)
    assert not (tmp_path / "out.json").exists()


def test_a_line_says_where_how_fast_and_how_near_the_limit():
    said = line({**ROW, "ours_ms": [1.0, 9.0, 2.0]}).split()
    assert said[:6] == [ROW["name"], "numba", "1", "x", "cpu", "cold"]
    assert " ".join(said[6:]) == "2.000 ms 3.0 times torchvision (2.8 to 3.2) 25 % of the limit"
    alone = line({**ROW, "device": "cuda", "backend": "triton", "graph": True, "ratio": None})
    assert "triton, graph cuda    cold" in alone
    assert "times torchvision" not in alone
