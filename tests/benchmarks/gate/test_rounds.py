"""Rounds: whose turn it is, with which seeds, and that drift leaves no trace."""

import math

import numpy as np
import pytest

from benchmarks.gate import rounds
from benchmarks.gate.process import Failed
from benchmarks.gate.rounds import (
    BLOCKS,
    FailedOn,
    Slice,
    Team,
    calibrate,
    cores_of,
    measure,
    sampled,
    value,
)
from benchmarks.gate.sides import Side
from tests.benchmarks.toy import suite, work


class Noted(Team):
    """A team whose processes only write down what they are asked."""

    def __init__(self, names, speed=lambda: 1.0, slower=()):
        super().__init__([Side(name=n, folder=None) for n in names], threads=1, patience_s=1)
        self.asked, self.cores, self.speed, self.slower = [], [], speed, dict(slower)

    def each(self, names, **command):
        for name in names:
            self.asked.append((name, command["do"], command.get("seed")))
        if command["do"] != "slice":
            return {name: {} for name in names}
        count = command["samples"]
        self.cores.append(command["cores"])
        ms = {n: [self.speed() * self.slower.get(n, 1.0)] * count for n in names}
        return {n: {"ms": ms[n], "disturbed": 1} for n in names}


def every(names, **about):
    return {n: Slice(**{"calls": 1, "samples": 2, "fresh": True, **about}) for n in names}


def turns(names, number):
    team = Noted(names)
    sampled(team, "x", every(names), number)
    return "".join(name for name, do, _ in team.asked if do == "slice")


def test_sides_take_turns_forth_and_back_and_begin_in_turn():
    assert turns("AB", 2) == "ABBABAAB" * 2
    assert turns("AB", 1) == "BAABABBA" * 2
    assert turns("ABC", 0) == "ABCCBACBAABC" * 2
    assert turns("ABC", 1) == "BCAACBACBBCA" * 2


def test_both_sides_get_the_same_seeds_and_no_seed_twice():
    seen = []
    for number in range(1, 6):
        team = Noted("AB")
        sampled(team, "x", every("AB"), number)
        seeds = {
            side: [s for n, _, s in team.asked if n == side and s is not None] for side in "AB"
        }
        assert seeds["A"] == seeds["B"]
        assert len(seeds["A"]) == BLOCKS
        seen += seeds["A"]
    assert len(set(seen)) == len(seen)
    team = Noted("AB")
    sampled(team, "x", every("AB", fresh=False), 1)
    assert [do for n, do, _ in team.asked if n == "A"] == ["prepare", *["slice"] * BLOCKS, "finish"]


def test_a_machine_that_slows_down_slows_both():
    """Each slice is 1 % slower than the last: one side after the other would differ by 8 %."""
    now = [1.0]

    def speed():
        now[0] *= 1.01
        return now[0]

    found = []
    for number in (1, 2):
        team = Noted("AB", speed, {"B": 1.05})
        found.append(value(sampled(team, "x", every("AB"), number)[0], "A", "B"))
    assert found == pytest.approx([math.log(1.05)] * 2, abs=0.0101)
    assert np.mean(found) == pytest.approx(math.log(1.05), abs=1e-4)  # the order is turned round


def test_the_number_of_a_round_is_that_of_undisturbed_samples():
    quiet = [[1.0, 1.0, 1.0]] * 4
    samples = {
        "A": [[1.0, 1.0, 9.0]] * 4,
        "B": [[2.0] * 3, [2.0, 2.0, 80.0], [50.0] * 3, [7.0] * 3],
    }
    assert value(samples, "A", "B") == pytest.approx(math.log(2))
    assert value(samples, "B", "A") == pytest.approx(-math.log(2))
    assert value({"A": quiet, "B": quiet}, "A", "B") == 0


