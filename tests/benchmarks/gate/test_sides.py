"""Sides are what git says they are, alike in all but their code, and gone in the end."""

import pytest

from benchmarks.gate.sides import TREE, built, changed, checked_out, commit_of, copy, measuring, top
from tests.benchmarks.toy import git, repository


@pytest.fixture
def root(tmp_path):
    return repository(tmp_path / "toy", {"a.py": "1\n", ".gitignore": "*.log\n"}, {"a.py": "2\n"})


def test_a_side_has_the_files_of_its_revision_and_they_go(root):
    with checked_out(root, base="HEAD~1", head="HEAD") as sides:
        base, head = sides["base"], sides["head"]
        assert (base.folder / "a.py").read_text() == "1\n"
        assert (head.folder / "a.py").read_text() == "2\n"
        assert base.commit == git(root, "rev-parse", "HEAD~1")
        assert len(str(base.folder)) == len(str(head.folder))
        assert base.code == head.code
    assert not base.folder.exists()
    assert git(root, "worktree", "list").count("\n") == 0


def test_the_working_tree_is_measured_as_it_is(root):
    (root / "a.py").write_text("3\n")
    (root / "sub").mkdir()
    (root / "sub" / "new.py").write_text("4\n")
    (root / "no.log").write_text("ignored")
    (root / "link").symlink_to("a.py")
    with checked_out(root, base="HEAD") as sides:
        head = sides["head"]
        assert (head.folder / "a.py").read_text() == "3\n"
        assert (head.folder / "sub" / "new.py").read_text() == "4\n"
        assert (head.folder / "link").is_symlink()
        assert not (head.folder / "no.log").exists()
        assert head.dirty == 3
        assert head.said == f"head: {TREE} (3 changed files since {head.commit[:12]})"
        assert (sides["base"].folder / "a.py").read_text() == "2\n"
    assert changed(root) == 3
    assert (root / "a.py").read_text() == "3\n"


def test_a_file_that_was_deleted_is_not_there(root):
    (root / "a.py").unlink()
    copy(root, root.parent / "copied")
    assert not (root.parent / "copied" / "a.py").exists()
    assert (root.parent / "copied" / ".gitignore").exists()


def test_the_root_is_found_from_within_and_nowhere_else(root, tmp_path):
    inside = root / "deep" / "er"
    inside.mkdir(parents=True)
    assert top(inside) == root
    with pytest.raises(ValueError, match="not a git repository, so it has no revisions"):
        top(tmp_path)


def test_an_unknown_revision_is_named(root, tmp_path):
    with pytest.raises(ValueError, match="unknown revision 'nowhere' in toy$"):
        commit_of(root, "nowhere")
    with (
        pytest.raises(ValueError, match="unknown revision '--upload'"),
        checked_out(root, base="--upload"),
    ):
        pass
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{root}", "shallow")
    with pytest.raises(ValueError, match="this clone is shallow: fetch the revision first"):
        commit_of(tmp_path / "shallow", "HEAD~1")


def test_a_side_that_does_not_build_is_named_and_all_of_it_goes(root):
    command = "echo so far; echo no compiler >&2; test $(cat a.py) = 2"
    with (
        pytest.raises(ValueError, match="base does not build: .* exit code 1: no compiler"),
        checked_out(root, base="HEAD~1", head="HEAD", build=command),
    ):
        pass
    assert git(root, "worktree", "list").count("\n") == 0
    with (
        pytest.raises(ValueError, match="head does not build: .* it said nothing"),
        checked_out(root, base="HEAD", head="HEAD~1", build="test $(cat a.py) = 2"),
    ):
        pass


def test_each_side_has_its_own_interpreter(root):
    build = "mkdir -p venv/bin && cp /bin/sh venv/bin/python"
    with checked_out(root, base="HEAD~1", build=build, python="venv/bin/python") as sides:
        assert sides["base"].python == str(sides["base"].folder / "venv/bin/python")
        with pytest.raises(ValueError, match="base has no interpreter other/python"):
            built(sides["base"], None, "other/python")


def test_a_full_disk_is_one_line(root, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "somewhere/a.py")

    monkeypatch.setattr("benchmarks.gate.sides.shutil.copy2", full)
    with pytest.raises(OSError, match="No space left on device"), checked_out(root, base="HEAD"):
        pass
    assert git(root, "worktree", "list").count("\n") == 0


def test_what_measures_brings_its_own_kernels_where_a_side_has_none(tmp_path):
    own = measuring(tmp_path / "own", own=True)
    assert {p.name for p in own.iterdir()} == {"benchmarks", "reports"}
    other = measuring(tmp_path / "other", own=False)
    assert {p.name for p in other.iterdir()} == {"benchmarks", "reports", "kernels", "mrcnn"}
