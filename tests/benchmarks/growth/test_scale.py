"""Laws are measured round by round within a budget; what was measured is kept, what not is said."""

import json
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from benchmarks.benchmark import Ready
from benchmarks.growth import command as scale_command
from benchmarks.growth.largest import largest
from benchmarks.growth.largest import line as limit_line
from benchmarks.growth.laws import LAWS
from benchmarks.growth.process import GIB, Law, Outcome
from benchmarks.growth.scale import Found, foretold, line, measured, row

MIB = 2**20


def unused(value):
    return Ready(run=lambda: None, check=lambda: None, renew=lambda seed: None)


def law(what="sort", values=(10, 100, 1000, 10_000), variable="items"):
    return Law(what=what, variable=variable, values=values, prepare=unused)


def machine(ms=lambda n: 0.01 * n, mb=lambda n: n / 1e3, broken=None, calls=None):
    """A machine on which everything takes what is said, with no process started."""

    def run(one, value, *, limit, longest_s, sample_s, seed=1):
        if calls is not None:
            calls.append((one.what, value, seed))
        if broken and (found := broken(one, value, seed)):
            return Outcome(end=found, seconds=0.0, said=f"it {found}")
        if mb(value) * 1e6 > limit:
            return Outcome(end="memory", seconds=0.0, said="no memory")
        took = ms(value)
        if took / 1e3 > longest_s:
            return Outcome(end="time", seconds=longest_s, said=f"not done after {longest_s:.0f} s")
        return Outcome(end="measured", ms=(took,) * 3, peak_mb=mb(value), seconds=took / 1e3)

    return run


def found_by(laws, run, rounds=3, budget_s=60.0, limit=GIB):
    found: list[Found] = []
    list(measured(laws, found, budget_s=budget_s, rounds=rounds, limit=limit, run=run))
    return found


def test_every_size_is_measured_in_every_round():
    calls = []
    (one,) = found_by([law()], machine(calls=calls))
    assert calls[:4] == [("sort", v, 1) for v in one.law.values]
    assert sorted(calls) == sorted(("sort", v, s) for v in one.law.values for s in (1, 2, 3))
    assert calls[4:8] != sorted(calls[4:8])  # another order
    kept = row(one, GIB)
    assert kept["exponent"] == pytest.approx(1)
    assert kept["values"] == [10, 100, 1000, 10_000]
    assert [len(m) for m in kept["ms"]] == [3] * 4
    assert kept["peak_mb"] == pytest.approx([0.01, 0.1, 1, 10])
    assert kept["samples"][0] == [[0.1] * 3] * 3
    json.dumps(kept, allow_nan=False)
    assert "n^ 1.00 (1.00 to 1.00, 3 rounds) from 10; 10,000: 100 ms, 10 MB" in line(kept)


def test_a_size_that_is_foretold_to_take_too_long_is_not_begun():
    calls = []
    slow = law(values=(10, 100, 1000, 10_000))
    (one,) = found_by([slow], machine(ms=lambda n: 1e-3 * n * n, calls=calls), budget_s=200.0)
    assert list(one.outcomes) == [10, 100, 1000]
    assert ("sort", 10_000, 1) not in calls
    assert one.left_out == {10_000: "would take 300 s"}
    assert foretold(one, 10_000) == pytest.approx(300, rel=0.01)
    assert "left out: 10,000 (would take 300 s)" in row(one, GIB)["note"]


def test_a_size_that_needs_too_much_memory_is_said():
    (one,) = found_by([law()], machine(mb=lambda n: n), limit=2 * GIB)
    assert one.left_out == {10_000: "needs more than 2 GiB"}
    assert not one.failed
    assert len(one.outcomes[1000]) == 3


@pytest.mark.parametrize("end", ["failed", "wrong"])
def test_a_fault_is_no_limit_and_the_others_are_still_measured(end):
    laws = [law("breaks"), law("works")]
    run = machine(broken=lambda one, value, seed: end if one.what == "breaks" else None)
    breaks, works = found_by(laws, run)
    assert breaks.failed == f"breaks, 10 items: it {end}"
    assert row(breaks, GIB)["error"] == breaks.failed
    assert "no number: breaks, 10 items" in line(row(breaks, GIB))
    assert len(works.outcomes[10]) == 3


def test_a_fault_in_a_later_round_is_not_silent():
    run = machine(broken=lambda one, value, seed: "failed" if (value, seed) == (100, 2) else None)
    (one,) = found_by([law()], run)
    assert one.failed == "sort, 100 items, again: it failed"
    assert {len(o) for o in one.outcomes.values()} == {1}  # no half rounds


