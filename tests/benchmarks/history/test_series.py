"""A history loses nothing: not in a folder, not on a branch, not beside somebody else's commit."""

import json
import subprocess

import numpy as np
import pytest

from benchmarks.history import command as history_command
from benchmarks.history import series as history
from benchmarks.history.series import (
    FILE,
    append,
    append_to_branch,
    line_of,
    read,
    read_branch,
    trends,
)
from reports.trends import checked
from tests.reports import measured


def git(folder, *arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of one commit, in which git knows nobody."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "file").write_text("one")
    git(folder, "add", "file")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    git(folder, *who, "commit", "-qm", "one")
    return folder


def line(number):
    return line_of(measured.gate(measured.judged("nms/1k", "SAME", 1.0)), f"2026-01-{number:02d}")


def test_a_gates_line_has_a_few_numbers_for_each_benchmark():
    found = line_of(measured.mixed(), "2026-01-01")
    assert (found["commit"], found["base"]) == ("5555666677778888", "1111222233334444")
    assert found["machine"] == "A Processor of 2 GHz, 2 cores"
    slow = found["benchmarks"]["nms/1k"]
    assert (slow["verdict"], slow["ratio"]) == ("SLOWER", 1.123)
    assert slow["ms"] == pytest.approx(11.23, rel=0.02)
    assert found["benchmarks"]["roi_pool/C4"]["ms"] is None
    assert len(json.dumps(found)) < 1500


def test_timings_are_a_line_too_and_their_ratio_is_one_of_times():
    found = line_of(measured.timings())
    name = "nms/P2/float32/channels_last/forward, numba, cpu, hot"
    row = found["benchmarks"][name]
    assert row["ratio"] == pytest.approx(1 / 3.1)
    assert row["low"] < row["ratio"] < row["high"]
    assert len(found["benchmarks"]) == len(measured.timings()["timings"])


def test_the_replay_of_a_graph_is_no_call():
    row = measured.timing("nms", "1k", 3.0, device="cuda")
    found = line_of({"timings": [row, row | {"graph": True}]})["benchmarks"]
    assert list(found) == [f"{row['name']}, numba, cuda, hot{end}" for end in ("", ", graph")]


@pytest.mark.parametrize("record", [{}, {"kind": "trends"}, {"timings": []}])
def test_a_record_of_nothing_is_refused(record):
    with pytest.raises(ValueError, match="a record without benchmarks"):
        line_of(record)


def test_lines_are_added_and_none_is_rewritten(tmp_path):
    for number in (1, 2, 3):
        append(tmp_path / "new/history", line(number))
    assert [one["when"] for one in read(tmp_path / "new/history")] == [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
    ]
    assert read(tmp_path / "new/history" / FILE) == read(tmp_path / "new/history")


def test_a_line_torn_by_a_crash_is_named_and_does_not_spoil_the_next(tmp_path):
    file = append(tmp_path, line(1))
    file.write_bytes(file.read_bytes() + b'{"torn')
    append(tmp_path, line(2))
    with pytest.raises(ValueError, match=r"history\.jsonl, line 2: not a run's line"):
        read(tmp_path)
    kept = file.read_text().splitlines()
    file.write_text("\n".join([kept[0], "", kept[2]]) + "\n")
    assert [one["when"] for one in read(tmp_path)] == ["2026-01-01", "2026-01-02"]


def test_a_branch_is_written_without_touching_the_working_tree(repository):
    (repository / "file").write_text("changed, and staged")
    git(repository, "add", "file")
    (repository / "file").write_text("changed again")
    before = git(repository, "status", "--porcelain=v2")
    first = append_to_branch("kept/history", line(1), repository)
    second = append_to_branch("kept/history", line(2), repository)
    assert git(repository, "status", "--porcelain=v2") == before
    assert git(repository, "rev-parse", "kept/history") == second
    assert git(repository, "rev-parse", f"{second}^") == first
    assert [one["when"] for one in read_branch("kept/history", repository)] == [
        "2026-01-01",
        "2026-01-02",
    ]
    assert git(repository, "log", "-1", "--format=%an %s", second) == (
        "benchmarks gate of 555566667777"
    )


def test_what_others_have_put_on_the_branch_stays(repository):
    append_to_branch("history", line(1), repository)
    git(repository, "checkout", "-q", "history")
    (repository / "README").write_text("somebody's")
    (repository / "folder").mkdir()
    (repository / "folder/file").write_text("deep")
    git(repository, "add", ".")
    git(repository, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "mine")
    git(repository, "checkout", "-q", "main")
    append_to_branch("history", line(2), repository)
    assert git(repository, "show", "history:README") == "somebody's"
    assert git(repository, "show", "history:folder/file") == "deep"
    assert len(read_branch("history", repository)) == 2


def test_a_commit_made_meanwhile_is_kept(repository, monkeypatch):
    """Another process writes between our reading of the branch and our writing of it."""
    plain, raced = history._commit, []

    def commit(*arguments):
        made = plain(*arguments)
        if not raced:
            raced.append(True)
            append_to_branch("history", line(1), repository)
        return made

    monkeypatch.setattr(history, "_commit", commit)
    append_to_branch("history", line(2), repository)
    assert [one["when"] for one in read_branch("history", repository)] == [
        "2026-01-01",
        "2026-01-02",
    ]


def test_a_branch_can_be_fetched_and_pushed_as_the_ci_files_do(repository, tmp_path):
    git(tmp_path, "init", "-q", "--bare", "origin")
    git(repository, "remote", "add", "origin", str(tmp_path / "origin"))
    append_to_branch("history", line(1), repository)
    git(repository, "push", "-q", "origin", "history")
    git(tmp_path, "clone", "-q", "origin", "other")
    git(tmp_path / "other", "fetch", "-q", "origin", "history:history")
    append_to_branch("history", line(2), tmp_path / "other")
    git(tmp_path / "other", "push", "-q", "origin", "history")
    git(repository, "fetch", "-q", "origin")
    assert len(read_branch("origin/history", repository)) == 2


BAD = {
    "no name of a branch": ("a..b", "not a name of a branch"),
    "an option": ("--force", "not a name of a branch"),
    "the one that is checked out": ("main", "it is checked out"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_branch_that_cannot_be_written_is_named(bad, repository):
    name, why = BAD[bad]
    with pytest.raises(ValueError, match=why):
        append_to_branch(name, line(1), repository)


def test_where_there_is_no_repository_or_no_branch(repository, tmp_path):
    with pytest.raises(ValueError, match="not a git repository"):
        append_to_branch("history", line(1), tmp_path)
    with pytest.raises(ValueError, match="nowhere: no branch with a history"):
        read_branch("nowhere", repository)


def lines_with(ratios, **more):
    """A run a day, each with one benchmark of that ratio."""
    return [
        line_of(measured.gate(measured.judged("a", "SAME", ratio, base_ms=base)) | more, f"{i:03d}")
        for i, (ratio, base) in enumerate(ratios)
    ]


def test_a_ratio_to_a_fixed_base_shows_a_change_that_slow_machines_do_not():
    """Machines differ by 30 %, the code gets 6 % slower after 20 runs."""
    random = np.random.default_rng(4)
    machines = np.exp(random.normal(0, 0.3, 40)) * 10
    levels = np.repeat([1.0, 1.06], 20) * np.exp(random.normal(0, 0.01, 40))
    found = trends(lines_with(zip(levels, machines, strict=True)))
    series = {one["measure"]: one for one in found["series"]}
    (change,) = series["time over a fixed base's"]["changes"]
    assert change["index"] == 20
    assert change["ratio"] == pytest.approx(1.06, abs=0.01)
    assert series["ms"]["changes"] == []
    assert checked(json.loads(json.dumps(found)), "it") == found


def test_machines_and_peers_have_series_of_their_own():
    some = lines_with([(1.0, 10)] * 3)
    other = lines_with([(1.0, 10)] * 3, made_by={"processor": "another", "cores": 8})
    contest = lines_with([(0.1, 10)] * 3, against="torchvision")
    found = trends([*some, *other, *contest])["series"]
    kinds = {(one["measure"], one["where"]): len(one["points"]) for one in found}
    assert kinds == {
        ("time over a fixed base's", "111122223333"): 6,
        ("ms", "A Processor of 2 GHz, 2 cores"): 6,
        ("ms", "another, 8 cores"): 3,
        ("time over torchvision's", ""): 3,
    }


def test_the_command_adds_tells_and_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, one in enumerate(lines_with([(1.0 + i * 1e-6, 10) for i in range(15)])):
        append(tmp_path / "kept", one | {"when": f"2026-01-{i + 1:02d}"})
    for i in range(8):
        record = measured.gate(measured.judged("a", "SLOWER", 1.2 + i * 1e-6))
        (tmp_path / "gate.json").write_text(json.dumps(record))
        history_command.history(
            folder=tmp_path / "kept", add=[tmp_path / "gate.json"], out=tmp_path / "trends.json"
        )
    said = capsys.readouterr().out
    assert "slower +20.0 % from 555566667777" in said
    assert "wrote 2 series of 23 runs" in said
    assert json.loads((tmp_path / "trends.json").read_text())["runs"] == 23


def test_the_command_names_what_it_cannot_use(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json: not a record of a run"):
        history_command.history(folder=tmp_path, add=[tmp_path / "x.json"])
    with pytest.raises(ValueError, match="one of them"):
        history_command.history()
    with pytest.raises(FileNotFoundError):
        history_command.history(folder=tmp_path)
