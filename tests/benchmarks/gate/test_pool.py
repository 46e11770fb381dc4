"""A pool is recorded without gaps, goes on where it was, and is judged by the gate's own code."""

import json
import random

import numpy as np
import pytest
from scipy.stats import beta
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.gate import pool, verdict
from benchmarks.gate.pool import (
    as_needed,
    bounded,
    counted,
    decisions,
    linked,
    loaded,
    pairs_of,
    planted,
    read,
    record,
)
from benchmarks.gate.rounds import Calibration, Round, Slice
from benchmarks.gate.sides import Side

SIDES = [Side(name=n, folder=None) for n in ("A1", "A2", "A3", "A4", "S5", "S10", "S30")]
ABOUT = {"operator": "nms", "effect": 0.03, "ahead": None}
NAMES = ("nms/1k", "roi_align/P2", "detector")


def machine(noise=0.004, fail=None):
    """Rounds without processes: sides take the time that their names tell of."""
    rng = random.Random(3)

    def calibrate(sides, wanted):
        about = {n: ABOUT | {"operator": "" if n == "detector" else "nms"} for n in NAMES}
        found = Calibration(lists={s.name: about for s in sides})
        one = Slice(calls=1, samples=2, fresh=True)
        found.slices = {n: {s.name: one for s in sides} for n in wanted(found)}
        return found

    def measure(sides, slices, number):
        if number == fail:
            raise KeyboardInterrupt
        found = Round(number)
        for name in slices:
            found.samples[name] = {}
            for side in sides:
                slow = 1 + planted(side.name) * (name != "detector")
                ms = slow * (1 + rng.gauss(0, noise))
                found.samples[name][side.name] = [[ms, ms]] * 4
        return found

    return calibrate, measure


def test_a_pool_goes_on_where_it_was_stopped(tmp_path):
    file = tmp_path / "pool.jsonl"
    with pytest.raises(KeyboardInterrupt):
        record(file, SIDES, NAMES, 10, by=machine(fail=5))
    assert len(read(file)[1]) == 4
    with file.open("a") as out:
        out.write('{"round": 5, "cut o')  # killed while it wrote
    assert record(file, SIDES, NAMES, 10, by=machine()) == 6
    assert record(file, SIDES, NAMES, 10, by=machine()) == 0
    assert record(file, SIDES, NAMES, 2, condition="loaded", load=1, by=machine()) == 2
    header, done = read(file)
    assert [r["round"] for r in done] == list(range(1, 13))
    assert [r["condition"] for r in done] == ["quiet"] * 10 + ["loaded"] * 2
    assert all(json.loads(line) for line in file.read_text().splitlines())
    with pytest.raises(ValueError, match="pool of other sides or benchmarks"):
        record(file, SIDES[:2], NAMES, 11, by=machine())
    (tmp_path / "no.jsonl").write_text("{}\n")
    (tmp_path / "words").write_text("# not JSON")
    with pytest.raises(ValueError, match="words: is no pool"):
        read(tmp_path / "words")
    with pytest.raises(ValueError, match="is no pool"):
        read(tmp_path / "no.jsonl")


def test_a_failure_is_not_a_gap(tmp_path):
    def measure(sides, slices, number):
        return Round(number, failed={("nms/1k", "A2"): "it crashed"})

    with pytest.raises(ValueError, match="round 1, nms/1k on A2: it crashed"):
        record(tmp_path / "pool", SIDES, NAMES, 2, by=(machine()[0], measure))


def test_pairs_are_disjoint_where_sides_are_equal():
    assert pairs_of([s.name for s in SIDES]) == [
        ("A1", "A2"), ("A3", "A4"), ("A1", "S5"), ("A2", "S10"), ("A3", "S30"),
    ]  # fmt: skip
    assert planted("A1") == 0
    assert planted("S5") == 0.05
    assert planted("other") is None
    with pytest.raises(ValueError, match="two sides A1, A2"):
        pairs_of(["A1", "S5"])


def test_runs_are_disjoint_and_judged_as_the_gate_judges(tmp_path):
    file = tmp_path / "pool.jsonl"
    record(file, SIDES, NAMES, 26, by=machine())
    header, done = read(file)
    found = decisions(header, done, 12)
    assert {d.run for d in found} == {0, 1}
    assert len(found) == 2 * (2 * 3 + 3 * 2)  # no slowdown is looked for in the whole detector
    words = {size: {d.word for d in found if d.planted == size} for size in (0, 0.05, 0.1, 0.3)}
    assert words == {0: {"SAME"}, 0.05: {"SLOWER"}, 0.1: {"SLOWER"}, 0.3: {"SLOWER"}}
    second = [r["samples"] for r in done[12:24]]
    values = {n: [pool.value(s[n], "A3", "A4") for s in second] for n in NAMES}
    said = verdict.decide(values, dict.fromkeys(NAMES, 0.03))
    again = {d.benchmark: d.ratio for d in found if (d.run, d.base) == (1, "A3") and not d.planted}
    assert again == {n: v.ratio for n, v in said.items()}