def test_a_core_that_is_taken_away_now_and_then_does_not_move_the_number():
    """On a core that others want too, half of all samples wait for it, for longer than they take;
    of the slower side's, which is on it longer, more.
    """
    rng = np.random.default_rng(1)

    def sampled_beside_others(ms, share):
        waits = rng.exponential(2.0, (BLOCKS, 60)) * (rng.random((BLOCKS, 60)) < share)
        return (ms * (1 + 0.01 * rng.standard_normal((BLOCKS, 60))) + waits).tolist()

    samples = {"A": sampled_beside_others(0.14, 0.45), "B": sampled_beside_others(0.154, 0.55)}
    assert value(samples, "A", "B") == pytest.approx(math.log(1.1), abs=0.01)
    medians = (np.median(np.concatenate(samples[side])) for side in "BA")
    assert math.log(next(medians) / next(medians)) > math.log(1.2)  # a median would be moved


def test_slices_are_as_long_as_they_should_be():
    assert Slice.of(15.0, 1.0) == Slice(calls=1, samples=1, fresh=True)
    assert Slice.of(3.0, 100.0) == Slice(calls=1, samples=5, fresh=False)
    short = Slice.of(0.02, 1.0)
    assert short.calls == 15
    assert short.samples == 50
    assert Slice.of(500.0, 1.0).samples == 1


@pytest.fixture
def sides(tmp_path):
    code, found = suite(tmp_path / "code"), []
    for name, factor in (("A1", 1.0), ("A2", 1.0), ("S5", 1.2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "work.py").write_text(
            work(
                alpha=5 * factor,
                beta=f"spend({12 * factor})",
                dies="import os; os.path.exists('dies') and os._exit(3); spend(1)",
            )
        )
        found.append(Side(name=name, folder=folder, code=code, kernels="work.py"))
    return found


def test_many_sides_are_measured_by_real_processes(sides):
    found = calibrate(sides, lambda c: list(c.lists["A1"]), patience_s=20)
    assert not found.failed
    assert found.slices["alpha"]["A1"] is found.slices["alpha"]["S5"]
    assert 2 <= found.slices["alpha"]["A1"].samples <= 4
    one = measure(sides, found.slices, 1, patience_s=20)
    assert not one.failed
    assert {len(blocks) for s in one.samples.values() for blocks in s.values()} == {BLOCKS}
    assert abs(value(one.samples["alpha"], "A1", "A2")) < 0.02
    assert value(one.samples["alpha"], "A1", "S5") == pytest.approx(math.log(1.2), abs=0.02)


def test_what_dies_on_one_side_is_named_and_the_rest_is_measured(sides):
    found = calibrate(sides, lambda c: ["dies", "alpha"], patience_s=20)
    (sides[1].folder / "dies").write_text("")
    one = measure(sides, found.slices, 1, patience_s=20)
    assert one.failed == {("dies", "A2"): "its process ended with exit code 3"}
    assert list(one.samples) == ["alpha"]


def test_a_team_is_told_apart_from_its_failures(sides, monkeypatch):
    with Team(sides, threads=1, patience_s=20) as team:
        team.start()
        with pytest.raises(FailedOn, match="A1: LookupError: there is no benchmark 'x'") as failed:
            team.each(["A1", "A2"], do="prepare", name="x", seed=1)
        assert set(failed.value.sides) == {"A1", "A2"}
        monkeypatch.setattr(
            rounds.Worker, "wait", lambda self: (_ for _ in ()).throw(Failed("gone", dead=True))
        )
        team.drop("A1")
        with pytest.raises(Failed, match="A1: gone"):
            team.start()


def test_all_sides_run_on_the_same_cores_and_on_others_in_the_next_round(monkeypatch):
    monkeypatch.setattr(rounds.os, "sched_getaffinity", lambda pid: {4, 5, 7}, raising=False)
    assert [cores_of(n, 1) for n in range(4)] == [[4], [5], [7], [4]]
    assert [cores_of(n, 2) for n in range(3)] == [[4, 5], [7, 4], [5, 7]]
    assert cores_of(1, 3) == []
    for number in (1, 2):
        team = Noted("AB")
        sampled(team, "x", every("AB"), number)
        assert team.cores == [cores_of(number, 1)] * (2 * BLOCKS)


def test_blocks_are_enough_for_a_median():
    assert BLOCKS % 4 == 0
    assert np.median(range(BLOCKS)) > 0
