"""Two processes that train as one: the same losses, the same stops, the same next steps."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mrcnn.optimise import TrainConfig
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.ranks import ALONE, Ranks, own_device
from mrcnn.spec import plain, vary
from mrcnn.train import Runtime, refuse_uneven, run_trial
from tests.mrcnn.test_norms import same_as_the_whole_batch

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m")
STEPS = 20


def torchrun(*arguments):
    return subprocess.Popen(
        [*TORCHRUN, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
    )


def ended(process, seconds=240):
    said, _ = process.communicate(timeout=seconds)
    return said


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    process = torchrun("tests.mrcnn.two_ranks", out)
    said = ended(process)
    assert process.returncode == 0, said
    return json.loads((out / "losses.json").read_text())


def gap(ours, theirs):
    """The largest relative difference of any loss at any step."""
    assert len(ours) == len(theirs) > 0
    return max(
        abs(a[name] - b[name]) / abs(b[name])
        for a, b in zip(ours, theirs, strict=True)
        for name in b
    )


def test_global_normaliser_is_one_process_on_the_whole_batch_for_20_steps(found):
    two, one = found["two"]["global"], found["one"]["global"]
    assert len(two) == 20
    assert gap(two, one) < 1e-5
    assert two[0]["class"] != pytest.approx(two[-1]["class"], rel=1e-4)


def test_per_rank_normaliser_is_not_and_the_difference_shows(found):
    assert gap(found["two"]["per_rank"], found["two"]["short"]) > 1e-4


def test_parts_of_one_process_are_as_ranks_with_a_normaliser_of_their_own(found):
    assert gap(found["two"]["per_rank"], found["one"]["parts"]) < 1e-6


def test_accumulated_parts_are_the_same_whatever_the_number_of_processes(found):
    assert gap(found["two"]["parts"], found["one"]["parts"]) < 1e-5


def test_stages_are_the_same_whatever_the_number_of_processes(found):
    two, one = found["two"]["staged"], found["one"]["staged"]
    assert [set(step) for step in two[:2]] == [{"objectness", "proposal box"}] * 2
    assert [set(step) for step in two[2:]] == [{"class", "box", "mask"}] * 2
    assert gap(two, one) < 1e-5


def test_a_stop_asked_of_the_last_rank_saves_a_state_for_any_number_of_processes(found):
    assert found["resumed"]["by two"] == found["two"]["short"]
    assert gap(found["resumed"]["by one"], found["two"]["short"]) < 1e-5


def test_a_rank_without_positives_counts_as_one_that_has_none(found):
    """One positive RoI among two ranks: the loss of that RoI, not half of it."""
    assert found["without positives"] == pytest.approx(0.313262, rel=1e-5)  # ln(1 + 1 / e)


def test_ranks_at_different_losses_say_so_and_do_not_wait_for_ever(found):
    assert found["unlike"] == "the processes are at different losses: ['the end', 2], by rank"


def test_two_processes_evaluate_as_one(found):
    by_two, by_one = found["evaluated"]
    assert by_two["predictions"]
    assert json.dumps(by_two) == json.dumps(by_one)


def test_norm_sync_is_batch_norm_of_all_processes_images(found):
    """norm "sync" in two processes on a CPU; "batch" there is not the same, which is seen."""
    halves = {
        kind: [[torch.tensor(values) for values in half[kind]] for half in found["norms"]]
        for kind in ("sync", "batch")
    }
    same_as_the_whole_batch(halves["sync"])
    with pytest.raises(AssertionError):
        same_as_the_whole_batch(halves["batch"])


def rank_pid(process, rank):
    """The process that torchrun started as a rank, once it is there."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in children:
        if f"\0RANK={rank}\0".encode() in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
            return int(pid)
    return None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds ranks in /proc")
def test_sigterm_to_one_rank_stops_all_and_one_process_goes_on(tmp_path):
    trial = replace(at_scale(R50_FPN, "smoke"), pretraining=None)
    trial = vary(trial, "train.steps", STEPS)
    (tmp_path / "trial.json").write_text(json.dumps(plain(trial)))
    out = tmp_path / "out"
    places = "--trial", tmp_path / "trial.json", "--out", out, "--runs", tmp_path
    process = torchrun("mrcnn", "train", *places, "--threads", 1)
    notes, deadline = out / "progress.jsonl", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if notes.exists() and notes.read_text():
            os.kill(rank_pid(process, 1), signal.SIGTERM)
            break
        time.sleep(0.02)
    said = ended(process, 60)
    assert process.returncode != 0, said
    assert 0 < torch.load(out / "resume.pt", weights_only=True)["step"] < STEPS, said
    assert not (out / "result.json").exists()
    result = run_trial(trial, out, tmp_path, Runtime(threads=1))
    steps = [note["step"] for note in result["history"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS


def test_rank_0_alone_writes_and_the_record_says_how_many_processes(found):
    (result, files), (other, _) = found["finished"]
    assert result["made_by"]["processes"] == 2
    assert result["data"]["val_images"] == 5
    assert other == {}
    assert set(files) == {
        "model.safetensors",
        "predictions.json",
        "matches.npz",
        "gallery.json",
        "result.json",
        "progress.jsonl",
    }


def test_a_batch_that_cannot_be_split_is_refused():
    config = TrainConfig(batch_size=16, accumulate=2)
    refuse_uneven(config, Ranks(rank=1, of=8))
    with pytest.raises(ValueError, match=r"multiple of 3 processes x 2 accumulated parts, got 16"):
        refuse_uneven(config, Ranks(rank=1, of=3))


def test_shares_are_all_of_the_batch_and_parts_keep_their_images():
    """Part p of one process is, image for image, part p of all the ranks together."""
    whole = list(range(24))
    for of, parts in ((1, 3), (2, 3), (4, 2)):
        shares = [Ranks(rank=r, of=of).share(24, block=parts) for r in range(of)]
        assert sorted(i for share in shares for i in share) == whole
        for part in range(parts):
            together = sorted(i for share in shares for i in share[part::parts])
            assert together == whole[part::parts]


def test_one_process_agrees_with_itself():
    assert ALONE.leads
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.gathered("thing") == ["thing"]
    assert ALONE.first(lambda: 3) == 3
    assert ALONE.mean({"a": 2.0}) == {"a": 2.0}


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    assert own_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device("cuda") == "cuda:1"
    assert own_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"cuda:0: 2 processes need a GPU each"):
        own_device("cuda:0")