def test_runs_as_needed_begin_where_the_last_was_decided():
    rng = random.Random(4)
    values = {"quiet": [rng.gauss(0, 0.003) for _ in range(40)],
              "noisy": [rng.gauss(0, 0.2) for _ in range(40)]}  # fmt: skip
    found = list(as_needed(values, {"quiet": 0.03, "noisy": 0.03}, 16))
    quiet = [said for _, name, said in found if name == "quiet"]
    noisy = [said for _, name, said in found if name == "noisy"]
    assert [v.rounds for v in quiet] == [8, 8, 8, 8]  # a fifth could not have sixteen
    assert {v.word for v in quiet} == {"SAME"}
    assert [v.rounds for v in noisy] == [16, 16]
    part = {"quiet": values["quiet"][8:24]}
    assert quiet[1] == verdict.decide(part, {"quiet": 0.03}, family=2)["quiet"]
    assert [run for run, name, _ in found if name == "noisy"] == [0, 1]


def test_a_replay_takes_several_pools(tmp_path):
    for name in ("one", "two"):
        record(tmp_path / name, SIDES, NAMES, 16, by=machine())
    out = tmp_path / "replay.json"
    files = [str(tmp_path / name) for name in ("one", "two")]
    command = ["replay", *files, "--rounds", "16", "--as-needed", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    kept = json.loads(out.read_text())
    equal = kept["rows"][0]
    assert equal["decisions"] == 2 * 2 * 3
    assert equal["rounds"] == 8
    assert f"{equal['decisions']} decisions, of 8.0 rounds each" in result.output
    result = CliRunner().invoke(app, [*command, "--markdown"])
    assert (
        "| quiet | equal | 12 | 8.0 | 0 (to 26.5 %) | 12: 100.0 % (73.5 to 100.0)" in result.output
    )
    assert "| quiet | 30 % slower, where 3 % can be found | 4 |" in result.output


def test_the_rule_of_pytest_benchmark_on_the_same_rounds(tmp_path):
    file = tmp_path / "pool.jsonl"
    record(file, SIDES, NAMES, 12, by=machine(noise=0.03))
    command = ["replay", str(file), "--medians", "5%", "--out", str(tmp_path / "out.json")]
    assert CliRunner().invoke(app, command).exit_code == 0
    found = json.loads((tmp_path / "out.json").read_text())["decisions"]
    equal = [d for d in found if not d["planted"]]
    assert len(equal) == 12 * 2 * 3
    assert all((d["word"] == "SLOWER") == (d["ratio"] > 1.05) for d in found)
    assert {d["word"] for d in equal} == {"SAME", "SLOWER"}  # it cries wolf
    header, done = read(file)
    first = done[0]["samples"]["nms/1k"]
    expected = np.median(np.concatenate(first["A2"])) / np.median(np.concatenate(first["A1"]))
    assert found[0]["ratio"] == pytest.approx(expected)
    for wrong in ("5", "much%", "0%"):
        result = CliRunner().invoke(app, [*command[:3], wrong])
        assert isinstance(result.exception, ValueError)
        assert f"got {wrong!r}" in str(result.exception)


def test_counts_have_exact_bounds(tmp_path):
    for count, of in ((0, 320), (3, 40), (40, 40)):
        found = bounded(count, of)
        low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
        high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
        assert (found["low"], found["high"]) == pytest.approx((low, high))
    file = tmp_path / "pool.jsonl"
    record(file, SIDES, NAMES, 12, by=machine())
    rows = counted(decisions(*read(file), 12))
    equal = next(r for r in rows if r["planted"] == 0 and r["detectable_at_most"] is None)
    assert equal["decisions"] == 6
    assert equal["counts"]["SAME"]["count"] == 6
    assert equal["counts"]["SLOWER"]["high"] == pytest.approx(1 - 0.025 ** (1 / 6))


def test_links_are_of_one_length(tmp_path):
    folders = {}
    for name in ("A1", "S30"):
        (tmp_path / name / "kernels").mkdir(parents=True)
        (tmp_path / name / "kernels" / "op.py").write_text("")
        folders[name] = tmp_path / name
    with linked(folders) as sides:
        assert [s.name for s in sides] == ["A1", "S30"]
        assert len({len(str(s.folder)) for s in sides}) == 1
        assert sides[1].folder.resolve() == tmp_path / "S30"
    with pytest.raises(ValueError, match="side A2: .* is no checkout"), linked({"A2": tmp_path}):
        pass


def test_a_core_is_kept_busy_and_let_go(monkeypatch):
    started, popen = [], pool.subprocess.Popen
    monkeypatch.setattr(
        pool.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    with loaded(2):
        assert [p.poll() for p in started] == [None, None]
    assert [p.poll() is None for p in started] == [False, False]
