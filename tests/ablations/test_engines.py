"""What goes together on the command line, and what a missing Ray says."""

import sys

import pytest

from ablations.cluster import import_ray
from ablations.engines import Wish
from ablations.job import Job
from ablations.local import Local, cores


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("rey"), "did you mean 'ray'"),
        (Wish(address="10.0.0.1:6379"), "--address 10.0.0.1:6379: goes with --engine ray"),
        (Wish(gpus=1.0), "--gpus-per-trial 1.0: goes with --engine ray"),
        (Wish("ray", processes=2), "--processes-per-trial 2: goes with --engine local"),
        (Wish(device="tpu9"), "--device tpu9"),
    ],
)
def test_options_that_do_not_go_together_are_refused(wish, said):
    with pytest.raises(ValueError, match=said):
        wish.refuse_contradictions()


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'mrcnn-lab\[ray\]'"):
        import_ray()


def test_on_the_cpu_every_core_gets_a_trial_of_one_thread(tmp_path):
    engine, setting = Wish().chosen(tmp_path)
    assert (engine.jobs, setting.threads, setting.processes) == (cores(), 1, 1)
    engine, setting = Wish(threads=cores()).chosen(tmp_path)
    assert (engine.jobs, setting.threads) == (1, cores())
    engine, setting = Wish(jobs=3, processes=2).chosen(tmp_path)
    assert (engine.jobs, setting.threads, setting.processes) == (3, 1, 2)


def job(**more):
    given = {"verb": "train", "place": "id", "trial": {}, "threads": 2, "options": ("--x",)}
    return Job(**given | more)


def test_a_job_is_the_same_command_under_any_folder_of_runs(tmp_path):
    words = " ".join(job(trained="other").command(tmp_path))
    assert words == (
        f"train --trial {tmp_path}/id/trial.json --runs {tmp_path} --out {tmp_path}/id "
        f"--trained {tmp_path}/other/model.safetensors --threads 2 --x"
    )
    assert "--out" not in job(verb="pretrain").command(tmp_path)


SAYS = """import os, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--out") + 1])
rank = os.environ.get("RANK", "alone")
(folder / f"rank-{rank}").write_text(os.environ["OMP_NUM_THREADS"])
"""


@pytest.mark.parametrize(("processes", "ranks"), [(1, ["alone"]), (2, ["0", "1"])])
def test_several_processes_come_by_torchrun_each_with_its_threads(tmp_path, processes, ranks):
    script = tmp_path / "says.py"
    script.write_text(SAYS)
    engine = Local(runs=tmp_path, jobs=1, trainer=(sys.executable, str(script)))
    worker = engine.start(job(processes=processes))
    assert worker.process.wait(120) == 0
    worker.close()
    found = {p.name: p.read_text() for p in (tmp_path / "id").glob("rank-*")}
    assert found == {f"rank-{rank}": "2" for rank in ranks}
