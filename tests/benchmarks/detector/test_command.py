"""The commands: what they write, what they say, what they refuse; nothing measured is lost."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.detector import command as detector_command
from benchmarks.detector.command import breakdown_in_words, fresh_in_words
from benchmarks.detector.peer import Contest
from benchmarks.detector.stages import Case


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [*words, "--out", "out.json"])


def a_case():
    steps = {"one": lambda seen: {"x": 1}, "two": lambda seen: {"y": seen["x"]}}
    return Case(model="m", task="inference", steps=steps, given={}, whole=lambda: None)


def test_stages_are_written_with_what_made_them(run, tmp_path, monkeypatch):
    monkeypatch.setattr(detector_command, "CASES", {"tiny": a_case})
    found = run("stages", "--rounds", "3", "--threads", "1", "--profile")
    assert found.exit_code == 0, found.output
    kept = json.loads((tmp_path / "out.json").read_text())
    assert [row["stage"] for row in kept["stages"]] == ["one", "two", "the rest", "the whole"]
    assert kept["operators"]
    assert kept["made_by"]["device"] == "cpu"
    assert "inference of m, 1 threads, fp32" in found.output


def test_what_was_measured_before_a_failure_is_kept(run, tmp_path, monkeypatch):
    def fails():
        raise KeyboardInterrupt

    monkeypatch.setattr(detector_command, "CASES", {"tiny": a_case, "fails": fails})
    assert run("stages", "--rounds", "3").exit_code != 0
    assert len(json.loads((tmp_path / "out.json").read_text())["stages"]) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stages", "inferense"), "'inferense' is no run to be taken apart; did you mean"),
        (("stages", "--precision", "fp15"), "'fp15' is no precision"),
        (("peer", "trainin"), "'trainin' is no task; did you mean 'training'"),
        (("peer", "--precision", "tf32"), "'tf32' is no precision"),
        (("detector", "--device", "tpu"), "device 'tpu' is not here"),
        (("detector", "--backend", "nonesuch"), "'nonesuch' is no backend on cpu"),
    ],
)
def test_what_there_is_not_is_named(run, words, said, tmp_path):
    found = run(*words)
    assert isinstance(found.exception, ValueError)
    assert said in str(found.exception)
    assert not (tmp_path / "out.json").exists()


def test_a_contest_and_processes_are_written(run, tmp_path, monkeypatch):
    def contest(threads, rounds, precision, show):
        return Contest(
            name="inference",
            device="cpu",
            threads=threads,
            precision=precision,
            ours_ms=(1.0,) * rounds,
            peer_ms=(3.0,) * rounds,
            same="the same",
        )

    row = {"who": "ours", "task": "inference", "compiled": True, "threads": 2}
    monkeypatch.setattr(detector_command, "CONTESTS", {"inference": contest})
    monkeypatch.setattr(
        detector_command,
        "fresh",
        lambda *a, **k: [{**row, "first_result_s": 4.0, "peak_mb": 900.0}],
    )
    beside = {"model": "m", "precision": "bf16", "matched": 0, "alone": [3, 0]}
    monkeypatch.setattr(detector_command, "moved", lambda *a, **k: beside)
    found = run("peer", "--threads", "2", "--rounds", "6", "--processes", "1")
    assert found.exit_code == 0, found.output
    kept = json.loads((tmp_path / "out.json").read_text())
    assert [c["precision"] for c in kept["contests"]] == ["fp32", "bf16"]
    assert kept["contests"][0]["ratio"] == [3.0, 3.0, 3.0]
    assert kept["precision"] == [beside]
    assert "bf16 beside fp32, m: 0 detections matched, 3 and 0 alone" in found.output
    assert len(kept["fresh"]) == 1
    assert "3.00 times as fast (3.00 to 3.00)" in found.output
    assert "first result after   4.00 s,    900 MiB" in found.output


def test_words_are_medians():
    rows = [
        {"who": "ours", "task": "inference", "compiled": c, "threads": 1, "first_result_s": s}
        | {"peak_mb": 1.0}
        for c, s in ((True, 1.0), (True, 9.0), (True, 2.0), (False, 5.0))
    ]
    lines = fresh_in_words(rows).splitlines()
    assert "after   2.00 s" in lines[0]
    assert lines[1].endswith("kernels to be compiled first")
    about = {"model": "m", "pass": "inference", "threads": 1, "precision": "fp32", "images": 2}
    made = [{**about, "stage": n, "ms": ms} for n, ms in (("a", [1, 9, 2]), ("the whole", [4, 4]))]
    text = breakdown_in_words(made)
    assert "500.00 images/s" in text
    assert "50.0 %" in text