def test_after_the_budget_nothing_begins(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    inner = machine(ms=lambda n: 1000.0)

    def run(*given, **named):
        clock[0] += 1.0
        return inner(*given, **named)

    laws = [law("first"), law("second"), law("third")]
    first, second, third = found_by(laws, run, rounds=9, budget_s=7.0)
    assert clock[0] == 8.0
    assert {len(o) for o in [*first.outcomes.values(), *second.outcomes.values()]} == {1}
    assert third.left_out == dict.fromkeys(third.law.values, "the budget was over")
    clock[0] = 0.0
    first, second = found_by(laws[:2], run, rounds=9, budget_s=21.0)
    rounds = len(first.outcomes[10]) + len(second.outcomes[10])
    assert rounds == 5
    assert clock[0] <= 21.0


def test_what_was_measured_before_ctrl_c_is_kept():
    def run(one, value, **given):
        if (one.what, value) == ("second", 100):
            raise KeyboardInterrupt
        return machine()(one, value, **given)

    found: list[Found] = []
    with pytest.raises(KeyboardInterrupt):
        list(
            measured([law("first"), law("second")], found, budget_s=9, rounds=2, limit=GIB, run=run)
        )
    assert len(found[0].outcomes) == 4
    assert list(found[1].outcomes) == [10]
    assert row(found[1], GIB)["exponent"] is None


def test_the_largest_size_is_found_within_two_percent():
    rows = list(largest(law(values=(100,)), limit=GIB, run=machine(mb=lambda n: n * n / 1e4)))
    true = (GIB / 1e6 * 1e4) ** 0.5
    best = rows[-1]
    assert 0.98 * true <= best["value"] <= true < best["too_large"]
    assert best["limit_gib"] == 1
    assert [r["value"] for r in rows] == sorted(r["value"] for r in rows)
    assert "in 1 GiB" in limit_line(best)


def test_a_small_largest_size_is_found_exactly():
    *_, best = largest(law(values=(1,)), limit=GIB, run=machine(mb=lambda n: 400 * n))
    assert (best["value"], best["too_large"]) == (2, 3)


def test_where_time_ends_before_memory_the_size_is_a_bound():
    run = machine(ms=lambda n: n * n, mb=lambda n: 1.0)
    *_, best = largest(law(values=(100,)), limit=GIB, longest_s=30.0, run=run)
    assert best["value"] == 100
    assert best["too_large"] is None
    assert "200 was not done after 30 s" in best["note"]
    assert "at least 100 in 1 GiB" in limit_line(best)


def test_a_smallest_size_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="sort, 100 items: no memory"):
        list(largest(law(values=(100,)), limit=GIB, run=machine(mb=lambda n: 1e6)))


def test_faults_are_no_limits_of_memory():
    run = machine(broken=lambda one, value, seed: "failed" if value > 300 else None)
    with pytest.raises(ValueError, match="sort, 400 items: it failed"):
        list(largest(law(values=(100,)), limit=GIB, run=run))


@pytest.fixture
def run_scale(tmp_path):
    def run(*given):
        import typer

        app = typer.Typer(pretty_exceptions_enable=False)
        app.command("other")(lambda: None)
        app.command("scale")(scale_command.scale)
        out = tmp_path / "scale.json"
        done = CliRunner().invoke(app, ["scale", "--out", str(out), *given])
        return done, json.loads(out.read_text()) if out.exists() else None

    return run


def test_the_command_writes_what_it_measured(run_scale, monkeypatch):
    """In processes of its own, on boxes so few that a busy machine has time for them."""
    few = tuple(replace(one, values=(100, 300, 1000)) for one in LAWS if one.what == "nms")
    monkeypatch.setattr(scale_command, "LAWS", few)
    done, kept = run_scale("nms", "--budget", "10m", "--rounds", "2")
    assert done.exit_code == 0, done.output
    (one,) = kept["scaling"]
    assert (one["what"], one["variable"], one["values"]) == ("nms", "boxes", [100, 300, 1000])
    assert one["rounds"] == 2
    assert one["exponent"] > 0
    assert len(one["samples"][0]) == 2
    assert kept["largest"] == []
    assert kept["made_by"]["device"] == "cpu"
    assert "nms" in done.output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["sorting"], "'sorting' is no operator with a law"),
        (["--variable", "colour"], "'colour' is no variable"),
        (["--budget", "soon"], "--budget must be a time such as 90s, 30m or 2h, got 'soon'"),
        (["--limit-gib", "100000"], "give a lower --limit-gib"),
    ],
)
def test_bad_input_is_one_line(run_scale, given, said):
    done, kept = run_scale(*given)
    assert isinstance(done.exception, ValueError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)
    assert kept is None


def test_a_law_without_a_number_is_an_error_and_the_rest_is_written(run_scale, monkeypatch):
    run = machine(broken=lambda one, value, seed: "failed" if one.what == "nms" else None)
    inner = scale_command.measured
    monkeypatch.setattr(scale_command, "measured", lambda *a, **k: inner(*a, **k, run=run))
    given = ("nms", "batched_nms", "--variable", "boxes", "--quick")
    done, kept = run_scale(*given)
    assert "1 without a number: nms, 1,000 boxes: it failed" in str(done.exception)
    assert [bool(r["error"]) for r in kept["scaling"]] == [True, False]


def test_laws_that_the_budget_left_are_said(run_scale, monkeypatch):
    inner = scale_command.measured
    monkeypatch.setattr(scale_command, "measured", lambda *a, **k: inner(*a, **k, run=slow))

    def slow(one, value, **given):
        time.sleep(0.05)
        return machine()(one, value, **given)

    done, kept = run_scale("nms", "batched_nms", "--variable", "boxes", "--budget", "0.02s")
    assert done.exit_code == 0
    assert "1 of 2 laws not begun: 0.02s were over" in done.output
    assert "the budget was over" in kept["scaling"][1]["note"]
